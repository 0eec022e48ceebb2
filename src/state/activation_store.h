// Holds what backward needs of each layer between its forward and its backward: on the device or in
// host memory. What is recomputed is not stored.
//
// Tensors go to the host while the next layer computes, and come back while the layer before them
// in the order of backward computes. At most one layer is on its way in either direction, beside
// the one that computes. The device therefore holds two layers' worth of what is on the host, which
// the plan counts as workspace.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "device/host_arena.h"
#include "device/transfer.h"
#include "model/decoder_layer.h"

namespace trireme::state {

class ActivationStore {
 public:
  // `places` has an entry for each layer. `arena` outlives the store and has room for the layers on
  // the host.
  ActivationStore(std::vector<plan::SavedResidence> places, const at::Device& device,
                  device::HostArena& arena, std::unique_ptr<device::Transfer> transfer);

  // Drops everything. Call before a forward pass.
  void begin();
  // Takes what a layer's forward saved and puts each tensor in its place; what will be recomputed
  // is dropped. Asynchronous: the device's copy of a tensor that goes to the host is released, in
  // the order of the compute stream, when the next layer is put.
  void put(int64_t layer, model::SavedLayer saved);
  // The same, but everything stays on the device.
  void hold(int64_t layer, model::SavedLayer saved);
  // Starts to copy a layer's tensors back, so that get() need not wait for them. Does nothing for
  // -1 and for a layer on the device. The layer must be the next that get() takes.
  void prefetch(int64_t layer);
  // Returns the layer's tensors, on the device, and removes them from the store. Asynchronous: the
  // compute stream waits for them, the host does not.
  model::SavedLayer get(int64_t layer);

  // The most bytes that one step has had on the host.
  int64_t stored_bytes() const { return stored_most_; }

 private:
  struct Entry {
    model::SavedLayer saved;                   // the tensors that are on the host undefined
    std::vector<at::Tensor> slots;             // those, in the arena
    std::vector<device::Copy> copies;          // on their way out or in: keeps both ends alive
    std::unique_ptr<device::Arrival> arrival;  // of the copies
  };
  // The compute stream waits for the layer that is on its way out, whose tensors are then released.
  void settle();
  void restore(int64_t layer);

  std::vector<plan::SavedResidence> places_;
  at::Device device_;
  device::HostArena& arena_;
  std::unique_ptr<device::Transfer> transfer_;
  std::vector<Entry> entries_;
  std::optional<int64_t> leaving_;  // the layer on its way out
  int64_t stored_ = 0, stored_most_ = 0;
};

}  // namespace trireme::state
