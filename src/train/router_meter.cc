#include "train/router_meter.h"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace trireme::train {

RouterMeter::RouterMeter(const config::ModelSpec& spec, const at::Device& device)
    : spec_(spec), device_(device) {
  if (spec.balanced()) clear();
}

void RouterMeter::clear() {
  const auto doubles = at::TensorOptions(at::kDouble).device(device_);
  load_ = {0, at::zeros({}, doubles), at::zeros({spec_.layers, spec_.moe->experts}, doubles)};
}

void RouterMeter::set(double loss, int64_t micro_batches, const std::vector<double>& choices) {
  if (!spec_.balanced() || std::ssize(choices) != load_.choices.numel()) return;
  load_.micro_batches = micro_batches;
  load_.loss.fill_(loss);
  load_.choices.copy_(at::tensor(choices, at::kDouble).view(load_.choices.sizes()));
}

std::optional<RouterReport> RouterMeter::take(const dist::Group& data) {
  if (!spec_.balanced()) return std::nullopt;
  const at::Tensor count =
      at::full({}, static_cast<double>(load_.micro_batches), load_.loss.options());
  for (const at::Tensor& sum : {load_.loss, load_.choices, count}) data.all_reduce(sum)->wait();
  RouterReport report;
  report.micro_batches = count.item<double>();
  report.loss = load_.loss.item<double>() / report.micro_batches;
  report.term = *spec_.moe->balance_coefficient * report.loss;
  const at::Tensor choices = load_.choices.to(at::kCPU);
  report.least = static_cast<double>(spec_.moe->experts);
  for (int64_t i = 0; i < spec_.layers; ++i) {
    if (!spec_.sparse(i)) continue;
    const at::Tensor layer = choices.select(0, i);
    const double even = layer.mean().item<double>();
    report.most = std::max(report.most, layer.max().item<double>() / even);
    report.least = std::min(report.least, layer.min().item<double>() / even);
  }
  clear();
  return report;
}

}  // namespace trireme::train
