#include "dist/group.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <numeric>

#include "base/stopwatch.h"
#include "dist/testing.h"

namespace trireme::dist {
namespace {

using config::Axis;
using config::MeshSpec;
using layout::Collective;

constexpr Axis kWorld[] = {Axis::kWorld};

class Collectives : public testing::TestWithParam<int64_t> {
 protected:
  // On every rank of a mesh of this many.
  static void run(const std::function<void(const Group&)>& body) {
    run_ranks({.data = GetParam()}, kWorld,
              [&](const Mesh& mesh) { body(mesh.group(Axis::kWorld)); });
  }
};

INSTANTIATE_TEST_SUITE_P(Ranks, Collectives, testing::Values(1, 2, 4, 8));

TEST_P(Collectives, AllReduceSums) {
  run([](const Group& group) {
    const int64_t n = group.size();
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kLong}) {
      const at::Tensor x = at::full({5, 3}, static_cast<double>(group.index() + 1), dtype);
      group.all_reduce(x)->wait();
      EXPECT_TRUE(x.equal(at::full({5, 3}, static_cast<double>(n * (n + 1) / 2), dtype)));
    }
    EXPECT_EQ(group.volume(Collective::kAllReduce).calls, n == 1 ? 0 : 4);
    const int64_t bytes = 2 * 15 * 4 * (n - 1) / n + 2 * 15 * 8 * (n - 1) / n +
                          2 * 15 * 2 * (n - 1) / n + 2 * 15 * 8 * (n - 1) / n;
    EXPECT_EQ(group.volume(Collective::kAllReduce).bytes, bytes);
  });
}

TEST_P(Collectives, AllGatherAndItsAdjoint) {
  run([](const Group& group) {
    const int64_t n = group.size();
    const at::Tensor mine = at::arange(6, at::kFloat).view({2, 3}) + 10 * group.index();
    const at::Tensor all = at::empty({2 * n, 3});
    group.all_gather(all, mine)->wait();
    for (int64_t r = 0; r < n; ++r) {
      EXPECT_TRUE(all.narrow(0, 2 * r, 2).equal(at::arange(6, at::kFloat).view({2, 3}) + 10 * r));
    }
    // Everybody has the same, so that the sum of a part is n times what it was.
    const at::Tensor part = at::empty({2, 3});
    group.reduce_scatter(part, all)->wait();
    EXPECT_TRUE(part.equal(mine * n));
    EXPECT_EQ(group.volume(Collective::kAllGather).bytes, 24 * (n - 1));
    EXPECT_EQ(group.volume(Collective::kReduceScatter).bytes, 24 * (n - 1));
  });
}

// Rank s sends r + s + 1 rows to rank r, each with 100 s + r.
TEST_P(Collectives, AllToAllOfUnevenRows) {
  run([](const Group& group) {
    const int64_t n = group.size(), me = group.index();
    std::vector<int64_t> rows(n);
    for (int64_t r = 0; r < n; ++r) rows[r] = r + me + 1;  // the same both ways
    const int64_t total = std::accumulate(rows.begin(), rows.end(), int64_t{0});
    const at::Tensor in = at::empty({total, 2}), out = at::zeros({total, 2});
    for (int64_t r = 0, at = 0; r < n; at += rows[r++]) {
      in.narrow(0, at, rows[r]).fill_(static_cast<double>(100 * me + r));
    }
    group.all_to_all(out, in, rows, rows)->wait();
    for (int64_t s = 0, at = 0; s < n; at += rows[s++]) {
      EXPECT_TRUE(
          out.narrow(0, at, rows[s]).eq(static_cast<double>(100 * s + me)).all().item<bool>());
    }
    // Back again: its own adjoint with rows exchanged.
    const at::Tensor back = at::zeros({total, 2});
    group.all_to_all(back, out, rows, rows)->wait();
    EXPECT_TRUE(back.equal(in));
    EXPECT_EQ(group.volume(Collective::kAllToAll).bytes, n == 1 ? 0 : 2 * 8 * (total - rows[me]));
  });
}

