#include "engine/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/log.h"
#include "base/units.h"

namespace trireme::engine {
namespace {

// What the libraries allocate for themselves once they are used: packing buffers, workspaces.
constexpr int64_t kLibraries = 32 << 20;

int64_t element_bytes(at::ScalarType dtype) { return dtype == at::kFloat ? 4 : 2; }

model::Tiles choose_tiles(model::Tiles tiles) {
  const model::Tiles standard;
  if (tiles.mlp == 0) tiles.mlp = standard.mlp;
  if (tiles.loss == 0) tiles.loss = standard.loss;
  return tiles;
}

// What lives for a moment only, at the worst moment of a step: a layer's backward, or a tile of the
// head.
int64_t workspace_bytes(const config::ModelSpec& spec, const MemoryRequest& r, model::Tiles tiles) {
  const int64_t element = element_bytes(r.dtype), tokens = r.tokens;
  const int64_t qkv = spec.q_dim() + 2 * spec.kv_dim(), hidden = spec.hidden;
  const int64_t mlp_rows = std::min(tokens, tiles.mlp), loss_rows = std::min(tokens, tiles.loss);
  // dh, normed, their mm; d(attended), q k v, dq dk dv, dqkv.
  const int64_t attention = tokens * (3 * hidden + spec.q_dim() + 3 * qkv) * element;
  int64_t mlp =
      tokens * 2 * hidden * element + mlp_rows * (6 * spec.intermediate + 2 * hidden) * element;
  if (spec.moe) {
    const int64_t pairs = tokens * spec.moe->experts_per_token;
    mlp = std::max(mlp, pairs * (6 * spec.moe->intermediate + 4 * hidden) * element);
  }
  const int64_t logits = r.dtype == at::kFloat ? 4 : 4 + 2;
  const int64_t head = tokens * 2 * hidden * element + loss_rows * spec.vocab * logits;
  return r.training ? std::max({attention, mlp, head}) : std::max(mlp, head);
}

// One intermediate of one layer that may be kept: what it costs, and the multiply-adds that it
// saves.
struct Keepable {
  int64_t layer;
  bool model::Keep::*flag;
  int64_t bytes;
  double saved_per_byte;
};

std::vector<Keepable> keepables(const config::ModelSpec& spec, int64_t tokens, int64_t element) {
  std::vector<Keepable> list;
  for (int64_t i = 0; i < spec.layers; ++i) {
    const model::LayerBytes bytes = model::layer_bytes(spec, i, element);
    const double hidden = static_cast<double>(spec.hidden);
    const double width = static_cast<double>(
        spec.sparse(i) ? spec.moe->experts_per_token * spec.moe->intermediate : spec.intermediate);
    const auto add = [&](bool model::Keep::*flag, int64_t each, double products) {
      list.push_back({i, flag, each * tokens, products / static_cast<double>(each)});
    };
    add(&model::Keep::qkv, bytes.qkv,
        hidden * static_cast<double>(spec.q_dim() + 2 * spec.kv_dim()));
    add(&model::Keep::mid, bytes.mid, hidden * static_cast<double>(spec.q_dim()));
    add(&model::Keep::mlp, bytes.mlp, hidden * 2 * width);
  }
  std::stable_sort(list.begin(), list.end(), [](const Keepable& a, const Keepable& b) {
    return a.saved_per_byte > b.saved_per_byte;
  });
  return list;
}

// Sets the flags of what fits into `room`; returns the bytes.
int64_t keep_what_fits(const std::vector<Keepable>& list, int64_t room,
                       std::vector<model::Keep>& keep) {
  int64_t kept = 0;
  for (const Keepable& k : list) {
    if (kept + k.bytes > room) continue;
    kept += k.bytes;
    keep[k.layer].*k.flag = true;
  }
  return kept;
}

void add_model_rows(MemoryTable& table, const model::ModelLayout& layout, const MemoryRequest& r) {
  const int64_t count = layout.numel();
  const auto numbers = [&](const char* dtype) { return fmt::format("{} {}", count, dtype); };
  const bool fp32 = r.dtype == at::kFloat;
  table.add("weights", numbers(fp32 ? "fp32" : "bf16"), count * element_bytes(r.dtype));
  if (!r.training) return;
  table.add("gradients", numbers("fp32"), count * 4);
  if (!r.optimizer) return;
  if (!fp32) table.add("master weights", numbers("fp32"), count * 4);
  table.add("Adam moments", fmt::format("2 x {} fp32", count), count * 8);
}

int64_t least_saved(const config::ModelSpec& spec, int64_t tokens, int64_t element) {
  int64_t bytes = 0;
  for (int64_t i = 0; i < spec.layers; ++i)
    bytes += tokens * model::layer_bytes(spec, i, element).least;
  return bytes;
}

}  // namespace

void MemoryTable::add(std::string name, std::string what, int64_t bytes) {
  rows_.push_back({std::move(name), std::move(what), bytes});
}

int64_t MemoryTable::total() const {
  return std::accumulate(rows_.begin(), rows_.end(), int64_t{0},
                         [](int64_t sum, const MemoryRow& row) { return sum + row.bytes; });
}

std::string MemoryTable::text() const {
  std::string out;
  for (const MemoryRow& row : rows_) {
    out += fmt::format("  {:<20} {:<28} {:>10}\n", row.name, row.what, format_bytes(row.bytes));
  }
  return out + fmt::format("  {:<20} {:<28} {:>10}", "sum", "", format_bytes(total()));
}

config::Json MemoryTable::json() const {
  config::Json list = config::Json::array();
  for (const MemoryRow& row : rows_) {
    list.push_back({{"name", row.name}, {"what", row.what}, {"bytes", row.bytes}});
  }
  return list;
}

MemoryPlan plan_memory(const config::ModelSpec& spec, const model::ModelLayout& layout,
                       const MemoryRequest& r) {
  MemoryPlan plan;
  plan.execution.keep.resize(spec.layers);
  plan.execution.tiles = choose_tiles(r.tiles);
  const int64_t element = element_bytes(r.dtype);
  const std::string tokens = fmt::format("{} tokens x {} layers", r.tokens, spec.layers);
  MemoryTable& table = plan.table;
  table.add("program", "resident before the model", r.program);
  add_model_rows(table, layout, r);
  table.add("libraries", "buffers of matrix products", kLibraries);
  table.add("batch", fmt::format("{} tokens", r.tokens), r.tokens * (4 * spec.head_dim + 5 * 8));
  table.add("workspace", "at the widest point", workspace_bytes(spec, r, plan.execution.tiles));
  if (r.training) {
    table.add("saved activations", tokens, least_saved(spec, r.tokens, element));
    // A twentieth of the device stays free for what the table does not know: fragments, libraries'
    // workspaces.
    const int64_t room = r.keep == "none" ? 0 : r.budget - r.budget / 20 - table.total();
    const auto list = keepables(spec, r.tokens, element);
    const int64_t all =
        std::accumulate(list.begin(), list.end(), int64_t{0},
                        [](int64_t sum, const Keepable& k) { return sum + k.bytes; });
    const int64_t kept = keep_what_fits(list, r.keep == "all" ? all : room, plan.execution.keep);
    table.add("kept intermediates",
              fmt::format("{:.0f} % of all", 100.0 * kept / std::max<int64_t>(all, 1)), kept);
  }
  if (table.total() > r.budget) {
    log("memory of this run:\n{}", table.text());
    fail(
        "not enough memory: this run holds {} and may hold {}: use a smaller --max_length or "
        "--batch_size, or a "
        "smaller model",
        format_bytes(table.total()), format_bytes(r.budget));
  }
  return plan;
}

}  // namespace trireme::engine
