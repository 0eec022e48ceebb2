// ZeRO's collectives: the ranks that hold the same model reduce its gradients and gather its
// weights, block by block.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "dist/mesh.h"
#include "layout/shards.h"

namespace trireme::state {

// Flat buffers have padded() elements; what lies beyond the block's is zero.
class Zero : public layout::Sharding {
 public:
  // Of one rank.
  Zero();
  // Over the mesh's `shards`; `mesh` outlives this.
  Zero(const dist::Mesh& mesh, int64_t stage);

  // The elements of `flat` [padded] that are this rank's shard, [size]; a view.
  at::Tensor mine(const at::Tensor& flat) const;
  // mine(flat) becomes the sum over ranks, the rest of `flat` undefined; all of it where state is
  // not sharded. Asynchronous.
  [[nodiscard]] dist::PendingPtr reduce(const at::Tensor& flat) const;
  // Every rank's `shard` [size] -> flat [padded], where state is sharded; the shard may be
  // mine(flat). Asynchronous.
  [[nodiscard]] dist::PendingPtr gather(const at::Tensor& flat, const at::Tensor& shard) const;
  // The block [numel] of every rank's `shard`; the shard itself where state is not sharded.
  at::Tensor whole(const at::Tensor& shard, int64_t numel) const;
  // x summed over the ranks' shards, once where state is not sharded.
  at::Tensor sum(at::Tensor x) const;

 private:
  const dist::Group* group_;
};

}  // namespace trireme::state
