#include "engine/work.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "attention/attention.h"
#include "base/stopwatch.h"
#include "engine/activation_costs.h"
#include "engine/host_arena.h"
#include "engine/optimizer.h"
#include "engine/transfer.h"
#include "ops/grouped.h"
#include "ops/linear.h"
#include "ops/to_device.h"

namespace trireme::engine {
namespace {

using config::ModelSpec;

int64_t total(const std::vector<int64_t>& documents) {
  return std::accumulate(documents.begin(), documents.end(), int64_t{0});
}

// Of one layer: scores and values, each token with those before it.
double attention_flops(const ModelSpec& s, const std::vector<int64_t>& documents) {
  double squares = 0;
  for (const int64_t n : documents) squares += static_cast<double>(n) * static_cast<double>(n);
  return 2 * squares * static_cast<double>(s.q_dim());
}

double attention_products(const ModelSpec& s) {
  return static_cast<double>(s.hidden) * static_cast<double>(2 * s.q_dim() + 2 * s.kv_dim());
}

// Multiply-adds per token of all adapters; of experts', those of the chosen ones are a part too
// small to count.
double adapter_products(const model::Adapters& adapters) {
  double products = 0;
  for (const model::BlockLayout& block : adapters.layout.blocks) {
    for (const model::ParamInfo& info : block.params) {
      if (info.name.find(".experts.") == std::string::npos) {
        products += static_cast<double>(info.numel);
      }
    }
  }
  return products;
}

// Backward of attention: five products where forward has two.
constexpr double kBackwardAttention = 2.5;

// Seconds of one call, over calls that take about a third of a second together; of the first where
// it takes more than a second, which no warming up shows in.
double time_call(const Machine& machine, const std::function<void()>& call) {
  synchronize(machine.device);  // what is under way is not the call's
  const Stopwatch first;
  call();
  synchronize(machine.device);
  if (first.seconds() > 1) return first.seconds();
  const Stopwatch once;
  call();
  synchronize(machine.device);
  const int64_t times = std::clamp<int64_t>(static_cast<int64_t>(0.3 / once.seconds()), 1, 1000);
  const Stopwatch clock;
  for (int64_t i = 0; i < times; ++i) call();
  synchronize(machine.device);
  return clock.seconds() / static_cast<double>(times);
}

// Unit normal, as normed activations and heads are: at its power limit a device's rate depends on
// the data (attention on scores near zero is 8 % faster than on these).
at::Tensor random(const Machine& machine, at::IntArrayRef shape) {
  at::Tensor x = at::empty(shape, at::TensorOptions(machine.dtype).device(machine.device));
  return x.normal_(0, 1);
}

double product_rate(const Machine& machine, int64_t rows, int64_t in, int64_t out) {
  const at::Tensor x = random(machine, {rows, in}), w = random(machine, {out, in});
  at::Tensor y = random(machine, {rows, out});
  const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(in * out);
  return flops / time_call(machine, [&] { ops::linear_out(y, x, w, {}); });
}

double grouped_rate(const Machine& machine, const config::MoeSpec& moe, int64_t tokens,
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

void attention_rates(const Machine& machine, const ModelSpec& s,
                     const std::vector<int64_t>& documents, Rates& rates) {
  std::vector<int64_t> starts = {0};
  for (const int64_t n : documents) starts.push_back(starts.back() + n);
  const int64_t tokens = starts.back();
  attention::LocalAttention attention(starts, machine.device, 1.0 / std::sqrt(s.head_dim));
  const at::Tensor q = random(machine, {tokens, s.heads, s.head_dim});
  const at::Tensor k = random(machine, {tokens, s.kv_heads, s.head_dim});
  const at::Tensor v = random(machine, {tokens, s.kv_heads, s.head_dim});
  const double flops = attention_flops(s, documents);
  const at::Tensor dout = random(machine, {tokens, s.heads, s.head_dim});
  const attention::AttentionOutput out = attention.forward(q, k, v);
  rates.attention_forward = flops / time_call(machine, [&] { attention.forward(q, k, v); });
  rates.attention_backward = kBackwardAttention * flops /
                             time_call(machine, [&] { attention.backward(dout, q, k, v, out); });
}

double copy_rate(const Machine& machine) {
  const int64_t bytes = machine.device.is_cuda() ? int64_t{1} << 30 : int64_t{1} << 27;
  const at::Tensor from = random(machine, {bytes / 4});
  at::Tensor to = random(machine, {bytes / 4});
  const auto moved = 2.0 * static_cast<double>(from.nbytes());
  return moved / time_call(machine, [&] { to.copy_(from); });
}

double link_rate(const Machine& machine) {
  constexpr int64_t kBytes = int64_t{256} << 20;
  HostArena arena(2 * kBytes, machine.device, "timing copies");
  const auto transfer = make_transfer(machine.device, arena);
  arena.wait_until_pinned();
  const auto options = at::TensorOptions(at::kByte).device(machine.device);
  const Copy in{arena.take(kBytes, at::kByte), at::empty({kBytes}, options)};
  const Copy out{at::empty({kBytes}, options), arena.take(kBytes, at::kByte)};
  return static_cast<double>(kBytes) / time_call(machine, [&] {
           const auto there = transfer->start(Direction::kToHost, {out});
           transfer->start(Direction::kToDevice, {in})->wait();
           there->wait();
         });
}

}  // namespace

Work& Work::operator+=(const Work& other) {
  products += other.products;
  grouped += other.grouped;
  attention_forward += other.attention_forward;
  attention_backward += other.attention_backward;
  optimizer_bytes += other.optimizer_bytes;
  return *this;
}

Work needed_work(const Model& model, const std::vector<int64_t>& documents, int64_t trained) {
  const ModelSpec& s = model.spec;
  const auto tokens = static_cast<double>(total(documents));
  // Forward and the inputs' gradients; the weights' too where they are trained.
  const double times = model.adapters ? 2 : 3;
  Work work;
  for (int64_t i = 0; i < s.layers; ++i) {
    const double mlp = 2 * tokens * static_cast<double>(s.hidden) * 3 * mlp_width(s, i) * times;
    work.products += 2 * tokens * attention_products(s) * times;
    (s.sparse(i) ? work.grouped : work.products) += mlp;
    work.attention_forward += attention_flops(s, documents);
    work.attention_backward += kBackwardAttention * attention_flops(s, documents);
  }
  work.products += 2 * static_cast<double>(trained) * static_cast<double>(s.vocab) *
                   static_cast<double>(s.hidden) * times;
  if (model.adapters) work.products += 2 * tokens * adapter_products(*model.adapters) * 3;
  work.optimizer_bytes =
      optimizer_bytes(model.trained_layout(), /*master=*/true, ops::MomentFormat::kFloat32);
  return work;
}

double optimizer_bytes(const model::ModelLayout& trained, bool master, ops::MomentFormat moments) {
  // The gradient twice, for norm and update; the master read and written and the weight written, or
  // the weight read and written; moments read and written.
  const int64_t each = 4 * 2 + (master ? 4 * 2 + 2 : 2 * 2);
  return static_cast<double>(each * trained.numel() + 2 * moment_bytes(trained, moments));
}

Work repeated_work(const Model& model, const std::vector<int64_t>& documents,
                   const std::vector<model::Keep>& keep, int64_t run_again) {
  const ModelSpec& s = model.spec;
  const double each = 2 * static_cast<double>(total(documents)) * static_cast<double>(s.hidden);
  Work work;
  for (int64_t i = 0; i < s.layers; ++i) {
    const double again = i < run_again ? 1 : 0;
    const auto times = [&](bool kept) { return again + (kept ? 0 : 1); };
    work.attention_forward += times(keep[i].attention) * attention_flops(s, documents);
    work.products += each * times(keep[i].qkv) * static_cast<double>(s.q_dim() + 2 * s.kv_dim());
    work.products += each * times(keep[i].mid) * static_cast<double>(s.q_dim());
    const double mlp = each * mlp_width(s, i) * (2 * times(keep[i].mlp) + again);
    (s.sparse(i) ? work.grouped : work.products) += mlp;
  }
  return work;
}

double seconds_at(const Work& work, const Rates& rates) {
  const auto part = [](double amount, double rate) { return amount == 0 ? 0 : amount / rate; };
  return part(work.products, rates.products) + part(work.grouped, rates.grouped) +
         part(work.attention_forward, rates.attention_forward) +
         part(work.attention_backward, rates.attention_backward) +
         part(work.optimizer_bytes, rates.bytes);
}

Rates measure_rates(const Model& model, const Machine& machine,
                    const std::vector<int64_t>& documents) {
  const ModelSpec& s = model.spec;
  const int64_t rows = std::min<int64_t>(total(documents), 16384);
  Rates rates;
  rates.products = std::max(product_rate(machine, rows, s.hidden, s.q_dim() + 2 * s.kv_dim()),
                            product_rate(machine, rows, s.hidden, 2 * s.intermediate));
  if (s.moe) rates.grouped = grouped_rate(machine, *s.moe, rows, s.hidden);
  attention_rates(machine, s, documents, rates);
  rates.bytes = copy_rate(machine);
  rates.link = link_rate(machine);
  return rates;
}

}  // namespace trireme::engine
