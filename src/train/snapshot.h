// A copy in host memory of what a checkpoint is made of, so that training goes on while it is
// written: this rank's state, and on the first rank the model as its files have it.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "device/host_arena.h"
#include "device/transfer.h"
#include "dist/mesh.h"
#include "state/saved_state.h"

namespace trireme::train {

// What a checkpoint takes its content from.
struct CheckpointSources {
  const layout::ModelLayout& layout;  // of what is trained
  const state::ResidentParams& params;
  const state::AdamW& optimizer;
  state::Zero zero;
};

class Snapshot {
 public:
  // `arena` has plan::snapshot_bytes(), and outlives this, as the sources do. `bytes` of a weight
  // in the model's files: 2 (bf16) or 4.
  Snapshot(const CheckpointSources& sources, device::HostArena& arena, const at::Device& device,
           int64_t bytes, bool first_rank);

  // Copies all of it; all ranks call it together. Returns once the device has done so.
  void take();
  const std::vector<state::StatePart>& parts() const { return copies_; }
  const std::vector<at::Tensor>& blocks() const { return blocks_; }  // on the first rank

 private:
  void allocate();
  at::Tensor room_for(const at::Tensor& like);
  void copy(const at::Tensor& from, const at::Tensor& to);
  void copy_block(const at::Tensor& whole, const at::Tensor& to);

  CheckpointSources sources_;
  device::HostArena& arena_;
  at::Device device_;
  int64_t bytes_;
  bool first_rank_;
  std::unique_ptr<device::Transfer> transfer_;
  std::vector<state::StatePart> copies_;
  std::vector<at::Tensor> blocks_;
};

}  // namespace trireme::train
