#include "state/zero.h"

#include <ATen/ops/empty.h>

#include "base/error.h"

namespace trireme::state {
namespace {

const dist::Group& self() {
  static const dist::Group group;
  return group;
}

}  // namespace

Zero::Zero() : group_(&self()) {}

Zero::Zero(const dist::Mesh& mesh, int64_t stage) : group_(&mesh.group(config::Axis::kShards)) {
  this->stage = stage;
  ranks = group_->size();
  index = group_->index();
}

at::Tensor Zero::mine(const at::Tensor& flat) const {
  if (!states()) return flat;
  const int64_t size = flat.numel() / ranks;
  return flat.narrow(0, index * size, size);
}

dist::PendingPtr Zero::reduce(const at::Tensor& flat) const {
  if (!states()) return group_->all_reduce(flat);
  return group_->reduce_scatter(mine(flat), flat);
}

dist::PendingPtr Zero::gather(const at::Tensor& flat, const at::Tensor& shard) const {
  TRIREME_CHECK(states());
  return group_->all_gather(flat, shard);
}

at::Tensor Zero::whole(const at::Tensor& shard, int64_t numel) const {
  if (!states() || numel == 0) return shard;
  const at::Tensor flat = at::empty({padded(numel)}, shard.options());
  gather(flat, shard)->wait();
  return flat.narrow(0, 0, numel);
}

at::Tensor Zero::sum(at::Tensor x) const {
  if (states()) group_->all_reduce(x)->wait();
  return x;
}

}  // namespace trireme::state
