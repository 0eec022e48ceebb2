#include "plan/step_cost.h"

#include <algorithm>
#include <string>

#include "plan/state_bytes.h"

namespace trireme::plan {
namespace {

using config::ModelSpec;

// The width that a token passes in a layer's feed-forward half: that of a dense MLP, or of its
// chosen experts together.
double mlp_width(const ModelSpec& s, int64_t layer) {
  return static_cast<double>(s.sparse(layer) ? s.moe->experts_per_token * s.moe->intermediate
                                             : s.intermediate);
}

// Multiply-adds per token of all adapters; those of the chosen experts are too few to count.
double adapter_products(const layout::Adapters& adapters) {
  double products = 0;
  for (const layout::BlockLayout& block : adapters.layout.blocks) {
    for (const layout::ParamInfo& info : block.params) {
      const bool adapter = info.name.find(".lora_") != std::string::npos;
      if (adapter && info.name.find(".experts.") == std::string::npos) {
        products += static_cast<double>(info.numel);
      }
    }
  }
  return products;
}

}  // namespace

Workload Workload::of(const std::vector<int64_t>& documents) {
  Workload load;
  for (const int64_t n : documents) {
    load.tokens += static_cast<double>(n);
    load.squares += static_cast<double>(n) * static_cast<double>(n);
  }
  return load;
}

Workload Workload::dearest(int64_t tokens, int64_t longest, int64_t ranks) {
  if (longest <= 0) return {};
  const auto square = [](int64_t n) { return static_cast<double>(n) * static_cast<double>(n); };
  const int64_t whole = tokens / longest;
  const double squares = static_cast<double>(whole) * square(longest) + square(tokens % longest);
  return {static_cast<double>(tokens) / static_cast<double>(ranks),
          squares / static_cast<double>(ranks)};
}

StepCost& StepCost::operator+=(const StepCost& other) {
  products += other.products;
  grouped += other.grouped;
  attention_forward += other.attention_forward;
  attention_backward += other.attention_backward;
  bytes += other.bytes;
  return *this;
}

StepCost operator*(double times, const StepCost& cost) {
  return {times * cost.products, times * cost.grouped, times * cost.attention_forward,
          times * cost.attention_backward, times * cost.bytes};
}

double seconds_at(const StepCost& cost, const Rates& rates) {
  const auto part = [](double amount, double rate) { return amount == 0 ? 0 : amount / rate; };
  return part(cost.products, rates.products) + part(cost.grouped, rates.grouped) +
         part(cost.attention_forward, rates.attention_forward) +
         part(cost.attention_backward, rates.attention_backward) + part(cost.bytes, rates.bytes);
}

double attention_flops(const ModelSpec& spec, const Workload& workload) {
  return 2 * workload.squares * static_cast<double>(spec.q_dim());
}

StepCost LayerCost::forward() const {
  StepCost cost;
  for (const StepCost* part : {&qkv, &heads, &attention, &mid, &gate_up, &down}) cost += *part;
  return cost;
}

StepCost LayerCost::backward(bool trained) const {
  const StepCost forward = this->forward();
  const double times = trained ? 2 : 1;
  return {.products = times * forward.products,
          .grouped = times * forward.grouped,
          .attention_backward = kBackwardAttention * attention.attention_forward};
}

LayerCost layer_cost(const ModelSpec& s, int64_t layer, const Workload& workload,
                     NumberFormat format) {
  const auto qd = static_cast<double>(s.q_dim()), kvd = static_cast<double>(s.kv_dim());
  const double each = 2 * workload.tokens * static_cast<double>(s.hidden);
  const double mlp = each * mlp_width(s, layer);
  const auto of_mlp = [&](double flops) {
    return s.sparse(layer) ? StepCost{.grouped = flops} : StepCost{.products = flops};
  };
  return {
      .qkv = {.products = each * (qd + 2 * kvd)},
      // Queries and keys are read and written once.
      .heads = {.bytes = 2 * workload.tokens * (qd + kvd) * static_cast<double>(bytes_of(format))},
      .attention = {.attention_forward = attention_flops(s, workload)},
      .mid = {.products = each * qd},
      .gate_up = of_mlp(2 * mlp),
      .down = of_mlp(mlp)};
}

StepCost model_cost(const layout::Model& model, const Workload& workload, int64_t trained) {
  const ModelSpec& s = model.spec;
  const bool all = !model.adapters;
  StepCost cost;
  for (int64_t i = 0; i < s.layers; ++i) {
    const LayerCost layer = layer_cost(s, i, workload, NumberFormat::kBFloat16);
    cost += layer.forward();
    cost += layer.backward(all);
  }
  const double head = 2 * static_cast<double>(trained) * static_cast<double>(s.vocab) *
                      static_cast<double>(s.hidden);
  const auto& last = model.trained_layout().blocks.back().params;
  const bool head_trained =
      all || std::ranges::find(last, "lm_head.weight", &layout::ParamInfo::name) != last.end();
  cost.products += head * (head_trained ? 3 : 2);
  if (!all) cost.products += 2 * workload.tokens * adapter_products(*model.adapters) * 3;
  cost.bytes = optimizer_bytes(model.trained_layout(), /*master=*/true, MomentFormat::kFloat32);
  return cost;
}

double optimizer_bytes(const layout::ModelLayout& trained, bool master, MomentFormat moments) {
  // The gradient twice, for norm and update; the master read and written and the weight written, or
  // the weight read and written; moments read and written.
  const int64_t each = 4 * 2 + (master ? 4 * 2 + 2 : 2 * 2);
  return static_cast<double>(each * trained.numel() + 2 * state_moment_bytes(trained, moments));
}

StepCost recompute_cost(const ModelSpec& spec, const Workload& workload, NumberFormat format,
                        const std::vector<Keep>& keep, int64_t recomputed_layers) {
  StepCost cost;
  for (int64_t i = 0; i < spec.layers; ++i) {
    const LayerCost layer = layer_cost(spec, i, workload, format);
    if (i < recomputed_layers) cost += layer.forward();
    if (!keep[i].qkv) cost += layer.qkv;
    if (!keep[i].heads) cost += layer.heads;
    if (!keep[i].attention) cost += layer.attention;
    if (!keep[i].mid) cost += layer.mid;
    if (!keep[i].mlp) cost += layer.gate_up;
  }
  return cost;
}

}  // namespace trireme::plan
