#include "ops/adamw.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "ops/adamw_cpu.h"
#include "ops/eight_bit.h"
#include "ops/entry.h"
#include "ops/simd.h"

namespace trireme::ops {
namespace {

constexpr int64_t kGrain = 1 << 16;  // elements of a partial sum

AdamWConstants fold(const AdamWStep& s) {
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
          f(s.epsilon)};
}

cuda::MomentType kernel_type(const Moments& moments) {
  const at::ScalarType type = moments.first.scalar_type();
  if (type == at::kByte) return cuda::MomentType::kEightBit;
  return type == at::kFloat ? cuda::MomentType::kFloat : cuda::MomentType::kBFloat16;
}

TRIREME_SIMD double squares(const float* x, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

at::Tensor squares_cuda(const at::Tensor& flat) {
  at::Tensor partial = at::empty({cuda::kSquarePartials}, flat.options().dtype(at::kDouble));
  at::Tensor sum = at::empty({}, partial.options());
  cuda::sum_of_squares(flat.const_data_ptr<float>(), flat.numel(),
                       partial.mutable_data_ptr<double>(), sum.mutable_data_ptr<double>());
  return sum;
}

void check(const at::Tensor& x, int64_t numel, at::ScalarType dtype) {
  TRIREME_CHECK(x.numel() == numel && x.is_contiguous() && x.scalar_type() == dtype);
}

void check_moments(const Moments& m, int64_t numel) {
  const at::ScalarType type = m.first.scalar_type();
  TRIREME_CHECK(type == at::kFloat || type == at::kBFloat16 || type == at::kByte);
  check(m.first, numel, type);
  check(m.second, numel, type);
  TRIREME_CHECK(m.first_absmax.defined() == (type == at::kByte));
  if (type != at::kByte) return;
  check(m.first_absmax, quant_blocks(numel), at::kFloat);
  check(m.second_absmax, quant_blocks(numel), at::kFloat);
}

cuda::AdamW buffers(const at::Tensor& param, const at::Tensor& grad, const Moments& moments,
                    const AdamWStep& step) {
  const auto stream = [&](uint64_t buffer) {
    return RoundingStream{counter_bits(step.seed, buffer), step.first};
  };
  const auto floats = [](const at::Tensor& x) {
    return x.defined() ? x.mutable_data_ptr<float>() : nullptr;
  };
  return {.dtype = dtype_of(param),
          .moments = kernel_type(moments),
          .param = param.mutable_data_ptr(),
          .grad = grad.const_data_ptr<float>(),
          .m = moments.first.mutable_data_ptr(),
          .v = moments.second.mutable_data_ptr(),
          .m_absmax = floats(moments.first_absmax),
          .v_absmax = floats(moments.second_absmax),
          .weight = nullptr,
          .divisor = nullptr,
          .numel = param.numel(),
          .constants = fold(step),
          .param_bits = stream(0),
          .m_bits = stream(1),
          .v_bits = stream(2)};
}

}  // namespace

at::ScalarType moment_type(MomentFormat format) {
  switch (format) {
    case MomentFormat::kFloat32:
      return at::kFloat;
    case MomentFormat::kBFloat16:
      return at::kBFloat16;
    case MomentFormat::kEightBit:
      break;
  }
  return at::kByte;
}

Moments zero_moments(int64_t numel, MomentFormat format, const at::Device& device) {
  const auto zeros = [&](int64_t n, at::ScalarType type) {
    return at::zeros({n}, at::TensorOptions(type).device(device));
  };
  const at::ScalarType type = moment_type(format);
  Moments moments{zeros(numel, type), zeros(numel, type), {}, {}};
  if (format == MomentFormat::kEightBit) {  // any code times zero
    moments.first_absmax = zeros(quant_blocks(numel), at::kFloat);
    moments.second_absmax = zeros(quant_blocks(numel), at::kFloat);
  }
  return moments;
}

void adamw_(at::Tensor param, const at::Tensor& grad, const Moments& moments, const AdamWStep& step,
            const at::Tensor& divisor, at::Tensor weight) {
  const int64_t numel = param.numel();
  check(param, numel, param.scalar_type());
  check(grad, numel, at::kFloat);
  check_moments(moments, numel);
  if (weight.defined()) {
    check(weight, numel, at::kBFloat16);
    TRIREME_CHECK(param.scalar_type() == at::kFloat);
  }
  if (numel == 0) return;
  cuda::AdamW p = buffers(param, grad, moments, step);
  if (weight.defined()) p.weight = weight.mutable_data_ptr();
  if (on_cuda(grad)) {
    p.divisor = divisor.const_data_ptr<float>();  // the kernel reads it: nothing waits for it
    return cuda::adamw(p);
  }
  const double by = divisor.item<double>();
  if (std::isfinite(by)) return cpu::adamw(p, static_cast<float>(1 / by));
  // `weight` may be a buffer that is copied to the device afterwards: it holds what it should.
  if (weight.defined()) weight.copy_(param);
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
