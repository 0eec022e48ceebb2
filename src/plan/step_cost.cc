#include "plan/step_cost.h"

#include <numeric>
#include <string>

#include "plan/activation_costs.h"
#include "plan/state_bytes.h"

namespace trireme::plan {
namespace {

using config::ModelSpec;

int64_t total(const std::vector<int64_t>& documents) {
  return std::accumulate(documents.begin(), documents.end(), int64_t{0});
}

double attention_products(const ModelSpec& s) {
  return static_cast<double>(s.hidden) * static_cast<double>(2 * s.q_dim() + 2 * s.kv_dim());
}

// Multiply-adds per token of all adapters; of experts', those of the chosen ones are a part too
// small to count.
double adapter_products(const layout::Adapters& adapters) {
  double products = 0;
  for (const layout::BlockLayout& block : adapters.layout.blocks) {
    for (const layout::ParamInfo& info : block.params) {
      if (info.name.find(".experts.") == std::string::npos) {
        products += static_cast<double>(info.numel);
      }
    }
  }
  return products;
}

}  // namespace

double attention_flops(const ModelSpec& s, const std::vector<int64_t>& documents) {
  double squares = 0;
  for (const int64_t n : documents) squares += static_cast<double>(n) * static_cast<double>(n);
  return 2 * squares * static_cast<double>(s.q_dim());
}

StepCost& StepCost::operator+=(const StepCost& other) {
  products += other.products;
  grouped += other.grouped;
  attention_forward += other.attention_forward;
  attention_backward += other.attention_backward;
  optimizer_bytes += other.optimizer_bytes;
  return *this;
}

StepCost model_cost(const layout::Model& model, const std::vector<int64_t>& documents,
                    int64_t trained) {
  const ModelSpec& s = model.spec;
  const auto tokens = static_cast<double>(total(documents));
  // Forward and the inputs' gradients; the weights' too where they are trained.
  const double times = model.adapters ? 2 : 3;
  StepCost cost;
  for (int64_t i = 0; i < s.layers; ++i) {
    const double mlp = 2 * tokens * static_cast<double>(s.hidden) * 3 * mlp_width(s, i) * times;
    cost.products += 2 * tokens * attention_products(s) * times;
    (s.sparse(i) ? cost.grouped : cost.products) += mlp;
    cost.attention_forward += attention_flops(s, documents);
    cost.attention_backward += kBackwardAttention * attention_flops(s, documents);
  }
  cost.products += 2 * static_cast<double>(trained) * static_cast<double>(s.vocab) *
                   static_cast<double>(s.hidden) * times;
  if (model.adapters) cost.products += 2 * tokens * adapter_products(*model.adapters) * 3;
  cost.optimizer_bytes =
      optimizer_bytes(model.trained_layout(), /*master=*/true, MomentFormat::kFloat32);
  return cost;
}

double optimizer_bytes(const layout::ModelLayout& trained, bool master, MomentFormat moments) {
  // The gradient twice, for norm and update; the master read and written and the weight written, or
  // the weight read and written; moments read and written.
  const int64_t each = 4 * 2 + (master ? 4 * 2 + 2 : 2 * 2);
  return static_cast<double>(each * trained.numel() + 2 * state_moment_bytes(trained, moments));
}

StepCost recompute_cost(const layout::Model& model, const std::vector<int64_t>& documents,
                        const std::vector<Keep>& keep, int64_t recomputed_layers) {
  const ModelSpec& s = model.spec;
  const double each = 2 * static_cast<double>(total(documents)) * static_cast<double>(s.hidden);
  StepCost cost;
  for (int64_t i = 0; i < s.layers; ++i) {
    const double again = i < recomputed_layers ? 1 : 0;
    const auto times = [&](bool kept) { return again + (kept ? 0 : 1); };
    cost.attention_forward += times(keep[i].attention) * attention_flops(s, documents);
    cost.products += each * times(keep[i].qkv) * static_cast<double>(s.q_dim() + 2 * s.kv_dim());
    cost.products += each * times(keep[i].mid) * static_cast<double>(s.q_dim());
    const double mlp = each * mlp_width(s, i) * (2 * times(keep[i].mlp) + again);
    (s.sparse(i) ? cost.grouped : cost.products) += mlp;
  }
  return cost;
}

double seconds_at(const StepCost& cost, const Rates& rates) {
  const auto part = [](double amount, double rate) { return amount == 0 ? 0 : amount / rate; };
  return part(cost.products, rates.products) + part(cost.grouped, rates.grouped) +
         part(cost.attention_forward, rates.attention_forward) +
         part(cost.attention_backward, rates.attention_backward) +
         part(cost.optimizer_bytes, rates.bytes);
}

}  // namespace trireme::plan
