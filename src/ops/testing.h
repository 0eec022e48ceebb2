// For tests: random tensors, and gradients by central differences of a double-precision reference.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/randn.h>

#include <functional>

namespace trireme::ops {

inline at::Tensor random_tensor(at::IntArrayRef shape, uint64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::randn(shape, generator, at::TensorOptions(at::kFloat));
}

// ||a - b|| / ||b||, in double.
inline double relative_error(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
  return ((x - y).norm() / y.norm()).item<double>();
}

// Derivative of sum(reference(x) * dy) along `direction`, by central differences in double.
inline double directional_derivative(const std::function<at::Tensor(const at::Tensor&)>& reference,
                                     const at::Tensor& x, const at::Tensor& dy,
                                     const at::Tensor& direction) {
  const double step = 1e-4;
  const at::Tensor at = x.to(at::kDouble), d = direction.to(at::kDouble) * step;
  const at::Tensor difference = reference(at + d) - reference(at - d);
  return (difference * dy.to(at::kDouble)).sum().item<double>() / (2 * step);
}

inline double inner(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) * b.to(at::kDouble)).sum().item<double>();
}

}  // namespace trireme::ops
