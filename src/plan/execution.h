// How a rank carries out a pass: what is kept for backward and where, which layers are recomputed,
// how large tiles are. The plan decides it, and the executor obeys.
#pragma once

#include <cstdint>
#include <vector>

#include "config/choices.h"

namespace trireme::plan {

// Where a tensor is between its computation and its use.
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

// Where the saved tensors of one layer are. Routing is never recomputed: a top-k could flip.
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
  // First layers of the segments, ascending from 0: their inputs are the activation checkpoints.
  // Backward recomputes the layers of a segment from that input before it goes through them. It
  // begins with the last segment, which is not recomputed. {0}: no layer is recomputed as a whole.
  std::vector<int64_t> segments = {0};
  int64_t host_bytes = 0;  // of the arena
  config::RingOrder ring_order = config::RingOrder::kBalanced;

  // Backward recomputes the forward pass of layers [0, recomputed_layers()).
  int64_t recomputed_layers() const { return segments.back(); }
};

// The length to which a batch of one document is padded on CUDA: `tokens` rounded up by at most a
// sixteenth. There are then only a few shapes of attention plans (tens of milliseconds each) and of
// the allocator's blocks, whatever the lengths of the documents.
int64_t bucket(int64_t tokens);

}  // namespace trireme::plan
