#include "state/activation_store.h"

#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cstring>

namespace trireme::state {
namespace {

constexpr int64_t kRoom = 1 << 16;
constexpr plan::SavedResidence kAllOnHost = {plan::Residence::kHost, plan::Residence::kHost,
                                             plan::Residence::kHost};

// Copies as late as a device may: when somebody waits for them, in the order of each direction. A
// source that was released or overwritten before shows, and so does a target that is read early.
class LateTransfer : public device::Transfer {
 public:
  struct Late : device::Arrival {
    std::vector<device::Copy> copies;
    int* under_way;
    void wait() override {
      for (const device::Copy& c : copies) {
        std::memcpy(c.to.mutable_data_ptr(), c.from.const_data_ptr(), c.from.nbytes());
      }
      *under_way -= copies.empty() ? 0 : 1;
      copies.clear();
    }
  };
  std::unique_ptr<device::Arrival> start(device::Direction,
                                         const std::vector<device::Copy>& copies) override {
    auto late = std::make_unique<Late>();
    late->copies = copies;
    late->under_way = &under_way;
    late->under_way = &under_way;
    most_under_way = std::max(most_under_way, ++under_way);
    return late;
  }
  int under_way = 0, most_under_way = 0;
};

at::Tensor random(at::IntArrayRef sizes) { return at::randn(sizes, at::kFloat); }

model::SavedLayer layer_of(int64_t tokens) {
  model::SavedLayer saved;
  saved.x = random({tokens, 6});
  // As attention on the CPU returns it: heads outside in memory.
  saved.attention = {random({2, tokens, 3}).transpose(0, 1), random({tokens, 2}).t()};
  saved.mid = random({tokens, 6});
  saved.mlp.routing.push_back({random({tokens, 2}), random({tokens, 2}), random({tokens, 2}),
                               random({tokens * 2}), random({4})});
  return saved;
}

struct Twin {
  at::Tensor x, out, lse, mid, tokens;
  explicit Twin(const model::SavedLayer& s)
      : x(s.x.clone()),
        out(s.attention.out.clone()),
        lse(s.attention.lse.clone()),
        mid(s.mid.clone()),
        tokens(s.mlp.routing[0].tokens.clone()) {}
};

void expect_equal(const model::SavedLayer& got, const Twin& put) {
  EXPECT_TRUE(got.x.equal(put.x));
  EXPECT_TRUE(got.attention.out.equal(put.out));
  EXPECT_EQ(got.attention.out.strides(), put.out.strides());
  EXPECT_TRUE(got.attention.lse.equal(put.lse));
  EXPECT_EQ(got.attention.lse.strides(), put.lse.strides());
  EXPECT_TRUE(got.mid.equal(put.mid));
  EXPECT_TRUE(got.mlp.routing[0].tokens.equal(put.tokens));
}

void round_trip(ActivationStore& store, int64_t layers, int64_t tokens, bool prefetch) {
  std::vector<Twin> twins;
  store.begin();
  for (int64_t i = 0; i < layers; ++i) {
    model::SavedLayer saved = layer_of(tokens);
    twins.emplace_back(saved);
    store.put(i, std::move(saved));
  }
  for (int64_t i = layers - 1; i >= 0; --i) {
    const model::SavedLayer got = store.get(i);
    if (prefetch) store.prefetch(i - 1);
    expect_equal(got, twins[i]);
  }
}

TEST(ActivationStore, WhatComesBackIsWhatWasPut) {
  for (const bool prefetch : {true, false}) {
    device::HostArena arena(kRoom, at::kCPU);
    auto transfer = std::make_unique<LateTransfer>();
    const LateTransfer& seen = *transfer;
    ActivationStore store(std::vector<plan::SavedResidence>(5, kAllOnHost), at::kCPU, arena,
                          std::move(transfer));
    for (const int64_t tokens : {9, 9, 4}) round_trip(store, 5, tokens, prefetch);
    EXPECT_EQ(seen.under_way, 0);
    EXPECT_LE(seen.most_under_way, 2);
    EXPECT_EQ(store.stored_bytes(), 5 * 4 * (9 * 6 + 9 * 6 + 18 + 3 * 18 + 18 + 4));
  }
}

TEST(ActivationStore, EachTensorHasItsPlace) {
  device::HostArena arena(kRoom, at::kCPU);
  const plan::SavedResidence places[] = {
      kAllOnHost,
      {},
      {plan::Residence::kDevice, plan::Residence::kHost, plan::Residence::kDevice},
      {plan::Residence::kHost, plan::Residence::kDevice, plan::Residence::kDevice},
      {}};
  ActivationStore store({std::begin(places), std::end(places)}, at::kCPU, arena,
                        std::make_unique<LateTransfer>());
  round_trip(store, 5, 7, true);
}

TEST(ActivationStore, RecomputedInputsAreDroppedAndRoutingIsKept) {
  device::HostArena arena(kRoom, at::kCPU);
  ActivationStore store(
      {{plan::Residence::kRecompute, plan::Residence::kDevice, plan::Residence::kHost}}, at::kCPU,
      arena, device::make_transfer(at::kCPU, arena));
  store.begin();
  model::SavedLayer saved = layer_of(3);
  const Twin twin(saved);
  store.put(0, std::move(saved));
  model::SavedLayer got = store.get(0);
  EXPECT_FALSE(got.x.defined());
  EXPECT_TRUE(got.mlp.routing[0].tokens.equal(twin.tokens));
  got.x = twin.x;
  store.hold(0, std::move(got));
  expect_equal(store.get(0), twin);
}

TEST(ActivationStore, SourcesLiveUntilTheirCopyIsDoneAndNoLonger) {
  device::HostArena arena(kRoom, at::kCPU);
  ActivationStore store(std::vector<plan::SavedResidence>(3, kAllOnHost), at::kCPU, arena,
                        std::make_unique<LateTransfer>());
  store.begin();
  std::vector<c10::weak_intrusive_ptr<c10::TensorImpl>> inputs;
  for (int64_t i = 0; i < 3; ++i) {
    model::SavedLayer saved = layer_of(5);
    inputs.emplace_back(saved.x.getIntrusivePtr());
    store.put(i, std::move(saved));
    EXPECT_FALSE(inputs.back().expired());
    EXPECT_TRUE(i == 0 || inputs[i - 1].expired());
  }
}

TEST(ActivationStore, AStepThatEndedEarlyLeavesNothingBehind) {
  device::HostArena arena(kRoom, at::kCPU);
  auto transfer = std::make_unique<LateTransfer>();
  const LateTransfer& seen = *transfer;
  ActivationStore store(std::vector<plan::SavedResidence>(3, kAllOnHost), at::kCPU, arena,
                        std::move(transfer));
  store.begin();
  for (int64_t i = 0; i < 3; ++i) store.put(i, layer_of(8));
  store.prefetch(0);
  store.begin();
  EXPECT_EQ(seen.under_way, 0);
  round_trip(store, 3, 8, true);
}

TEST(HostArena, SlotsAreTightAndBegunAnew) {
  device::HostArena arena(64 + 128 + 10, at::kCPU);
  const at::Tensor like = random({16}), wide = random({5, 5}).t(), small = random({2});
  const at::Tensor first = arena.take(like), second = arena.take(wide), third = arena.take(small);
  const auto* base = static_cast<const std::byte*>(first.const_data_ptr());
  EXPECT_EQ(static_cast<const std::byte*>(second.const_data_ptr()) - base, 64);
  EXPECT_EQ(static_cast<const std::byte*>(third.const_data_ptr()) - base, 64 + 128);
  EXPECT_EQ(second.strides(), wide.strides());
  EXPECT_DEATH(arena.take(like), "are taken");
  arena.reset();
  EXPECT_EQ(arena.take(like).const_data_ptr(), first.const_data_ptr());
}

TEST(HostArena, PiecesEndAtTheirMultiples) {
  device::HostArena arena(4096, at::kCPU);
  const auto* base = static_cast<const std::byte*>(arena.take(random({1})).const_data_ptr());
  EXPECT_EQ(arena.left_in_piece(base), device::HostArena::kPiece);
  EXPECT_EQ(arena.left_in_piece(base + 100), device::HostArena::kPiece - 100);
}

TEST(HostArena, MoreThanThereIsIsRefusedWithTheAmount) {
  try {
    const device::HostArena arena(int64_t{1} << 60, at::kCPU);
    FAIL();
  } catch (const std::exception& error) {
    EXPECT_NE(std::string(error.what()).find("cannot map 1"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("--host_memory"), std::string::npos);
  }
}

TEST(HostArena, AnEmptyOneNeedsNothing) {
  device::HostArena arena(0, at::kCPU);
  arena.wait_until_pinned();
  EXPECT_EQ(arena.bytes(), 0);
}

TEST(Transfer, CopiesBothWaysOnTheCpu) {
  device::HostArena arena(kRoom, at::kCPU);
  const auto transfer = device::make_transfer(at::kCPU, arena);
  const at::Tensor source = random({7, 3}).t(), slot = arena.take(source);
  transfer->start(device::Direction::kToHost, {{source, slot}})->wait();
  const at::Tensor target = random({7, 3}).t();
  transfer->start(device::Direction::kToDevice, {{slot, target}})->wait();
  EXPECT_TRUE(target.equal(source));
}

}  // namespace
}  // namespace trireme::state
