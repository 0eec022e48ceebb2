// Where what backward needs of each layer is between its forward and its backward: on the device,
// on the host, or nowhere because it is computed again.
//
// Tensors of the host leave while the next layer computes and come back while the layer before (in
// the order of backward) computes. No more than one layer is on its way in either direction, beside
// the one that computes: the device holds two layers' worth of what is on the host, which the plan
// counts as workspace.
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
  // places: of each layer. `arena` outlives the store and has room for the layers on the host.
  ActivationStore(std::vector<plan::SavedResidence> places, const at::Device& device,
                  device::HostArena& arena, std::unique_ptr<device::Transfer> transfer);

  // Forgets everything: before a forward pass.
  void begin();
  // Takes what a layer's forward saved, each tensor to its place; what is computed again is
  // dropped. Asynchronous: the device's copy of what goes to the host is released, in the order of
  // the compute stream, when the next layer is put.
  void put(int64_t layer, model::SavedLayer saved);
  // The same, but everything stays on the device.
  void hold(int64_t layer, model::SavedLayer saved);
  // Starts to bring a layer's tensors back, so that get() need not wait for them; nothing for a
  // layer that is on the device, and for -1. No layer but the next that get() takes.
  void prefetch(int64_t layer);
  // The layer's tensors on the device, and out of the store. Asynchronous: the compute stream waits
  // for them, the host does not.
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
