// What a plan of activations costs: bytes of each tensor that is saved, kept or lives for a moment,
// and the seconds that are lost to recomputing, to tiles and to copies, by the time model of
// step_cost.h. The search over it is in activations.cc.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/activations.h"

namespace trireme::plan {

// Bytes that live at once at the widest moment outside of what is saved and kept, for given tiles.
int64_t workspace_bytes(const ActivationRequest& request, const std::vector<Keep>& keep,
                        Tiles tiles);

// First layers of the segments of a request, as ExecutionPlan has them.
std::vector<int64_t> segment_starts(const ActivationRequest& request);

// One intermediate of layers that never hold it at the same time: what it costs, and the seconds
// that keeping it saves.
struct Keepable {
  std::vector<int64_t> layers;
  bool Keep::*flag;
  int64_t bytes;
  double seconds;
};
// In the order of seconds saved per byte.
std::vector<Keepable> keepables(const ActivationRequest& request,
                                const std::vector<int64_t>& segments);

// What one layer saves, in bytes on the device and in the arena.
struct SavedBytes {
  int64_t input = 0, routing = 0, attention = 0;
  int64_t host_input = 0, host_routing = 0, host_attention = 0;
};
SavedBytes saved_bytes(const ActivationRequest& request, int64_t layer, Tiles tiles);

// Seconds of a layer's forward pass.
double forward_seconds(const ActivationRequest& request, int64_t layer);

// Seconds lost by bringing `bytes` of a layer to the host and back: what its own forward and
// backward do not hide, and the bandwidth of the device's memory that the copies take from its
// kernels.
double copy_seconds(const ActivationRequest& request, int64_t layer, int64_t bytes);

// Seconds lost to tiles: rows at their edges, and passes over fp32 gradients of weights.
double tile_seconds(const ActivationRequest& request, Tiles tiles);

}  // namespace trireme::plan
