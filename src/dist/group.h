// Ranks that exchange tensors with each other, and what they have exchanged. In a group of one
// rank, a collective is a copy if input and output differ, and otherwise a no-op.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dist/rendezvous.h"
#include "layout/communication.h"

namespace trireme::dist {

// The end of a collective that was started.
class Pending {
 public:
  virtual ~Pending() = default;
  // Gloo: returns when the output is complete; may throw PeerFailure. NCCL: the current stream
  // waits for the output, and the host does not.
  virtual void wait() = 0;
};
using PendingPtr = std::unique_ptr<Pending>;

struct Timeouts {
  std::chrono::milliseconds meeting;     // until all ranks of a group have connected
  std::chrono::milliseconds collective;  // until a collective that a rank has begun ends
};

// What a group's tensors travel through. kGloo: host memory; CUDA tensors are copied there and
// back, and the host waits for the end. kNccl: from device to device; no two ranks share a device.
enum class Backend { kGloo, kNccl };

class Group {
 public:
  // A group of one rank.
  explicit Group(std::string name = "self");
  // The group of `ranks` (ascending numbers in the job); this process is `ranks[index]`. All of
  // them construct it, and find each other in the store under `name` and the first rank. A group of
  // one rank uses NCCL only if `backend` says so (for tests). PeerFailure: a rank does not come in
  // time.
  Group(std::string name, std::vector<int64_t> ranks, size_t index, const Store& store,
        const Timeouts& timeouts, Backend backend = Backend::kGloo);
  // Wraps the process group that torch.distributed has registered in this process under c10d's
  // `name`, and that stays its owner. Collectives are those of its backend for tensors on `device`.
  // UserError: that backend is neither Gloo nor NCCL.
  Group(const std::string& name, at::DeviceType device);
  ~Group();
  Group(Group&&) noexcept;
  Group& operator=(Group&&) noexcept;

  const std::string& name() const { return name_; }
  int64_t size() const { return static_cast<int64_t>(ranks_.size()); }
  int64_t index() const { return static_cast<int64_t>(index_); }
  const std::vector<int64_t>& ranks() const { return ranks_; }
  Backend backend() const;

  // All collectives are asynchronous and deterministic. All ranks of the group call them in the
  // same order. Tensors are contiguous and live until wait() has returned; inputs do not change
  // until then.

  // x becomes the sum over ranks. Adjoint of itself.
  [[nodiscard]] PendingPtr all_reduce(const at::Tensor& x) const;
  // in [n, ...] of each rank -> out [size n, ...], in the order of ranks. Adjoint: reduce_scatter.
  [[nodiscard]] PendingPtr all_gather(const at::Tensor& out, const at::Tensor& in) const;
  // in [size n, ...] -> out [n, ...]: the sum over ranks of this rank's part. Adjoint: all_gather.
  [[nodiscard]] PendingPtr reduce_scatter(const at::Tensor& out, const at::Tensor& in) const;
  // Rows of `in`, in_rows[r] of them to each rank r in turn, become out_rows[r] rows of `out` from
  // each. Adjoint: the same with rows exchanged.
  [[nodiscard]] PendingPtr all_to_all(const at::Tensor& out, const at::Tensor& in,
                                      std::vector<int64_t> out_rows,
                                      std::vector<int64_t> in_rows) const;
  // `in` of each rank becomes `out` of the next rank; the next of the last rank is the first. `out`
  // has the size of the previous rank's `in`.
  [[nodiscard]] PendingPtr ring_shift(const at::Tensor& out, const at::Tensor& in) const;

  // What went through one kind of collective so far.
  layout::Volume volume(layout::Collective collective) const {
    return volumes_[static_cast<size_t>(collective)];
  }

 private:
  struct Impl;
  template <typename Start>
  PendingPtr start(layout::Collective collective, int64_t bytes, const Start& start) const;
  std::string where(layout::Collective collective) const;
  // Whether x is to be copied to host memory for Gloo.
  bool through_host(const at::Tensor& x) const;

  std::string name_;
  std::vector<int64_t> ranks_ = {0};
  size_t index_ = 0;
  std::unique_ptr<Impl> impl_;  // none: one rank
  mutable std::array<layout::Volume, layout::kCollectives> volumes_{};
};

}  // namespace trireme::dist
