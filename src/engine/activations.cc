#include "engine/activations.h"

#include <algorithm>
#include <limits>

#include "attention/block.h"

namespace trireme::engine {
namespace {

using config::ModelSpec;
using model::Keep;

// The reference machine of the time model: an H100's measured rates. Only their ratios matter.
constexpr double kGemm = 750e12, kAttention = 600e12, kBytes = 4e12;
// Rows that a product loses at the edge of a tile: waves that do not fill the device.
constexpr double kEdgeRows = 64;

constexpr int64_t kTileSizes[] = {1024, 2048, 4096, 8192, 16384, 32768, 65536};
constexpr int64_t kLossTileSizes[] = {512, 1024, 2048, 4096, 8192, 16384};
// Larger tiles leave the caches of a CPU.
constexpr int64_t kCpuTile = 4096, kCpuLossTile = 1024;

// Multiply-adds per token of a layer's forward products.
double layer_products(const ModelSpec& s, int64_t layer) {
  return static_cast<double>(s.hidden) *
         (static_cast<double>(2 * s.q_dim() + 2 * s.kv_dim()) + 3 * mlp_width(s, layer));
}

// Bytes of a layer's weights: of all experts.
double layer_weights(const ModelSpec& s, int64_t layer) {
  const double experts = s.sparse(layer) ? static_cast<double>(s.moe->experts) : 1;
  const double width =
      static_cast<double>(s.sparse(layer) ? s.moe->intermediate : s.intermediate) * experts;
  return static_cast<double>(s.hidden) *
         (static_cast<double>(2 * s.q_dim() + 2 * s.kv_dim()) + 3 * width);
}

// Bytes that live at once at the widest moment outside of what is saved, for given tiles.
int64_t workspace_bytes(const ActivationRequest& r, const std::vector<Keep>& keep,
                        model::Tiles tiles) {
  const ModelSpec& s = r.model->spec;
  const int64_t e = element_bytes(r.dtype), T = r.tokens, C = s.hidden;
  const int64_t rows = std::min(T, tiles.rows), loss_rows = std::min(T, tiles.loss);
  const int64_t qd = s.q_dim(), qkv = qd + 2 * s.kv_dim();
  const bool all_attention = std::ranges::all_of(keep, &Keep::attention);
  const bool all_qkv = std::ranges::all_of(keep, &Keep::qkv);
  const bool all_mid = std::ranges::all_of(keep, &Keep::mid);
  const int64_t recomputed = (all_attention ? 0 : qd) + (all_attention && all_qkv ? 0 : qkv);

  // Backward of attention: dh, its gradient, q, k, and dq, dk, dv; the kernel's own.
  const int64_t scratch = r.cuda && r.dtype != at::kFloat
                              ? attention::backward_scratch(s.heads, s.kv_heads, s.head_dim)
                              : 0;
  const int64_t attention = T * (e * (C + qd + (qkv - s.kv_dim()) + qkv + recomputed) + scratch);
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
  const int64_t forward = T * e * (2 * C + qkv + 2 * qd);
  if (!r.training) return std::max({forward, mlp, head});
  const int64_t embedding = r.model->adapters ? 0 : T * C * (4 + e);
  return std::max({attention, forward, mlp, head, embedding});
}

// One intermediate of one layer: what it costs, and the seconds that keeping it saves.
struct Keepable {
  int64_t layer;
  bool Keep::*flag;
  int64_t bytes;
  double seconds;
};

std::vector<Keepable> keepables(const ActivationRequest& r) {
  const ModelSpec& s = r.model->spec;
  const int64_t e = element_bytes(r.dtype);
  const auto tokens = static_cast<double>(r.tokens);
  const auto hidden = static_cast<double>(s.hidden), qd = static_cast<double>(s.q_dim());
  std::vector<Keepable> list;
  for (int64_t i = 0; i < s.layers; ++i) {
    const model::LayerBytes bytes = model::layer_bytes(s, i, e);
    const auto add = [&](bool Keep::*flag, int64_t each, double seconds) {
      list.push_back({i, flag, each * r.tokens, seconds});
    };
    // Causal: half of the square, two products.
    add(&Keep::attention, bytes.attention,
        2 * tokens * static_cast<double>(r.longest) * qd / kAttention);
    add(&Keep::qkv, bytes.qkv,
        2 * tokens * hidden * (qd + 2 * static_cast<double>(s.kv_dim())) / kGemm);
    // Read and written once, at the memory's rate.
    add(&Keep::heads, bytes.heads, 2 * tokens * static_cast<double>(bytes.heads) / kBytes);
    add(&Keep::mid, bytes.mid, 2 * tokens * hidden * qd / kGemm);
    add(&Keep::mlp, bytes.mlp, 4 * tokens * hidden * mlp_width(s, i) / kGemm);
  }
  std::ranges::stable_sort(list, [](const Keepable& a, const Keepable& b) {
    return a.seconds * static_cast<double>(b.bytes) > b.seconds * static_cast<double>(a.bytes);
  });
  return list;
}

// Seconds that tiles cost: rows lost at their edges, and passes over fp32 gradients of weights.
double tile_seconds(const ActivationRequest& r, model::Tiles tiles) {
  const ModelSpec& s = r.model->spec;
  const auto tokens = static_cast<double>(r.tokens);
  const bool trained = r.training && !r.model->adapters;
  const auto count = [&](int64_t tile) {
    return static_cast<double>((r.tokens + tile - 1) / tile);
  };
  const auto lost = [&](int64_t tile) { return kEdgeRows / static_cast<double>(tile); };
  double seconds = 0;
  for (int64_t i = 0; i < s.layers; ++i) {
    seconds += 4 * tokens * layer_products(s, i) / kGemm * lost(std::min(r.tokens, tiles.rows));
    if (trained) seconds += (count(tiles.rows) - 1) * layer_weights(s, i) * 8 / kBytes;
  }
  const double head = static_cast<double>(s.vocab) * static_cast<double>(s.hidden);
  seconds += 4 * tokens * head / kGemm * lost(std::min(r.tokens, tiles.loss));
  if (trained) seconds += (count(tiles.loss) - 1) * head * 8 / kBytes;
  return seconds;
}

std::vector<int64_t> sizes(std::span<const int64_t> all, int64_t given, int64_t tokens,
                           int64_t most) {
  if (given > 0) return {given};
  std::vector<int64_t> list;
  for (const int64_t size : all) {
    if (size < tokens && size <= most) list.push_back(size);
  }
  if (tokens <= most) list.push_back(std::max<int64_t>(tokens, 1));
  if (list.empty()) list.push_back(most);
  return list;
}

// Every pair of tile sizes that may be chosen.
std::vector<model::Tiles> tile_choices(const ActivationRequest& r) {
  const int64_t any = std::numeric_limits<int64_t>::max();
  std::vector<model::Tiles> list;
  for (const int64_t rows : sizes(kTileSizes, r.tiles.rows, r.tokens, r.cuda ? any : kCpuTile)) {
    for (const int64_t loss :
         sizes(kLossTileSizes, r.tiles.loss, r.tokens, r.cuda ? any : kCpuLossTile)) {
      list.push_back({rows, loss});
    }
  }
  return list;
}

// The plan for given tiles; `room`: bytes beside the least saved set.
ActivationPlan plan_for(const ActivationRequest& r, model::Tiles tiles,
                        const std::vector<Keepable>& list, int64_t room) {
  const ModelSpec& s = r.model->spec;
  ActivationPlan plan;
  plan.tiles = tiles;
  plan.keep.resize(s.layers);
  plan.seconds = tile_seconds(r, tiles);
  for (int64_t i = 0; r.training && i < s.layers; ++i) {
    plan.saved += r.tokens * model::layer_bytes(s, i, element_bytes(r.dtype)).least;
  }
  // Nothing kept is the widest workspace; what is kept can only narrow it.
  plan.workspace = workspace_bytes(r, plan.keep, tiles);
  if (!r.training) return plan;
  for (const Keepable& k : list) {
    plan.keepable += k.bytes;
    const bool fits = plan.saved + plan.workspace + plan.kept + k.bytes <= room;
    if (r.keep == "all" || (r.keep == "auto" && fits)) {
      plan.kept += k.bytes;
      plan.keep[k.layer].*k.flag = true;
    } else {
      plan.seconds += k.seconds;
    }
  }
  plan.workspace = workspace_bytes(r, plan.keep, tiles);
  return plan;
}

}  // namespace

double mlp_width(const ModelSpec& s, int64_t layer) {
  return static_cast<double>(s.sparse(layer) ? s.moe->experts_per_token * s.moe->intermediate
                                             : s.intermediate);
}

ActivationPlan least_activations(const ActivationRequest& request) {
  ActivationRequest least = request;
  if (least.keep == "auto") least.keep = "none";
  const auto list = keepables(least);
  std::optional<ActivationPlan> best;
  for (const model::Tiles tiles : tile_choices(least)) {
    const ActivationPlan plan = plan_for(least, tiles, list, 0);
    const bool smaller = !best || plan.workspace < best->workspace;
    const bool faster = best && plan.workspace == best->workspace && plan.seconds < best->seconds;
    if (smaller || faster) best = plan;
  }
  return *best;
}

std::optional<ActivationPlan> plan_activations(const ActivationRequest& request, int64_t room) {
  const ActivationPlan least = least_activations(request);
  if (least.total() > room) return std::nullopt;
  if (request.keep == "none") return least;
  const auto list = keepables(request);
  ActivationPlan best = least;
  bool found = false;
  for (const model::Tiles tiles : tile_choices(request)) {
    const ActivationPlan plan = plan_for(request, tiles, list, room);
    if (plan.total() > room || (found && plan.seconds >= best.seconds)) continue;
    best = plan;
    found = true;
  }
  return best;
}

}  // namespace trireme::engine
