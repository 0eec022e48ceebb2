#include "ops/grouped.h"

#include <ATen/ops/_grouped_mm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include "ops/linear.h"

namespace trireme::ops {
namespace {

// body(group, first row, rows) for each group that has rows; host offsets.
template <typename Body>
void for_each_group(const at::Tensor& ends, const Body& body) {
  const int64_t* end = ends.const_data_ptr<int64_t>();
  int64_t begin = 0;
  for (int64_t g = 0; g < ends.size(0); ++g) {
    if (end[g] > begin) body(g, begin, end[g] - begin);
    begin = end[g];
  }
}

}  // namespace

at::Tensor group_ends(const at::Tensor& counts) {
  const at::Tensor ends = counts.cumsum(0);
  return counts.is_cuda() ? ends.to(at::kInt) : ends;
}

at::Tensor grouped_linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& ends) {
  if (x.is_cuda()) return at::_grouped_mm(x, w.transpose(1, 2), ends);
  at::Tensor y = at::empty({x.size(0), w.size(1)}, x.options());
  for_each_group(ends, [&](int64_t g, int64_t first, int64_t rows) {
    at::Tensor out = y.narrow(0, first, rows);
    at::mm_out(out, x.narrow(0, first, rows), w.select(0, g).t());
  });
  return y;
}

at::Tensor grouped_linear_backward(const at::Tensor& dy, const at::Tensor& w,
                                   const at::Tensor& ends) {
  if (dy.is_cuda()) return at::_grouped_mm(dy, w, ends);
  at::Tensor dx = at::empty({dy.size(0), w.size(2)}, dy.options());
  for_each_group(ends, [&](int64_t g, int64_t first, int64_t rows) {
    at::Tensor out = dx.narrow(0, first, rows);
    at::mm_out(out, dy.narrow(0, first, rows), w.select(0, g));
  });
  return dx;
}

void accumulate_grouped_weight_grad(at::Tensor& dw, const at::Tensor& dy, const at::Tensor& x,
                                    const at::Tensor& ends, double scale) {
  if (dy.is_cuda()) {
    dw.add_(at::_grouped_mm(dy.t(), x, ends), scale);
    return;
  }
  for_each_group(ends, [&](int64_t g, int64_t first, int64_t rows) {
    at::Tensor out = dw.select(0, g);
    accumulate_weight_grad(out, dy.narrow(0, first, rows), x.narrow(0, first, rows), scale);
  });
}

}  // namespace trireme::ops
