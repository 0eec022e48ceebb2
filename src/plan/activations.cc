#include "plan/activations.h"

#include <algorithm>
#include <limits>
#include <span>
#include <tuple>

#include "plan/activation_costs.h"

namespace trireme::plan {
namespace {

using config::ActivationOffload;
using config::Keeping;

constexpr int64_t kTileSizes[] = {1024, 2048, 4096, 8192, 16384, 32768, 65536};
constexpr int64_t kLossTileSizes[] = {512, 1024, 2048, 4096, 8192, 16384};
// Larger tiles leave the caches of a CPU.
constexpr int64_t kCpuTile = 4096, kCpuLossTile = 1024;
// Layers that the device holds beside what stays there, while others are on the host: one on its
// way and one at work.
constexpr int64_t kStagedLayers = 2;

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
std::vector<Tiles> tile_choices(const ActivationRequest& r) {
  const int64_t any = std::numeric_limits<int64_t>::max();
  std::vector<Tiles> list;
  for (const int64_t rows :
       sizes(kTileSizes, r.tiles.rows, r.tokens, r.hardware.cuda ? any : kCpuTile)) {
    for (const int64_t loss :
         sizes(kLossTileSizes, r.tiles.loss, r.tokens, r.hardware.cuda ? any : kCpuLossTile)) {
      list.push_back({rows, loss});
    }
  }
  return list;
}

// What goes to the host: of the layers [0, layers) everything that they save, but for attention's
// output of the layers [0, dropped), which is an intermediate like others. From `dropped` on it is
// saved in any case.
struct Spill {
  int64_t layers = 0;
  int64_t dropped = 0;
};

class Planner {
 public:
  Planner(const ActivationRequest& request, int64_t room)
      : r_(request),
        room_(room),
        layers_(request.model->spec.layers),
        segments_(segment_starts(request)),
        list_(keepables(request, segments_)) {}

  std::optional<ActivationPlan> best();
  ActivationPlan least();

 private:
  bool segmented() const { return segments_.size() > 1; }
  // Whether attention's outputs are saved from forward to backward, so that the host may take them.
  bool saves_attention() const { return !segmented() && r_.keep != Keeping::kNone; }
  // The last segment's layers stay on the device: backward begins with them.
  int64_t spillable() const { return segmented() ? segments_.back() : layers_; }

  bool fits(Tiles tiles, int64_t total, int64_t held) const;
  bool fits(const ActivationPlan& plan, int64_t more = 0) const {
    return fits(plan.tiles, plan.total() + more, plan.saved + plan.kept + more);
  }
  ActivationPlan plan(Tiles tiles, Spill spill, bool fill) const;
  void place_saved(ActivationPlan& plan, Spill spill) const;
  void add_segment(ActivationPlan& plan) const;
  void keep_what_fits(ActivationPlan& plan, bool fill) const;
  void consider(ActivationPlan plan);
  void consider_all_on_host(Tiles tiles);
  void consider_spilling(Tiles tiles);
  void consider_spilling_segments(Tiles tiles);