// Rank r has r + 1 rows; after as many shifts as there are ranks they are home.
TEST_P(Collectives, RingShiftPassesOnToTheNext) {
  run([](const Group& group) {
    const int64_t n = group.size(), me = group.index();
    const auto of_rank = [](int64_t r) {
      return at::full({r + 1, 3}, static_cast<double>(r), at::kBFloat16);
    };
    at::Tensor here = of_rank(me);
    int64_t sent = 0;
    for (int64_t step = 1; step <= n; ++step) {
      sent += static_cast<int64_t>(here.nbytes());
      const at::Tensor next = at::empty_like(of_rank((me + n - step) % n));
      group.ring_shift(next, here)->wait();
      here = next;
      EXPECT_TRUE(here.equal(of_rank((me + n - step) % n)));
    }
    EXPECT_EQ(group.volume(Collective::kRingShift).calls, n == 1 ? 0 : n);
    EXPECT_EQ(group.volume(Collective::kRingShift).bytes, n == 1 ? 0 : sent);
  });
}

TEST_P(Collectives, RunBesideOtherWork) {
  run([](const Group& group) {
    const at::Tensor a = at::full({1000}, 1.0), b = at::full({1000}, 2.0);
    const PendingPtr first = group.all_reduce(a), second = group.all_reduce(b);
    second->wait();
    first->wait();
    EXPECT_EQ(a[0].item<double>(), static_cast<double>(group.size()));
    EXPECT_EQ(b[999].item<double>(), 2.0 * static_cast<double>(group.size()));
  });
}

TEST(Mesh, EveryAxisSumsOverItsRanks) {
  const MeshSpec spec = config::fill_mesh({.ring = 2, .ulysses = 2, .expert = 4}, 8);
  run_ranks(spec, config::kAxes, [&](const Mesh& mesh) {
    for (const Axis axis : config::kAxes) {
      const auto ranks = config::group_of(spec, axis, mesh.rank());
      const at::Tensor x = at::full({1}, static_cast<double>(mesh.rank()));
      mesh.group(axis).all_reduce(x)->wait();
      EXPECT_EQ(x.item<double>(),
                static_cast<double>(std::accumulate(ranks.begin(), ranks.end(), int64_t{0})))
          << config::axis_name(axis);
    }
  });
}

TEST(Mesh, OfOneRankNeedsNobody) {
  const Mesh mesh;
  const at::Tensor x = at::full({3}, 7.0);
  mesh.group(Axis::kShards).all_reduce(x)->wait();
  EXPECT_EQ(x[0].item<double>(), 7.0);
}

std::string message_of(const std::exception_ptr& error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const std::exception& exception) {
    return exception.what();
  }
  return "";
}

// What the others wait for never comes; that its connections are gone tells them, long before the
// timeout.
TEST(Failure, ARankThatThrowsEndsTheOthers) {
  const Stopwatch clock;
  const auto errors =
      try_ranks({.data = 4}, kWorld, std::chrono::seconds(60), [](const Mesh& mesh) {
        const Group& group = mesh.group(Axis::kWorld);
        const at::Tensor x = at::full({1000}, 1.0);
        group.all_reduce(x)->wait();
        if (mesh.rank() == 2) throw std::runtime_error("the disk is full");
        for (int i = 0; i < 3; ++i) group.all_reduce(x)->wait();
      });
  EXPECT_EQ(message_of(errors[2]), "the disk is full");
  for (const int64_t rank : {0, 1, 3}) {
    const std::string message = message_of(errors[rank]);
    EXPECT_EQ(
        message.find(fmt::format("rank {}: all_reduce in group world of ranks 0, 1, 2, 3: ", rank)),
        0u)
        << message;
  }
  EXPECT_LT(clock.seconds(), 30);
}

TEST(Failure, ARankThatSleepsEndsTheOthersAfterTheTimeout) {
  const auto errors = try_ranks({.data = 2}, kWorld, std::chrono::seconds(2), [](const Mesh& mesh) {
    if (mesh.rank() == 1) return std::this_thread::sleep_for(std::chrono::seconds(6));
    const at::Tensor x = at::full({10}, 1.0);
    mesh.group(Axis::kWorld).all_reduce(x)->wait();
  });
  EXPECT_EQ(message_of(errors[0]).find("rank 0: all_reduce in group world of ranks 0, 1: "), 0u)
      << message_of(errors[0]);
  EXPECT_EQ(message_of(errors[1]), "");
}

TEST(Failure, ARankThatNeverComesIsMissed) {
  const StorePtr store = local_store();
  std::string message;
  try {
    const Group group("data", {4, 6}, 1, *store,
                      {std::chrono::seconds(1), std::chrono::seconds(1)});
  } catch (const PeerFailure& error) {
    message = error.what();
  }
  EXPECT_EQ(message.find("rank 6: group data of ranks 4, 6 did not meet: "), 0u) << message;
}

}  // namespace
}  // namespace trireme::dist
