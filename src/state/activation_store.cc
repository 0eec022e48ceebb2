#include "state/activation_store.h"

#include <ATen/ops/empty_strided.h>

#include <algorithm>

#include "base/error.h"

namespace trireme::state {
namespace {

// The tensors of a layer that belong on the host, in the order in which they are stored.
std::vector<at::Tensor*> on_host(model::SavedLayer& saved, const plan::SavedResidence& places) {
  std::vector<at::Tensor*> list;
  if (places.input == plan::Residence::kHost) list.push_back(&saved.x);
  if (places.attention == plan::Residence::kHost) {
    list.push_back(&saved.attention.out);
    list.push_back(&saved.attention.lse);
  }
  if (places.routing != plan::Residence::kHost) return list;
  for (ops::Routing& tile : saved.mlp.routing) {
    for (at::Tensor* part : {&tile.experts, &tile.weights, &tile.rows, &tile.tokens, &tile.ends}) {
      list.push_back(part);
    }
  }
  return list;
}

// The tensor itself if it is dense in any order of its dimensions, so that kernels later see the
// same strides.
at::Tensor dense(const at::Tensor& tensor) {
  return tensor.is_non_overlapping_and_dense() ? tensor : tensor.contiguous();
}

}  // namespace

ActivationStore::ActivationStore(std::vector<plan::SavedResidence> places, const at::Device& device,
                                 device::HostArena& arena,
                                 std::unique_ptr<device::Transfer> transfer)
    : places_(std::move(places)),
      device_(device),
      arena_(arena),
      transfer_(std::move(transfer)),
      entries_(places_.size()) {}

void ActivationStore::begin() {
  // After a step that ended with an exception, copies may still run. Their sources and targets must
  // not be released before they end.
  for (Entry& entry : entries_) {
    if (entry.arrival) entry.arrival->wait();
    entry = {};
  }
  leaving_.reset();
  arena_.reset();
  stored_ = 0;
}

void ActivationStore::put(int64_t layer, model::SavedLayer saved) {
  const plan::SavedResidence& places = places_[layer];
  if (places.input == plan::Residence::kRecompute) saved.x.reset();
  hold(layer, std::move(saved));
  Entry& entry = entries_[layer];
  const std::vector<at::Tensor*> tensors = on_host(entry.saved, places);
  if (tensors.empty()) return;
  for (at::Tensor* tensor : tensors) {
    const at::Tensor from = dense(*tensor);
    entry.slots.push_back(arena_.take(from));
    entry.copies.push_back({from, entry.slots.back()});
    stored_ += static_cast<int64_t>(from.nbytes());
    tensor->reset();
  }
  entry.arrival = transfer_->start(device::Direction::kToHost, entry.copies);
  settle();
  leaving_ = layer;
  stored_most_ = std::max(stored_most_, stored_);
}

void ActivationStore::hold(int64_t layer, model::SavedLayer saved) {
  entries_[layer] = {};
  entries_[layer].saved = std::move(saved);
}

void ActivationStore::settle() {
  if (!leaving_) return;
  Entry& entry = entries_[*leaving_];
  // Only now may the allocator give the memory to the kernels that follow: freed blocks are reused
  // in the order of the compute stream, which comes after the copy from here on.
  entry.arrival->wait();
  entry.arrival.reset();
  entry.copies.clear();
  leaving_.reset();
}

void ActivationStore::prefetch(int64_t layer) {
  if (layer < 0) return;
  Entry& entry = entries_[layer];
  // On the device, on its way in, or on its way out: get() takes what is still here.
  if (entry.slots.empty() || entry.arrival) return;
  for (const at::Tensor& slot : entry.slots) {
    // This is memory of the compute stream: the copy runs after all earlier uses of it.
    const at::Tensor to =
        at::empty_strided(slot.sizes(), slot.strides(), slot.options().device(device_));
    entry.copies.push_back({slot, to});
  }
  entry.arrival = transfer_->start(device::Direction::kToDevice, entry.copies);
}

void ActivationStore::restore(int64_t layer) {
  Entry& entry = entries_[layer];
  prefetch(layer);
  entry.arrival->wait();
  const bool left = leaving_ == layer;  // its device tensors are still there
  const std::vector<at::Tensor*> tensors = on_host(entry.saved, places_[layer]);
  TRIREME_CHECK(tensors.size() == entry.copies.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    *tensors[i] = left ? entry.copies[i].from : entry.copies[i].to;
  }
  if (left) leaving_.reset();
}

model::SavedLayer ActivationStore::get(int64_t layer) {
  if (!entries_[layer].slots.empty()) restore(layer);
  model::SavedLayer saved = std::move(entries_[layer].saved);
  entries_[layer] = {};
  return saved;
}

}  // namespace trireme::state
