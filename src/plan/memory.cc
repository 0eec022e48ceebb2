#include "plan/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "base/host_memory.h"
#include "base/log.h"
#include "base/units.h"
#include "plan/length_tile.h"
#include "plan/state_bytes.h"
#include "plan/visits.h"

namespace trireme::plan {
namespace {

using config::OptimizerOffload;

// Bytes that libraries allocate for themselves at their first use: packing buffers, workspaces.
constexpr int64_t kLibraries = 32 << 20;

const char* residence_name(Residence where) {
  return where == Residence::kDevice ? "device" : "host";
}

// Whether there are master weights: only beside weights of less precision.
bool has_masters(const MemoryRequest& request) {
  return request.master_weights && request.activations.format != NumberFormat::kFloat32;
}

// Whether AdamW runs on the host, and whether gradients are there: not if backward passes them to
// it at once.
bool updates_on_host(const MemoryRequest& request) {
  return request.optimizer && request.update == OptimizerOffload::kCpu;
}
bool grads_on_host(const MemoryRequest& request) {
  return updates_on_host(request) && !request.fused;
}

// Sums of elements over a layout's blocks: of this rank's shards, or of buffers that shards can be
// cut from.
int64_t shard_elements(const layout::ModelLayout& layout, const layout::Sharding& sharding) {
  int64_t sum = 0;
  for (const auto& block : layout.blocks) sum += sharding.shard(block.numel).size;
  return sum;
}
int64_t padded_elements(const layout::ModelLayout& layout, const layout::Sharding& sharding) {
  int64_t sum = 0;
  for (const auto& block : layout.blocks) sum += sharding.padded(block.numel);
  return sum;
}

struct Gradients {
  int64_t passing = 0;  // exist until they are summed or consumed
  int64_t held = 0;     // on the device
  int64_t host = 0;
};

Gradients gradients(const MemoryRequest& request) {
  const layout::Model& model = *request.activations.model;
  const layout::ModelLayout& layout = model.trained_layout();
  const bool host = grads_on_host(request);
  const bool pass = request.fused || host || request.sharding.gradients();
  Gradients elements;
  if (pass) {
    const auto sizes = BlockBuffers(layout, request.sharding, model.spec.tied).sizes;
    elements.passing = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  }
  if (!request.fused) {
    (host ? elements.host : elements.held) =
        pass ? shard_elements(layout, request.sharding) : padded_elements(layout, request.sharding);
  }
  return elements;
}

// Elements of the base's blocks [first, end) that this rank holds, without visiting weights.
int64_t weight_elements(const MemoryRequest& request, int64_t first, int64_t end) {
  const auto& blocks = request.activations.model->layout.blocks;
  int64_t sum = 0;
  for (int64_t b = first; b < end; ++b) {
    sum += request.sharding.weights() ? request.sharding.shard(blocks[b].numel).size
                                      : request.sharding.padded(blocks[b].numel);
  }
  return sum;
}

// DoRA's copies of a layer's adapted matrices (model/dora.h): of the layer that has most.
int64_t folded_elements(const layout::Model& model) {
  int64_t most = 0;
  for (int64_t layer = 0; layer < model.spec.layers; ++layer) {
    int64_t all = 0, matrix = 0;
    bool adapted = false;
    const auto end_matrix = [&] {
      if (adapted) all += matrix;
      matrix = 0;
      adapted = false;
    };
    for (const layout::NamedShape& tensor : layout::layer_tensors(model.spec, layer)) {
      if (!layout::is_linear(tensor)) continue;
      if (!tensor.joins_previous) end_matrix();
      matrix += tensor.shape[0] * tensor.shape[1];
      adapted = adapted || model.adapters->linears.contains(layout::module_of(tensor.name));
    }
    end_matrix();
    most = std::max(most, all);
  }
  return most;
}

void add_model_rows(MemoryTable& table, const MemoryRequest& request) {
  const ActivationRequest& r = request.activations;
  const layout::ModelLayout& layout = r.model->layout;
  const bool adapters = r.model->adapters.has_value();
  const auto add = [&](RowKind kind, int64_t n, const char* type, int64_t each,
                       Residence where = Residence::kDevice) {
    if (n > 0) table.add(kind, fmt::format("{} {}", n, type), n * each, where);
  };
  const auto weights = [&](RowKind kind, int64_t n, Residence where) {
    add(kind, n, short_name(r.format), bytes_of(r.format), where);
  };
  const int64_t head = layout.head();
  const int64_t layers = weight_elements(request, layout.layer(0), head);
  const int64_t ends = weight_elements(request, layout.embedding(), layout.layer(0)) +
                       weight_elements(request, head, head + 1);
  weights(RowKind::kWeights, request.layers_on_host ? ends : ends + layers, Residence::kDevice);
  weights(RowKind::kVisitingWeights,
          visiting_elements(layout, r.model->spec.tied, request.layers_on_host, request.sharding),
          Residence::kDevice);
  if (request.layers_on_host) weights(RowKind::kLayerWeights, layers, Residence::kHost);
  const layout::ModelLayout& trained = r.model->trained_layout();
  if (adapters)
    weights(RowKind::kAdapters, padded_elements(trained, request.sharding), Residence::kDevice);
  if (adapters && r.model->adapters->lora.dora) {
    weights(RowKind::kFoldedWeights, folded_elements(*r.model) + kLengthTiles * kLengthTile,
            Residence::kDevice);
  }
  if (!r.training) return;
  const Gradients sums = gradients(request);
  add(RowKind::kGradients, sums.held, "fp32", 4);
  add(RowKind::kPassingGradients, sums.passing, "fp32", 4);
  add(RowKind::kGradients, sums.host, "fp32", 4, Residence::kHost);
  if (!request.optimizer) return;
  const bool master = has_masters(request);
  const Residence where =
      request.update == OptimizerOffload::kNone ? Residence::kDevice : Residence::kHost;
  const int64_t shards = shard_elements(trained, request.sharding);
  if (master) add(RowKind::kMasterWeights, shards, "fp32", 4, where);
  table.add(RowKind::kMoments, fmt::format("2 x {} {}", shards, short_name(request.moments)),
            state_moment_bytes(trained, request.moments, request.sharding), where);
  if (updates_on_host(request)) {
    table.add(RowKind::kHostPieces, fmt::format("{} x {} parameters", kHostSlots, kHostPiece),
              host_pieces_bytes(r.format, !grads_on_host(request)), Residence::kHost);
  }
  if (request.update != OptimizerOffload::kStream) return;
  table.add(RowKind::kOptimizerPieces, fmt::format("2 x {} parameters", kStreamPiece),
            stream_device_bytes(master, request.moments));
}

// Adds the rows that do not depend on how activations are kept.
MemoryTable fixed_rows(const MemoryRequest& request) {
  const ActivationRequest& r = request.activations;
  MemoryTable table;
  table.add(RowKind::kProgram, "beside the model", request.program);
  add_model_rows(table, request);
  table.add(RowKind::kLibraries, "buffers of matrix products", kLibraries);
  table.add(RowKind::kBatch, fmt::format("{} tokens", r.tokens),
            r.tokens * (4 * r.model->spec.head_dim + int64_t{5} * 8));
  return table;
}

void add_activation_rows(MemoryTable& table, const ActivationRequest& r,
                         const ActivationPlan& plan) {
  table.add(RowKind::kWorkspace,
            fmt::format("tiles of {} and {} rows", plan.tiles.rows, plan.tiles.loss),
            plan.workspace);
  if (!r.training) return;
  table.add(RowKind::kSavedActivations,
            fmt::format("{} tokens x {} layers", r.tokens, r.model->spec.layers), plan.saved);
  const auto keepable = static_cast<double>(std::max<int64_t>(plan.keepable, 1));
  table.add(RowKind::kKeptIntermediates,
            fmt::format("{:.0f} % of all", 100.0 * static_cast<double>(plan.kept) / keepable),
            plan.kept);
  if (plan.host == 0) return;
  const auto on_host = [&](Residence SavedResidence::*part) {
    return std::ranges::count(plan.saved_at, Residence::kHost, part);
  };
  table.add(RowKind::kOffloaded,
            fmt::format("{} layers, attention of {}", on_host(&SavedResidence::input),
                        on_host(&SavedResidence::attention)),
            plan.host, Residence::kHost);
}

// Bytes that activations may take on the device, and the request with the host memory that is left.
struct Room {
  int64_t device;
  ActivationRequest activations;
};

Room room_for(const MemoryRequest& request) {
  const MemoryTable fixed = fixed_rows(request);
  const int64_t left = request.budget - fixed.total();
  Room room{left - std::max<int64_t>(0, left) / kSpare, request.activations};
  room.activations.host_room -= fixed.total(Residence::kHost);
  return room;
}

std::optional<ActivationPlan> best_activations(const MemoryRequest& request) {
  const Room room = room_for(request);
  return plan_activations(room.activations, room.device);
}

// The most tokens of a batch that fit, documents as long as the batch; 0 if none does.
int64_t longest_that_fits(MemoryRequest request) {
  int64_t fits = 0, too_long = request.activations.tokens;
  while (too_long - fits > std::max<int64_t>(1, fits / 256)) {
    const int64_t middle = fits + (too_long - fits) / 2;
    request.activations.tokens = middle;
    request.activations.longest = middle * request.activations.shared();
    (best_activations(request) ? fits : too_long) = middle;
  }
  return fits;
}

std::string remedy(const MemoryRequest& request) {
  const int64_t longest = longest_that_fits(request);
  if (longest == 0) return "no length fits: use LoRA";
  return fmt::format("at most {} tokens in a batch fit: use a smaller --max_length or --batch_size",
                     longest * request.activations.shared());
}

// The least bytes on the host with which the device has room, if the host is what is too small.
std::optional<int64_t> missing_host(const MemoryRequest& request) {
  if (room_for(request).activations.host_room == 0 &&
      request.activations.offload != config::ActivationOffload::kAll) {
    return {};
  }
  MemoryRequest roomy = request;
  roomy.activations.host_room = std::numeric_limits<int64_t>::max();
  if (roomy.activations.keep == config::Keeping::kAuto) {
    roomy.activations.keep = config::Keeping::kNone;
  }
  const auto plan = best_activations(roomy);
  return plan ? std::optional(plan->host) : std::nullopt;
}

[[noreturn]] void refuse(const MemoryRequest& request, const MemoryPlan& plan) {
  log("memory of this run:\n{}", plan.text());
  if (const auto host = missing_host(request)) {
    fail(
        "not enough host memory: at least {} of saved activations must go to the host, which may "
        "hold {}: {}, or give more with --host_memory",
        format_bytes(*host), format_bytes(room_for(request).activations.host_room),
        remedy(request));
  }
  fail("not enough memory: this run holds {} and may hold {}: {}, or a smaller model",
       format_bytes(plan.table.total()), format_bytes(request.budget), remedy(request));
}

// A checkpoint that is written beside training, if there is room for a copy of it: what computing
// takes goes first.
void add_snapshot(const MemoryRequest& request, MemoryPlan& plan) {
  if (request.snapshot == 0) return;
  const layout::ModelLayout& trained = request.activations.model->trained_layout();
  const int64_t weight = has_masters(request) ? 4 : bytes_of(request.activations.format);
  // The first rank's, whose shards are the largest: all ranks must decide alike.
  layout::Sharding first = request.sharding;
  first.index = 0;
  const int64_t bytes = snapshot_bytes(trained, weight, request.moments, request.snapshot, first);
  const bool cuda = request.activations.hardware.cuda;
  const Residence where = cuda ? Residence::kHost : Residence::kDevice;
  const int64_t room = cuda ? request.activations.host_room : request.budget;
  if (plan.table.total(where) + bytes > room) return;
  plan.table.add(RowKind::kSnapshot, "on its way to the disk", bytes, where);
  plan.snapshot_arena = bytes;
}

}  // namespace

const char* MemoryRow::name() const {
  switch (kind) {
    case RowKind::kWeights:
      return "weights";
    case RowKind::kVisitingWeights:
      return "weights on their way";
    case RowKind::kLayerWeights:
      return "weights of layers";
    case RowKind::kAdapters:
      return "adapters";
    case RowKind::kFoldedWeights:
      return "weights with lengths";
    case RowKind::kGradients:
      return "gradients";
    case RowKind::kPassingGradients:
      return "gradients on their way";
    case RowKind::kMasterWeights:
      return "master weights";
    case RowKind::kMoments:
      return "Adam moments";
    case RowKind::kHostPieces:
      return "pieces on their way";
    case RowKind::kOptimizerPieces:
      return "optimizer pieces";
    case RowKind::kProgram:
      return "program";
    case RowKind::kLibraries:
      return "libraries";
    case RowKind::kBatch:
      return "batch";
    case RowKind::kWorkspace:
      return "workspace";
    case RowKind::kSavedActivations:
      return "saved activations";
    case RowKind::kKeptIntermediates:
      return "kept intermediates";
    case RowKind::kOffloaded:
      return "offloaded";
    case RowKind::kSnapshot:
      return "checkpoint";
  }
  return "";
}

void MemoryTable::add(RowKind kind, std::string what, int64_t bytes, Residence where) {
  rows_.push_back({kind, std::move(what), bytes, where});
}

int64_t MemoryTable::total(Residence where) const {
  int64_t sum = 0;
  for (const MemoryRow& row : rows_) sum += row.where == where ? row.bytes : 0;
  return sum;
}

std::string MemoryTable::text(int64_t device_budget, int64_t host_budget) const {
  std::string out;
  for (const MemoryRow& row : rows_) {
    out += fmt::format("  {:<20} {:<28} {:>10}  {}\n", row.name(), row.what,
                       format_bytes(row.bytes), residence_name(row.where));
  }
  const auto sum = [&](Residence where, int64_t budget) {
    return fmt::format("  {:<20} {:<28} {:>10}  {}", "sum", "of " + format_bytes(budget),
                       format_bytes(total(where)), residence_name(where));
  };
  out += sum(Residence::kDevice, device_budget);
  return total(Residence::kHost) > 0 ? out + "\n" + sum(Residence::kHost, host_budget) : out;
}

config::Json MemoryTable::json() const {
  config::Json list = config::Json::array();
  for (const MemoryRow& row : rows_) {
    list.push_back({{"name", row.name()},
                    {"what", row.what},
                    {"bytes", row.bytes},
                    {"where", residence_name(row.where)}});
  }
  return list;
}

std::string what_fits(MemoryRequest request, int64_t budget) {
  request.budget = budget;
  if (best_activations(request)) {
    return fmt::format("--device_memory {}MiB makes the run plan with that", budget >> 20);
  }
  return remedy(request);
}

MemoryPlan plan_memory(const MemoryRequest& request) {
  MemoryPlan plan;
  plan.request = request;
  plan.table = fixed_rows(request);
  const layout::ModelLayout& trained = request.activations.model->trained_layout();
  if (request.optimizer && request.update != OptimizerOffload::kNone) {
    plan.optimizer_arena =
        state_arena_bytes(trained, has_masters(request), request.moments, request.sharding);
  }
  if (updates_on_host(request)) {
    plan.gradients_arena =
        host_pieces_bytes(request.activations.format, !grads_on_host(request)) +
        (grads_on_host(request) ? host_grads_bytes(trained, request.sharding) : 0);
  }
  if (request.layers_on_host) {
    const layout::ModelLayout& base = request.activations.model->layout;
    for (int64_t b = base.layer(0); b < base.head(); ++b) {
      plan.layers_arena +=
          slot_bytes(weight_elements(request, b, b + 1) * bytes_of(request.activations.format));
    }
  }
  const int64_t host = plan.table.total(Residence::kHost),
                host_room = request.activations.host_room;
  if (host > host_room) {
    fail(
        "not enough host memory: --offload_optimizer and --offload_param put {} there, which may "
        "hold {}: use --moments_dtype 8bit, --master_weights off, --optimizer_in_backward true, or "
        "--offload_param none",
        format_bytes(host), format_bytes(host_room));
  }
  const auto activations = best_activations(request);
  plan.activations = activations ? *activations : least_activations(room_for(request).activations);
  plan.execution = {plan.activations.keep, plan.activations.tiles, plan.activations.saved_at,
                    plan.activations.segments, plan.activations.host};
  add_activation_rows(plan.table, request.activations, plan.activations);
  if (!activations) refuse(request, plan);
  add_snapshot(request, plan);
  return plan;
}

}  // namespace trireme::plan