  const ActivationRequest& r_;
  int64_t room_;
  int64_t layers_;
  std::vector<int64_t> segments_;
  std::vector<Keepable> list_;
  std::optional<ActivationPlan> best_;
};

// Whether there is room for `total`, of which `held` is held from forward to backward. The largest
// block of all, the logits of a tile, comes last, when what is held may have left no hole of its
// size: on a device that much is left free, but no more than is held.
bool Planner::fits(Tiles tiles, int64_t total, int64_t held) const {
  const int64_t logits = std::min(r_.tokens, tiles.loss) * r_.model->spec.vocab * 4;
  const int64_t hole = std::clamp<int64_t>(logits - room_ / kSpare, 0, held);
  return total + (r_.hardware.cuda ? hole : 0) <= room_;
}

// Inputs, routing and attention's outputs from `spill.dropped` on, each at its place.
void Planner::place_saved(ActivationPlan& plan, Spill spill) const {
  int64_t staged = 0;
  for (int64_t i = 0; i < layers_; ++i) {
    const SavedBytes bytes = saved_bytes(r_, i, plan.tiles);
    const bool first = std::ranges::binary_search(segments_, i);
    const bool input = !segmented() || first, routing = !segmented() || i < segments_.back();
    const bool attention = saves_attention() && i >= spill.dropped;
    const bool host = i < std::min(spill.layers, spillable());
    const Residence place = host ? Residence::kHost : Residence::kDevice;
    plan.keep[i].attention = attention;
    plan.saved_at[i] = {.input = input || !routing ? place : Residence::kRecompute,
                        .attention = attention ? place : Residence::kDevice,
                        .routing = place};
    const int64_t on_device = (input ? bytes.input : 0) + (routing ? bytes.routing : 0);
    const int64_t on_host = (input ? bytes.host_input : 0) + (routing ? bytes.host_routing : 0);
    if (host) {
      plan.host += on_host + (attention ? bytes.host_attention : 0);
      const int64_t moved = on_device + (attention ? bytes.attention : 0);
      plan.seconds += copy_seconds(r_, i, moved);
      staged = std::max(staged, moved);
    } else {
      plan.saved += on_device;
      plan.kept += attention ? bytes.attention : 0;
    }
  }
  plan.staging = kStagedLayers * staged;
}

// What a segment's layers save while backward goes through it, and the second forward pass.
void Planner::add_segment(ActivationPlan& plan) const {
  int64_t most = 0;
  for (size_t k = 0; k < segments_.size(); ++k) {
    const bool last = k + 1 == segments_.size();
    const int64_t end = last ? layers_ : segments_[k + 1];
    int64_t bytes = 0;
    for (int64_t i = segments_[k]; i < end; ++i) {
      const SavedBytes saved = saved_bytes(r_, i, plan.tiles);
      bytes += saved.routing + (i > segments_[k] ? saved.input : 0);
      if (!last) plan.seconds += forward_seconds(r_, i);
    }
    most = std::max(most, bytes);
  }
  plan.saved += most;
}

void Planner::keep_what_fits(ActivationPlan& plan, bool fill) const {
  for (const Keepable& k : list_) {
    const bool saved = plan.keep[k.layers.front()].*k.flag;
    if (saved && plan.saved_at[k.layers.front()].attention == Residence::kHost) continue;
    plan.keepable += k.bytes;
    if (saved) continue;
    // With all on the host, attention's output is there or computed again.
    const bool barred =
        r_.offload == ActivationOffload::kAll && saves_attention() && k.flag == &Keep::attention;
    const bool fits = !barred && this->fits(plan, k.bytes);
    if (r_.keep == Keeping::kAll || (fill && r_.keep == Keeping::kAuto && fits)) {
      plan.kept += k.bytes;
      for (const int64_t layer : k.layers) plan.keep[layer].*k.flag = true;
    } else {
      plan.seconds += k.seconds;
    }
  }
}

// The plan for given tiles and spill; with `fill`, intermediates take the room that is left.
ActivationPlan Planner::plan(Tiles tiles, Spill spill, bool fill) const {
  ActivationPlan plan;
  plan.tiles = tiles;
  plan.keep.resize(layers_);
  plan.saved_at.resize(layers_);
  plan.segments = segments_;
  plan.seconds = tile_seconds(r_, tiles);
  if (r_.training) place_saved(plan, spill);
  if (r_.training && segmented()) add_segment(plan);
  // A second forward pass has the gradient of its end beside it.
  const int64_t beside = segmented() ? r_.tokens * r_.model->spec.hidden * bytes_of(r_.format) : 0;
  // Nothing kept is the widest workspace; what is kept can only narrow it.
  plan.workspace = workspace_bytes(r_, plan.keep, tiles) + plan.staging + beside;
  if (!r_.training) return plan;
  keep_what_fits(plan, fill);
  plan.workspace = workspace_bytes(r_, plan.keep, tiles) + plan.staging + beside;
  return plan;
}

// Keeps the better plan of those that fit: the faster one, and of two alike the one with less on
// the host; with --keep none the one of least memory, first on the host and then on the device.
void Planner::consider(ActivationPlan plan) {
  if (!fits(plan) || plan.host > r_.host_room) return;
  const auto rank = [&](const ActivationPlan& p) {
    const auto host = static_cast<double>(p.host), device = static_cast<double>(p.total());
    return r_.keep == Keeping::kNone ? std::tuple{host, device, p.seconds}
                                     : std::tuple{p.seconds, host, 0.0};
  };
  if (!best_ || rank(plan) < rank(*best_)) best_ = std::move(plan);
}

void Planner::consider_all_on_host(Tiles tiles) {
  // Attention's outputs of as few layers as need be are not saved: less is also staged then.
  for (int64_t dropped = saves_attention() ? 0 : layers_; dropped <= layers_; ++dropped) {
    const ActivationPlan plan = this->plan(tiles, {layers_, dropped}, /*fill=*/true);
    if (plan.host > r_.host_room || !fits(plan)) continue;
    return consider(plan);
  }
}

// For each number of dropped outputs, the fewest layers on the host with which the device has room.
// Intermediates beyond what is saved never drive a layer to the host: room that they would need is
// less than a layer's then.
void Planner::consider_spilling(Tiles tiles) {
  for (int64_t dropped = saves_attention() ? 0 : layers_; dropped <= layers_; ++dropped) {
    const ActivationPlan all = plan(tiles, {layers_, dropped}, /*fill=*/false);
    int64_t spilled = layers_, back = 0;  // bytes that stay on the device after all
    while (spilled > 1) {
      const SavedBytes next = saved_bytes(r_, spilled - 1, tiles);
      back += next.input + next.routing + (spilled - 1 >= dropped ? next.attention : 0);
      if (!fits(all, back)) break;
      --spilled;
    }
    consider(spilled == layers_ ? all : plan(tiles, {spilled, dropped}, /*fill=*/false));
  }
}

void Planner::consider_spilling_segments(Tiles tiles) {
  for (int64_t spilled = 1; spilled <= spillable(); ++spilled) {
    consider(plan(tiles, {spilled, layers_}, /*fill=*/true));
  }
}

std::optional<ActivationPlan> Planner::best() {
  const bool on_host = r_.training && r_.offload == ActivationOffload::kAll;
  const bool spills = r_.training && r_.offload == ActivationOffload::kAuto && r_.host_room > 0;
  for (const Tiles tiles : tile_choices(r_)) {
    if (on_host) {
      consider_all_on_host(tiles);
      continue;
    }
    consider(plan(tiles, {0, layers_}, /*fill=*/true));
    if (spills) segmented() ? consider_spilling_segments(tiles) : consider_spilling(tiles);
  }
  return best_;
}

// As much on the host as it takes.
ActivationPlan Planner::least() {
  std::optional<ActivationPlan> least;
  for (const Tiles tiles : tile_choices(r_)) {
    for (int64_t spilled = r_.offload == ActivationOffload::kNone || !r_.training ? 0 : spillable();
         spilled >= 0; --spilled) {
      ActivationPlan candidate = plan(tiles, {spilled, layers_}, /*fill=*/false);
      if (candidate.host > r_.host_room) continue;
      if (!least || candidate.total() < least->total()) least = std::move(candidate);
    }
  }
  return *least;
}

}  // namespace

std::optional<ActivationPlan> plan_activations(const ActivationRequest& request, int64_t room) {
  return Planner(request, room).best();
}

ActivationPlan least_activations(const ActivationRequest& request) {
  return Planner(request, 0).least();
}

}  // namespace trireme::plan
