// The store on a device whose copies really are under way while kernels run: large tensors, and
// work before and after that would be overtaken if a stream did not wait.
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <optional>

#include "device/machine.h"
#include "state/activation_store.h"

namespace trireme::state {
namespace {

constexpr int64_t kLayers = 6, kRows = 8192, kWidth = 4096;  // 128 MiB a tensor
constexpr int64_t kBytes = kRows * kWidth * 4;
constexpr plan::SavedResidence kInputOnHost = {plan::Residence::kHost, plan::Residence::kDevice,
                                               plan::Residence::kDevice};

at::TensorOptions on_device() { return at::TensorOptions(at::kFloat).device(at::kCUDA); }

// A tensor of `value` that is finished late: the copy out must wait for the last of many passes.
at::Tensor slowly(double value) {
  at::Tensor x = at::full({kRows, kWidth}, value - 64, on_device());
  for (int64_t pass = 0; pass < 64; ++pass) x.add_(1);
  return x;
}

// One step: forward puts, and overwrites what the allocator hands out next; backward gets. Returns,
// for each layer, 0-dim on the device: whether its input came back as it was.
std::vector<at::Tensor> step(ActivationStore& store) {
  store.begin();
  for (int64_t i = 0; i < kLayers; ++i) {
    model::SavedLayer saved;
    saved.x = slowly(static_cast<double>(i));
    store.put(i, std::move(saved));
    // Memory that was released too early would be this one, while it is still copied.
    at::full({kRows, kWidth}, -1, on_device());
  }
  std::vector<at::Tensor> same;
  for (int64_t i = kLayers - 1; i >= 0; --i) {
    const model::SavedLayer saved = store.get(i);
    store.prefetch(i - 1);
    at::full({kRows, kWidth}, -2, on_device());
    same.push_back((saved.x == static_cast<double>(i)).all());
  }
  return same;
}

class StoreOnGpu : public testing::Test {
 protected:
  StoreOnGpu() : arena_(kLayers * kBytes, at::kCUDA) { arena_.wait_until_pinned(); }
  ActivationStore store() {
    return {std::vector<plan::SavedResidence>(kLayers, kInputOnHost), at::kCUDA, arena_,
            device::make_transfer(at::kCUDA, arena_)};
  }
  device::HostArena
      arena_;  // 768 MiB: two pieces, and a tensor across their border would be refused
};

TEST_F(StoreOnGpu, EveryTensorComesBackAsItWas) {
  ActivationStore store = this->store();
  for (int repeat = 0; repeat < 3; ++repeat) {
    for (const at::Tensor& same : step(store)) EXPECT_TRUE(same.item<bool>());
  }
}

TEST_F(StoreOnGpu, NoStepWaitsOnTheHostOrAsksTheDriverForMemory) {
  ActivationStore store = this->store();
  step(store);
  step(store);
  const int64_t calls = device::allocator_stats(at::kCUDA).driver_calls;
  std::vector<at::Tensor> same;
  {
    const device::NoSyncGuard guard(at::kCUDA);
    same = step(store);
  }
  EXPECT_EQ(device::allocator_stats(at::kCUDA).driver_calls, calls);
  for (const at::Tensor& layer : same) EXPECT_TRUE(layer.item<bool>());
}

TEST_F(StoreOnGpu, TheDeviceHoldsTwoLayersAndWhatIsAtWork) {
  ActivationStore store = this->store();
  step(store);
  device::synchronize(at::kCUDA);
  const int64_t before = device::allocator_stats(at::kCUDA).allocated;
  store.begin();
  for (int64_t i = 0; i < kLayers; ++i) {
    model::SavedLayer saved;
    saved.x = slowly(1);
    store.put(i, std::move(saved));
    EXPECT_LE(device::allocator_stats(at::kCUDA).allocated - before, kBytes);
  }
  for (int64_t i = kLayers - 1; i >= 0; --i) {
    const model::SavedLayer saved = store.get(i);
    store.prefetch(i - 1);
    EXPECT_LE(device::allocator_stats(at::kCUDA).allocated - before, 2 * kBytes);
  }
}

TEST(HostArenaOnGpu, PinsEveryPieceExactly) {
  const int64_t bytes = device::HostArena::kPiece + (int64_t{64} << 20) + 4096;
  device::HostArena arena(bytes, at::kCUDA);
  arena.wait_until_pinned();
  EXPECT_GT(arena.pin_seconds(), 0);
  EXPECT_EQ(arena.bytes(), bytes);
  // Across the border between two pieces, and back.
  const at::Tensor x = at::full({bytes / 4}, 3.5, on_device());
  const auto transfer = device::make_transfer(at::kCUDA, arena);
  const at::Tensor slot = arena.take(x);
  EXPECT_TRUE(slot.is_pinned());
  transfer->start(device::Direction::kToHost, {{x, slot}})->wait();
  const at::Tensor back = at::empty(x.sizes(), x.options());
  transfer->start(device::Direction::kToDevice, {{slot, back}})->wait();
  EXPECT_TRUE(back.equal(x));
}

TEST(HostArenaOnGpu, EndsWhileItIsStillPinning) {
  const device::HostArena arena(int64_t{8} << 30, at::kCUDA);
  SUCCEED();
}

}  // namespace
}  // namespace trireme::state
