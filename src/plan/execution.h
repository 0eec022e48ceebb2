// How a rank carries out a pass: what is kept for backward and where, which layers are recomputed,
// how large tiles are. The plan decides it, and the executor obeys.
#pragma once

#include <cstdint>
#include <vector>

#include "config/choices.h"

namespace trireme::plan {

// Where something is between its making and its use.
enum class Residence { kDevice, kHost, kRecompute };

// Intermediates of a layer that are kept for backward beyond the least saved set.
struct Keep {
  bool attention = false;  // o [S,H,D] and its log-sum-exp [H,S]
  bool qkv = false;        // the projection [S,(H+2K)D], before q/k norm and rotation
  bool heads = false;      // q [S,H,D] and k [S,K,D], normed and rotated
  bool mid = false;        // h [S,C]
  bool mlp = false;        // gate and up [S,2F], or of the experts [S*topk,2F]
  static Keep all() { return {true, true, true, true, true}; }
};

// Where what one layer saves is. Routing is never recomputed: a top-k could flip.
struct SavedResidence {
  Residence input = Residence::kDevice;      // x [S,C]
  Residence attention = Residence::kDevice;  // o [S,H,D] and lse [H,S], where the layer keeps them
  Residence routing = Residence::kDevice;    // of experts
};

// Rows of a tile along S. They are the same in forward and backward, so that recomputed tiles have
// the same bits.
struct Tiles {
  int64_t rows = 4096;  // of norms, projections, MLP, experts
  int64_t loss = 1024;  // of head and loss
};

struct ExecutionPlan {
  std::vector<Keep> keep;  // per layer
  Tiles tiles;
  std::vector<SavedResidence> saved;  // per layer
  // First layers of the segments, ascending from 0. Backward recomputes the layers of a segment
  // from the input of the first before it goes through them; not those of the last segment, with
  // which it begins. {0}: no layer is recomputed as a whole.
  std::vector<int64_t> segments = {0};
  int64_t host_bytes = 0;  // of the arena
  config::RingOrder ring_order = config::RingOrder::kBalanced;

  // Layers [0, recomputed_layers()) run forward a second time in backward.
  int64_t recomputed_layers() const { return segments.back(); }
};

// Tokens that a batch of one document is computed with on CUDA: `tokens` rounded up by at most a
// sixteenth. Attention's plans (tens of milliseconds each) and the allocator's blocks are then of a
// few shapes, whatever the lengths of the documents.
int64_t bucket(int64_t tokens);

}  // namespace trireme::plan
