// ZeRO's collectives (Rajbhandari et al. 2020): the ranks that hold the same model reduce its
// gradients and gather its weights, one collective per block, independent of the tensors inside.
//
// Shards are equal and consist of whole runs of 256 elements. Small tensors travel with their
// layer, so there is no persistence threshold. Adapters are whole on every rank. The optimizer sees
// shards; its random bits depend on an element's place in the block, not on the rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "dist/mesh.h"
#include "layout/shards.h"

namespace trireme::state {

// Flat buffers have padded() elements; what lies beyond the block's is zero.
class Zero : public layout::Sharding {
 public:
  // Sharding over one rank: nothing is sharded.
  Zero();
  // Sharding over the mesh's `shards` group; `mesh` outlives this.
  Zero(const dist::Mesh& mesh, int64_t stage);

  // The elements of `flat` [padded] that are this rank's shard, [size]; a view.
  at::Tensor mine(const at::Tensor& flat) const;
  // mine(flat) becomes the sum over ranks and the rest of `flat` undefined; if state is not
  // sharded, all of `flat` becomes the sum. Asynchronous.
  [[nodiscard]] dist::PendingPtr reduce(const at::Tensor& flat) const;
  // Gathers every rank's `shard` [size] into flat [padded]. State must be sharded; the shard may be
  // mine(flat). Asynchronous.
  [[nodiscard]] dist::PendingPtr gather(const at::Tensor& flat, const at::Tensor& shard) const;
  // The block [numel] that the ranks' shards form; `shard` itself if state is not sharded.
  at::Tensor whole(const at::Tensor& shard, int64_t numel) const;
  // The sum of x over the ranks' shards; x itself if state is not sharded.
  at::Tensor sum(at::Tensor x) const;

 private:
  const dist::Group* group_;
};

}  // namespace trireme::state
