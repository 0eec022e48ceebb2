#include "ops/words.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "base/error.h"

namespace trireme::ops {
namespace {

constexpr at::ScalarType kWord = at::kComplexDouble;
constexpr int64_t kWordBytes = 16;

bool in_words(const at::Tensor& x) {
  if (x.dim() == 0 || x.numel() == 0 || x.stride(-1) != 1) return false;
  const auto size = static_cast<int64_t>(x.element_size());
  const auto whole = [&](int64_t elements) { return elements * size % kWordBytes == 0; };
  return whole(x.size(-1)) && whole(x.storage_offset()) &&
         std::ranges::all_of(x.strides().slice(0, x.dim() - 1), whole);
}

}  // namespace

at::Tensor packed(const at::Tensor& x) {
  if (x.is_contiguous()) return x;
  at::Tensor copied = at::empty(x.sizes(), x.options());
  copy(copied, x);
  return copied;
}

void copy(const at::Tensor& to, const at::Tensor& from) {
  TRIREME_CHECK(to.sizes() == from.sizes() && to.scalar_type() == from.scalar_type());
  if (in_words(to) && in_words(from)) {
    to.view(kWord).copy_(from.view(kWord));
  } else {
    to.copy_(from);
  }
}

}  // namespace trireme::ops
