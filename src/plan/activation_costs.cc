#include "plan/activation_costs.h"

#include <algorithm>

#include "base/host_memory.h"
#include "layout/exchange.h"
#include "plan/step_cost.h"

namespace trireme::plan {
namespace {

using config::ModelSpec;

// Rows that a product loses at the edge of a tile: waves that do not fill the device.
constexpr double kEdgeRows = 64;

// Bytes of a layer's weights: of all experts.
double layer_weights(const ModelSpec& s, int64_t layer) {
  const double experts = s.sparse(layer) ? static_cast<double>(s.moe->experts) : 1;
  const double width =
      static_cast<double>(s.sparse(layer) ? s.moe->intermediate : s.intermediate) * experts;
  return static_cast<double>(s.hidden) *
         (static_cast<double>(2 * s.q_dim() + 2 * s.kv_dim()) + 3 * width);
}

// Layers that never hold an intermediate at the same time: those at the same position of their
// segments; alone where there is one segment.
std::vector<std::vector<int64_t>> sharing_layers(int64_t layers,
                                                 const std::vector<int64_t>& segments) {
  std::vector<std::vector<int64_t>> groups;
  for (size_t k = 0; k < segments.size(); ++k) {
    const int64_t end = k + 1 < segments.size() ? segments[k + 1] : layers;
    for (int64_t i = segments[k]; i < end; ++i) {
      const auto position = static_cast<size_t>(i - segments[k]);
      if (position == groups.size()) groups.emplace_back();
      groups[position].push_back(i);
    }
  }
  return groups;
}

// Every document but one of a packed batch counts as so many tokens more: attention's kernels pad
// each.
constexpr int64_t kDocumentPadding = 128;

// Bytes per token that attention's backward allocates beside dq, dk, dv in bf16 on CUDA: dq in
// fp32, and the keys' gradients in fp32 (FlashAttention-3) or of every query head (cuDNN,
// FlashAttention-2).
int64_t backward_scratch(const ActivationRequest& r) {
  constexpr int64_t kFloat = 4, kHalf = 2;
  if (!r.hardware.cuda || r.format == NumberFormat::kFloat32) return 0;
  const ModelSpec& s = r.model->spec;
  const int64_t dq = kFloat * s.q_dim();
  if (!r.hardware.flash_attention_3) return dq + 2 * kHalf * s.q_dim();
  return dq + (s.heads == s.kv_heads ? 0 : 2 * kFloat * s.kv_dim());
}

// Bytes per token of each intermediate of one layer that may be kept.
struct LayerBytes {
  int64_t attention = 0;
  int64_t qkv = 0;
  int64_t heads = 0;
  int64_t mid = 0;
  int64_t mlp = 0;
};

LayerBytes layer_bytes(const ModelSpec& spec, int64_t layer, int64_t element) {
  LayerBytes bytes;
  bytes.attention = spec.q_dim() * element + spec.heads * 4;
  bytes.qkv = (spec.q_dim() + 2 * spec.kv_dim()) * element;
  bytes.heads = (spec.q_dim() + spec.kv_dim()) * element;
  bytes.mid = spec.hidden * element;
  bytes.mlp = 2 * spec.intermediate * element;
  if (spec.sparse(layer)) {
    const int64_t pairs = spec.moe->experts_per_token;
    bytes.mlp = pairs * 2 * spec.moe->intermediate * element;
  }
  return bytes;
}

LayerCost cost_of(const ActivationRequest& r, int64_t layer) {
  const Workload load = Workload::dearest(r.tokens * r.shared(), r.longest, r.shared());
  return layer_cost(r.model->spec, layer, load, r.format);
}

// Bytes per token and seconds of each intermediate of one layer.
struct LayerKeepable {
  bool Keep::*flag;
  int64_t bytes;
  double seconds;
};

std::vector<LayerKeepable> layer_keepables(const ActivationRequest& r, int64_t layer) {
  const LayerBytes bytes = layer_bytes(r.model->spec, layer, bytes_of(r.format));
  const LayerCost cost = cost_of(r, layer);
  const auto seconds = [&](const StepCost& part) { return seconds_at(part, r.hardware.rates); };
  return {{&Keep::attention, bytes.attention, seconds(cost.attention)},
          {&Keep::qkv, bytes.qkv, seconds(cost.qkv)},
          {&Keep::heads, bytes.heads, seconds(cost.heads)},
          {&Keep::mid, bytes.mid, seconds(cost.mid)},
          {&Keep::mlp, bytes.mlp, seconds(cost.gate_up)}};
}

}  // namespace

int64_t workspace_bytes(const ActivationRequest& r, const std::vector<Keep>& keep, Tiles tiles) {
  const ModelSpec& s = r.model->spec;
  const int64_t e = bytes_of(r.format), T = r.tokens, C = s.hidden;
  const int64_t rows = std::min(T, tiles.rows), loss_rows = std::min(T, tiles.loss);
  const int64_t qd = s.q_dim(), qkv = qd + 2 * s.kv_dim();
  const bool all_attention = std::ranges::all_of(keep, &Keep::attention);
  const bool all_qkv = std::ranges::all_of(keep, &Keep::qkv);
  const bool all_mid = std::ranges::all_of(keep, &Keep::mid);
  const int64_t recomputed = (all_attention ? 0 : qd) + (all_attention && all_qkv ? 0 : qkv);

  // Backward of attention: dh, its gradient, q, k, and dq, dk, dv; the kernel's own.
  const int64_t scratch = backward_scratch(r);
  const int64_t padded = T + (r.documents - 1) * kDocumentPadding;
  const int64_t exchange =
      layout::exchange_bytes(s.heads, s.kv_heads, s.head_dim, r.ulysses, T * r.ulysses, e);
  const auto ring = [&](auto bytes) { return r.ring > 1 ? T * bytes(qd, s.kv_dim(), e) : 0; };
  const int64_t attention = T * e * (C + qd + (qkv - s.kv_dim()) + qkv + recomputed) +
                            padded * scratch + exchange + ring(layout::ring_backward_bytes);
  int64_t tile = 0;  // of MLP or experts, per row
  for (int64_t i = 0; i < s.layers; ++i) {
    const int64_t pairs = s.sparse(i) ? s.moe->experts_per_token : 1;
    const int64_t width = s.sparse(i) ? s.moe->intermediate : s.intermediate;
    const int64_t gate_up = r.training && keep[i].mlp ? 0 : 2 * width;
    tile = std::max(tile, 2 * C + pairs * (3 * width + gate_up + (s.sparse(i) ? 2 * C : 0)));
  }
  const int64_t mlp =
      T * e * (C + (all_mid ? 0 : C) + (r.training ? recomputed : C)) + rows * e * tile;
  const int64_t head = T * e * 2 * C + loss_rows * (s.vocab * 4 + 4 * C * e);
  const int64_t forward =
      T * e * (2 * C + qkv + 2 * qd) + exchange + ring(layout::ring_forward_bytes);
  if (!r.training) return std::max({forward, mlp, head});
  const bool table = r.model->trained_layout().blocks.front().numel > 0;
  const int64_t embedding = table ? T * C * (4 + e) : 0;
  return std::max({attention, forward, mlp, head, embedding});
}

std::vector<int64_t> segment_starts(const ActivationRequest& r) {
  const int64_t layers = r.model->spec.layers, count = r.number_checkpoints;
  if (count <= 1 || count >= layers) return {0};
  std::vector<int64_t> starts;
  for (int64_t k = 0; k < count; ++k) starts.push_back(k * layers / count);
  return starts;
}

std::vector<Keepable> keepables(const ActivationRequest& r, const std::vector<int64_t>& segments) {
  std::vector<Keepable> list;
  for (const std::vector<int64_t>& group : sharing_layers(r.model->spec.layers, segments)) {
    std::vector<Keepable> shared;
    for (const int64_t layer : group) {
      const std::vector<LayerKeepable> own = layer_keepables(r, layer);
      if (shared.empty()) {
        for (const LayerKeepable& k : own) shared.push_back({group, k.flag, 0, 0});
      }
      for (size_t i = 0; i < own.size(); ++i) {
        shared[i].bytes = std::max(shared[i].bytes, own[i].bytes * r.tokens);
        shared[i].seconds += own[i].seconds;
      }
    }
    list.insert(list.end(), shared.begin(), shared.end());
  }
  std::ranges::stable_sort(list, [](const Keepable& a, const Keepable& b) {
    return a.seconds * static_cast<double>(b.bytes) > b.seconds * static_cast<double>(a.bytes);
  });
  return list;
}

SavedBytes saved_bytes(const ActivationRequest& r, int64_t layer, Tiles tiles) {
  const ModelSpec& s = r.model->spec;
  const auto slot = slot_bytes;
  const int64_t e = bytes_of(r.format);
  SavedBytes bytes;
  bytes.input = r.tokens * s.hidden * e;
  bytes.host_input = slot(bytes.input);
  const int64_t out = r.tokens * s.q_dim() * e, lse = r.tokens * s.heads * 4;
  bytes.attention = out + lse;
  bytes.host_attention = slot(out) + slot(lse);
  if (!s.sparse(layer)) return bytes;
  // Of each tile: experts, weights, rows and tokens of each pair; where the experts' rows end.
  const auto add = [&](int64_t count, int64_t rows) {
    const int64_t pairs = rows * s.moe->experts_per_token * 4;
    const int64_t ends = s.moe->experts * (r.hardware.cuda ? 4 : 8);
    bytes.routing += count * (4 * pairs + ends);
    bytes.host_routing += count * (4 * slot(pairs) + slot(ends));
  };
  add(r.tokens / tiles.rows, tiles.rows);
  if (r.tokens % tiles.rows > 0) add(1, r.tokens % tiles.rows);
  return bytes;
}

double forward_seconds(const ActivationRequest& r, int64_t layer) {
  return seconds_at(cost_of(r, layer).forward(), r.hardware.rates);
}

double copy_seconds(const ActivationRequest& r, int64_t layer, int64_t bytes) {
  const Rates& rates = r.hardware.rates;
  const double backward =
      seconds_at(cost_of(r, layer).backward(!r.model->adapters.has_value()), rates);
  const double copy = static_cast<double>(bytes) / rates.link;
  return std::max(0.0, copy - forward_seconds(r, layer)) + std::max(0.0, copy - backward) +
         2 * static_cast<double>(bytes) / rates.bytes;
}

double tile_seconds(const ActivationRequest& r, Tiles tiles) {
  const ModelSpec& s = r.model->spec;
  const Rates& rates = r.hardware.rates;
  const bool trained = r.training && !r.model->adapters;
  const auto count = [&](int64_t tile) {
    const int64_t tiles = (r.tokens + tile - 1) / tile;
    return static_cast<double>(tiles);
  };
  const auto lost = [&](int64_t tile) { return kEdgeRows / static_cast<double>(tile); };
  double seconds = 0;
  for (int64_t i = 0; i < s.layers; ++i) {
    StepCost products = cost_of(r, i).forward();  // and once more in backward
    products.attention_forward = products.bytes = 0;
    seconds += 2 * seconds_at(products, rates) * lost(std::min(r.tokens, tiles.rows));
    if (trained) seconds += (count(tiles.rows) - 1) * layer_weights(s, i) * 8 / rates.bytes;
  }
  const double head = static_cast<double>(s.vocab) * static_cast<double>(s.hidden);
  const StepCost of_head{.products = 4 * static_cast<double>(r.tokens) * head};
  seconds += seconds_at(of_head, rates) * lost(std::min(r.tokens, tiles.loss));
  if (trained) seconds += (count(tiles.loss) - 1) * head * 8 / rates.bytes;
  return seconds;
}

}  // namespace trireme::plan
