// What a plan of activations costs: bytes of each tensor that is saved, kept or lives for a moment,
// and the seconds that are lost to computing again, to tiles and to copies. Arithmetic on the
// model's sizes; the search over it is in activations.cc.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/activations.h"

namespace trireme::engine {

// Width of what a token passes in layer `layer`'s feed-forward half: of a dense MLP, or of its
// chosen experts together.
double mlp_width(const config::ModelSpec& spec, int64_t layer);

// Bytes that live at once at the widest moment outside of what is saved and kept, for given tiles.
int64_t workspace_bytes(const ActivationRequest& request, const std::vector<model::Keep>& keep,
                        model::Tiles tiles);

// First layers of the segments of a request, as ExecutionPlan has them.
std::vector<int64_t> segment_starts(const ActivationRequest& request);

// One intermediate of layers that never hold it at the same time: what it costs, and the seconds
// that keeping it saves.
struct Keepable {
  std::vector<int64_t> layers;
  bool model::Keep::*flag;
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
SavedBytes saved_bytes(const ActivationRequest& request, int64_t layer, model::Tiles tiles);

// Of a layer's forward pass, and of its attention alone.
double forward_seconds(const ActivationRequest& request, int64_t layer);
double attention_seconds(const ActivationRequest& request);

// Lost by bringing `bytes` of a layer to the host and back: what its own forward and backward do
// not hide, and the bandwidth of the device's memory that the copies take from its kernels.
double copy_seconds(const ActivationRequest& request, int64_t layer, int64_t bytes);

// Lost to tiles: rows at their edges, and passes over fp32 gradients of weights.
double tile_seconds(const ActivationRequest& request, model::Tiles tiles);

}  // namespace trireme::engine
