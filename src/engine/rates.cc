#include "engine/rates.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "attention/attention.h"
#include "base/stopwatch.h"
#include "device/host_arena.h"
#include "device/transfer.h"
#include "ops/grouped.h"
#include "ops/linear.h"
#include "ops/to_device.h"
#include "plan/step_cost.h"

namespace trireme::engine {
namespace {

using config::ModelSpec;

// Seconds of one call: the mean over calls that take about a third of a second together. A first
// call that takes more than a second is the result itself, since warming up is then negligible.
double time_call(const device::Machine& machine, const std::function<void()>& call) {
  device::synchronize(machine.device);  // earlier work is not the call's
  const Stopwatch first;
  call();
  device::synchronize(machine.device);
  if (first.seconds() > 1) return first.seconds();
  const Stopwatch once;
  call();
  device::synchronize(machine.device);
  const int64_t times = std::clamp<int64_t>(static_cast<int64_t>(0.3 / once.seconds()), 1, 1000);
  const Stopwatch clock;
  for (int64_t i = 0; i < times; ++i) call();
  device::synchronize(machine.device);
  return clock.seconds() / static_cast<double>(times);
}

// Unit normal, as normed activations and heads are: at its power limit a device's rate depends on
// the data (attention on scores near zero is 8 % faster than on these).
at::Tensor random(const device::Machine& machine, at::IntArrayRef shape) {
  at::Tensor x = at::empty(shape, at::TensorOptions(machine.dtype).device(machine.device));
  return x.normal_(0, 1);
}

double product_rate(const device::Machine& machine, int64_t rows, int64_t in, int64_t out) {
  const at::Tensor x = random(machine, {rows, in}), w = random(machine, {out, in});
  at::Tensor y = random(machine, {rows, out});
  const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(in * out);
  return flops / time_call(machine, [&] { ops::linear_out(y, x, w, {}); });
}

double grouped_rate(const device::Machine& machine, const config::MoeSpec& moe, int64_t tokens,
                    int64_t hidden) {
  const int64_t each = std::max<int64_t>(1, tokens * moe.experts_per_token / moe.experts);
  const int64_t rows = each * moe.experts, out = 2 * moe.intermediate;
  const at::Tensor x = random(machine, {rows, hidden});
  const at::Tensor w = random(machine, {moe.experts, out, hidden});
  const at::Tensor ends =
      ops::group_ends(ops::to_device(std::vector<int64_t>(moe.experts, each), machine.device));
  const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(hidden * out);
  const at::Tensor y = ops::grouped_linear(x, w, ends);
  const double forward = time_call(machine, [&] { ops::grouped_linear(x, w, ends); });
  const double backward = time_call(machine, [&] { ops::grouped_linear_backward(y, w, ends); });
  return 2 * flops / (forward + backward);
}

void attention_rates(const device::Machine& machine, const ModelSpec& s,
                     const std::vector<int64_t>& documents, plan::Rates& rates) {
  std::vector<int64_t> starts = {0};
  for (const int64_t n : documents) starts.push_back(starts.back() + n);
  const int64_t tokens = starts.back();
  attention::LocalAttention attention(starts, machine.device, 1.0 / std::sqrt(s.head_dim));
  const at::Tensor q = random(machine, {tokens, s.heads, s.head_dim});
  const at::Tensor k = random(machine, {tokens, s.kv_heads, s.head_dim});
  const at::Tensor v = random(machine, {tokens, s.kv_heads, s.head_dim});
  const double flops = plan::attention_flops(s, plan::Workload::of(documents));
  const at::Tensor dout = random(machine, {tokens, s.heads, s.head_dim});
  const attention::AttentionOutput out = attention.forward(q, k, v);
  rates.attention_forward = flops / time_call(machine, [&] { attention.forward(q, k, v); });
  rates.attention_backward = plan::kBackwardAttention * flops /
                             time_call(machine, [&] { attention.backward(dout, q, k, v, out); });
}

double copy_rate(const device::Machine& machine) {
  const int64_t bytes = machine.device.is_cuda() ? int64_t{1} << 30 : int64_t{1} << 27;
  const at::Tensor from = random(machine, {bytes / 4});
  at::Tensor to = random(machine, {bytes / 4});
  const auto moved = 2.0 * static_cast<double>(from.nbytes());
  return moved / time_call(machine, [&] { to.copy_(from); });
}

double link_rate(const device::Machine& machine) {
  constexpr int64_t kBytes = int64_t{256} << 20;
  device::HostArena arena(2 * kBytes, machine.device, "timing copies");
  const auto transfer = device::make_transfer(machine.device, arena);
  arena.wait_until_pinned();
  const auto options = at::TensorOptions(at::kByte).device(machine.device);
  const device::Copy in{arena.take(kBytes, at::kByte), at::empty({kBytes}, options)};
  const device::Copy out{at::empty({kBytes}, options), arena.take(kBytes, at::kByte)};
  return static_cast<double>(kBytes) / time_call(machine, [&] {
           const auto there = transfer->start(device::Direction::kToHost, {out});
           transfer->start(device::Direction::kToDevice, {in})->wait();
           there->wait();
         });
}

}  // namespace

plan::Rates measure_rates(const layout::Model& model, const device::Machine& machine,
                          const std::vector<int64_t>& documents) {
  const ModelSpec& s = model.spec;
  const int64_t rows =
      std::min(std::accumulate(documents.begin(), documents.end(), int64_t{0}), int64_t{16384});
  plan::Rates rates;
  rates.host_adamw = plan::kReferenceRates.host_adamw;
  rates.products = std::max(product_rate(machine, rows, s.hidden, s.q_dim() + 2 * s.kv_dim()),
                            product_rate(machine, rows, s.hidden, 2 * s.intermediate));
  if (s.moe) rates.grouped = grouped_rate(machine, *s.moe, rows, s.hidden);
  attention_rates(machine, s, documents, rates);
  rates.bytes = copy_rate(machine);
  rates.link = link_rate(machine);
  return rates;
}

}  // namespace trireme::engine
