#include "ops/adamw.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "ops/entry.h"
#include "ops/simd.h"

namespace trireme::ops {
namespace {

constexpr int64_t kGrain = 1 << 16;  // elements of a task, and of a partial sum

// torch.optim.AdamW's order of operations, with the constants folded.
struct Constants {
  float keep, beta1, beta2, one_minus_beta1, one_minus_beta2, step_size, root_correction, epsilon,
      scale;
};

Constants fold(const AdamWStep& s, double divisor) {
  const auto t = static_cast<double>(s.step);
  const double correction1 = 1 - std::pow(s.beta1, t), correction2 = 1 - std::pow(s.beta2, t);
  const auto f = [](double x) { return static_cast<float>(x); };
  return {f(1 - s.learning_rate * s.weight_decay),
          f(s.beta1),
          f(s.beta2),
          f(1 - s.beta1),
          f(1 - s.beta2),
          f(s.learning_rate / correction1),
          f(1 / std::sqrt(correction2)),
          f(s.epsilon),
          f(1 / divisor)};
}

TRIREME_SIMD void update(float* p, const float* g, float* m, float* v, const Constants& c,
                         int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float grad = g[i] * c.scale;
    m[i] = m[i] * c.beta1 + grad * c.one_minus_beta1;
    v[i] = v[i] * c.beta2 + grad * grad * c.one_minus_beta2;
    p[i] = p[i] * c.keep - c.step_size * m[i] / (std::sqrt(v[i]) * c.root_correction + c.epsilon);
  }
}

TRIREME_SIMD double squares(const float* x, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

void update_cpu(at::Tensor& param, const at::Tensor& grad, at::Tensor& m, at::Tensor& v,
                const Constants& constants) {
  float* p = param.mutable_data_ptr<float>();
  const float* g = grad.const_data_ptr<float>();
  float* first = m.mutable_data_ptr<float>();
  float* second = v.mutable_data_ptr<float>();
  at::parallel_for(0, param.numel(), kGrain, [&](int64_t begin, int64_t end) {
    update(p + begin, g + begin, first + begin, second + begin, constants, end - begin);
  });
}

// `c` of a divisor of one: the kernel reads the divisor, so that nothing waits for it.
void update_cuda(at::Tensor& param, const at::Tensor& grad, at::Tensor& m, at::Tensor& v,
                 const Constants& c, const at::Tensor& divisor, at::Tensor& weight) {
  cuda::adamw({.param = param.mutable_data_ptr<float>(),
               .grad = grad.const_data_ptr<float>(),
               .m = m.mutable_data_ptr<float>(),
               .v = v.mutable_data_ptr<float>(),
               .weight = weight.defined() ? weight.mutable_data_ptr() : nullptr,
               .divisor = divisor.const_data_ptr<float>(),
               .numel = param.numel(),
               .keep = c.keep,
               .beta1 = c.beta1,
               .beta2 = c.beta2,
               .one_minus_beta1 = c.one_minus_beta1,
               .one_minus_beta2 = c.one_minus_beta2,
               .step_size = c.step_size,
               .root_correction = c.root_correction,
               .epsilon = c.epsilon});
}

at::Tensor squares_cuda(const at::Tensor& flat) {
  at::Tensor partial = at::empty({cuda::kSquarePartials}, flat.options().dtype(at::kDouble));
  at::Tensor sum = at::empty({}, partial.options());
  cuda::sum_of_squares(flat.const_data_ptr<float>(), flat.numel(),
                       partial.mutable_data_ptr<double>(), sum.mutable_data_ptr<double>());
  return sum;
}

}  // namespace

void adamw_(at::Tensor param, const at::Tensor& grad, at::Tensor m, at::Tensor v,
            const AdamWStep& step, const at::Tensor& divisor, at::Tensor weight) {
  const int64_t numel = param.numel();
  TRIREME_CHECK(grad.numel() == numel && m.numel() == numel && v.numel() == numel);
  TRIREME_CHECK(param.is_contiguous() && grad.is_contiguous() && m.is_contiguous() &&
                v.is_contiguous());
  TRIREME_CHECK(!weight.defined() || (weight.numel() == numel && weight.is_contiguous() &&
                                      weight.scalar_type() == at::kBFloat16));
  if (numel == 0) return;
  if (on_cuda(param)) return update_cuda(param, grad, m, v, fold(step, 1.0), divisor, weight);
  update_cpu(param, grad, m, v, fold(step, divisor.item<double>()));
  if (weight.defined()) weight.copy_(param.view(weight.sizes()));
}

at::Tensor sum_of_squares(const at::Tensor& flat) {
  TRIREME_CHECK(flat.is_contiguous());
  if (on_cuda(flat)) return squares_cuda(flat);
  const int64_t numel = flat.numel(), parts = (numel + kGrain - 1) / kGrain;
  at::Tensor partial = at::empty({parts}, at::kDouble);
  double* sums = partial.mutable_data_ptr<double>();
  const float* data = flat.const_data_ptr<float>();
  at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      sums[i] = squares(data + i * kGrain, std::min(kGrain, numel - i * kGrain));
    }
  });
  return partial.sum();
}

}  // namespace trireme::ops
