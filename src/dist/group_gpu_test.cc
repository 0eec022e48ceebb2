// Collectives on CUDA tensors: NCCL with one rank, whose exchanges are copies, and ranks that share
// the GPU through host memory, as on the CPU.
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <numeric>

#include "dist/testing.h"

namespace trireme::dist {
namespace {

using config::Axis;
using layout::Collective;

constexpr Axis kWorld[] = {Axis::kWorld};
constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kBFloat16, at::kLong};
constexpr std::chrono::seconds kTimeout{60};

at::TensorOptions on_gpu(at::ScalarType dtype) {
  return at::TensorOptions(dtype).device(at::kCUDA);
}

// Small whole numbers, which every type has.
at::Tensor numbers(int64_t rows, int64_t rank, at::ScalarType dtype) {
  return (at::arange(rows * 3, on_gpu(at::kFloat)).view({rows, 3}) + 7 * rank).to(dtype);
}

// A group of one rank that is not a shortcut.
class Nccl : public testing::Test {
 protected:
  Nccl() : group_("alone", {0}, 0, *store_, {kTimeout, kTimeout}, Backend::kNccl) {}

  StorePtr store_ = local_store();
  Group group_;
};

TEST_F(Nccl, AllReduceOfOneRankChangesNothing) {
  for (const at::ScalarType dtype : kDtypes) {
    const at::Tensor x = numbers(5, 0, dtype), before = x.clone();
    group_.all_reduce(x)->wait();
    EXPECT_TRUE(x.equal(before));
  }
  EXPECT_EQ(group_.volume(Collective::kAllReduce).calls, std::ssize(kDtypes));
  EXPECT_EQ(group_.volume(Collective::kAllReduce).bytes, 0);
}

TEST_F(Nccl, AllGatherOfOneRankAndItsAdjointCopy) {
  for (const at::ScalarType dtype : kDtypes) {
    const at::Tensor x = numbers(5, 1, dtype);
    const at::Tensor all = at::empty({5, 3}, on_gpu(dtype)),
                     back = at::empty({5, 3}, on_gpu(dtype));
    group_.all_gather(all, x)->wait();
    EXPECT_TRUE(all.equal(x));
    group_.reduce_scatter(back, all)->wait();
    EXPECT_TRUE(back.equal(x));
  }
}

TEST_F(Nccl, AllToAllOfOneRankAndItsAdjointCopy) {
  for (const at::ScalarType dtype : kDtypes) {
    const at::Tensor x = numbers(5, 2, dtype);
    const at::Tensor out = at::empty({5, 3}, on_gpu(dtype)),
                     back = at::empty({5, 3}, on_gpu(dtype));
    group_.all_to_all(out, x, {5}, {5})->wait();
    EXPECT_TRUE(out.equal(x));
    group_.all_to_all(back, out, {5}, {5})->wait();
    EXPECT_TRUE(back.equal(x));
  }
}

// What comes before on the current stream is in it, and what comes after waits for it, although
// nothing here waits for the device.
TEST_F(Nccl, CollectivesAreInTheOrderOfTheCurrentStream) {
  const at::Tensor a = at::randn({2048, 2048}, on_gpu(at::kFloat));
  at::Tensor slow = a;
  for (int i = 0; i < 20; ++i) slow = at::matmul(slow, a) / 45.0;
  const at::Tensor gathered = at::empty(slow.sizes(), slow.options());
  group_.all_gather(gathered, slow)->wait();
  const at::Tensor after = gathered + 1;
  EXPECT_TRUE(after.equal(slow + 1));
}

TEST_F(Nccl, SeveralCanBeOnTheirWay) {
  const at::Tensor a = at::full({1 << 20}, 1.0, on_gpu(at::kFloat));
  const at::Tensor b = at::full({1 << 20}, 2.0, on_gpu(at::kFloat));
  const PendingPtr first = group_.all_reduce(a), second = group_.all_reduce(b);
  second->wait();
  first->wait();
  EXPECT_TRUE((a + b).eq(3.0).all().item<bool>());
}

class SharedGpu : public testing::TestWithParam<int64_t> {
 protected:
  static void run(const std::function<void(const Group&)>& body) {
    run_ranks({.data = GetParam()}, kWorld,
              [&](const Mesh& mesh) { body(mesh.group(Axis::kWorld)); });
  }
};

INSTANTIATE_TEST_SUITE_P(Ranks, SharedGpu, testing::Values(2, 4));

TEST_P(SharedGpu, AllReduceSums) {
  run([](const Group& group) {
    for (const at::ScalarType dtype : kDtypes) {
      const at::Tensor x = numbers(5, group.index(), dtype);
      at::Tensor sum = numbers(5, 0, dtype);
      for (int64_t r = 1; r < group.size(); ++r) sum = sum + numbers(5, r, dtype);
      group.all_reduce(x)->wait();
      EXPECT_TRUE(x.equal(sum));
    }
  });
}

TEST_P(SharedGpu, AllGatherAndItsAdjoint) {
  run([](const Group& group) {
    const int64_t n = group.size();
    for (const at::ScalarType dtype : kDtypes) {
      const at::Tensor mine = numbers(2, group.index(), dtype);
      const at::Tensor all = at::empty({2 * n, 3}, on_gpu(dtype));
      group.all_gather(all, mine)->wait();
      for (int64_t r = 0; r < n; ++r) {
        EXPECT_TRUE(all.narrow(0, 2 * r, 2).equal(numbers(2, r, dtype)));
      }
      const at::Tensor part = at::empty({2, 3}, on_gpu(dtype));
      group.reduce_scatter(part, all)->wait();
      EXPECT_TRUE(part.equal(mine * n));
    }
    EXPECT_EQ(group.volume(Collective::kAllGather).calls, std::ssize(kDtypes));
    EXPECT_EQ(group.volume(Collective::kReduceScatter).calls, std::ssize(kDtypes));
  });
}

TEST_P(SharedGpu, RingShiftGoesRound) {
  run([](const Group& group) {
    const at::Tensor mine = numbers(4, group.index(), at::kBFloat16), next = at::empty_like(mine);
    group.ring_shift(next, mine)->wait();
    const int64_t before = (group.index() + group.size() - 1) % group.size();
    EXPECT_TRUE(next.equal(numbers(4, before, at::kBFloat16)));
  });
}

// Rank s sends r + s + 1 rows to rank r.
TEST_P(SharedGpu, AllToAllOfUnevenRowsAndItsAdjoint) {
  run([](const Group& group) {
    const int64_t n = group.size(), me = group.index();
    std::vector<int64_t> rows(n);
    for (int64_t r = 0; r < n; ++r) rows[r] = r + me + 1;  // the same both ways
    const int64_t total = std::accumulate(rows.begin(), rows.end(), int64_t{0});
    const at::Tensor in = at::empty({total, 2}, on_gpu(at::kBFloat16)), out = at::empty_like(in);
    for (int64_t r = 0, at = 0; r < n; at += rows[r++]) {
      in.narrow(0, at, rows[r]).fill_(static_cast<double>(10 * me + r));
    }
    group.all_to_all(out, in, rows, rows)->wait();
    for (int64_t s = 0, at = 0; s < n; at += rows[s++]) {
      EXPECT_TRUE(
          out.narrow(0, at, rows[s]).eq(static_cast<double>(10 * s + me)).all().item<bool>());
    }
    const at::Tensor back = at::empty_like(in);
    group.all_to_all(back, out, rows, rows)->wait();
    EXPECT_TRUE(back.equal(in));
  });
}

}  // namespace
}  // namespace trireme::dist
