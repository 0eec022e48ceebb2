#include "dist/watch.h"

#include <gtest/gtest.h>

#include <future>
#include <vector>

#include "base/stopwatch.h"
#include "dist/board.h"
#include "dist/store.h"

namespace trireme::dist {
namespace {

using std::chrono::milliseconds;

constexpr Pace kPace{.beat = milliseconds(20), .moment = milliseconds(300), .missed_beats = 25};

// The watch of one of several ranks that share a store, and what it said when it ended its rank.
struct Watched {
  Watched(int64_t rank, int64_t ranks, const StorePtr& store)
      : watch({.rank = rank, .ranks = ranks, .agent_store = true}, store, kPace,
              [this](Watch&, const std::string& sentence) { ended.set_value(sentence); }) {}

  std::promise<std::string> ended;
  Watch watch;
};

PeerFailure collective(std::vector<int64_t> ranks) {
  return {"all_reduce: closed", std::move(ranks)};
}

std::string host_of(const Watch& watch) { return watch.name().substr(watch.name().find(" on ")); }

TEST(Watch, ARankThatComputesLearnsOfAFailure) {
  const StorePtr store = local_store();
  Watched one(0, 2, store), other(1, 2, store);
  const Watch::LocationScope telling(&other.watch, [] { return "step 3, backward, layer 2"; });
  EXPECT_FALSE(other.watch.stop("the disk is full"));
  EXPECT_EQ(one.ended.get_future().get(),
            fmt::format("rank 1{} failed first, at step 3, backward, layer 2: the disk is full",
                        host_of(one.watch)));
}

TEST(Watch, ARankThatWaitsLearnsOfAFailure) {
  const StorePtr store = local_store();
  Watched one(0, 2, store), other(1, 2, store);
  {
    const Watch::LocationScope telling(&other.watch, [] { return "forward"; });
  }  // left by an exception
  other.watch.stop("the disk is full");
  EXPECT_EQ(one.watch.stop(collective({0, 1})),
            fmt::format("rank 1{} failed first, at forward: the disk is full", host_of(one.watch)));
}

TEST(Watch, AMistakeOfAllRanksIsKnownAsOne) {
  const StorePtr store = local_store();
  Watched one(0, 3, store), other(1, 3, store), third(2, 3, store);
  std::vector<std::future<bool>> alike;
  for (Watched* watched : {&one, &other, &third}) {
    alike.push_back(
        std::async(std::launch::async, [watched] { return watched->watch.stop("no heads"); }));
  }
  for (std::future<bool>& each : alike) EXPECT_TRUE(each.get());
}

TEST(Watch, OfRanksThatStopTheFirstFailureIsTheOneThatCounts) {
  const StorePtr store = local_store();
  Watched one(0, 2, store), other(1, 2, store);
  EXPECT_FALSE(other.watch.stop("the first"));
  EXPECT_FALSE(one.watch.stop("the second"));
  EXPECT_EQ(Board(store).failure(),
            fmt::format("rank 1{} failed first, at start: the first", host_of(one.watch)));
}

TEST(Watch, ARankWithoutAPulseIsGone) {
  const StorePtr store = local_store();
  Board(store).beat(1, {"17", "gpu7", "backward, layer 2"});
  Watched one(0, 2, store);
  EXPECT_EQ(one.watch.stop(collective({0, 1})),
            "rank 1 on gpu7 is gone or hangs, last seen at backward, layer 2");
}

TEST(Watch, ARankThatIsBusyWithSomethingElseIsNamed) {
  const StorePtr store = local_store();
  Watched one(0, 2, store), other(1, 2, store);
  const Watch::LocationScope telling(&other.watch, [] { return "saving"; });
  EXPECT_EQ(one.watch.stop(collective({0, 1})),
            fmt::format("rank 1{} did not come: it is at saving", host_of(one.watch)));
}

TEST(Watch, SilenceOfTheNextRankEndsTheJob) {
  const StorePtr store = local_store();
  Board(store).beat(2, {"17", "gpu7", "backward, layer 2"});
  Watched one(0, 3, store), other(1, 3, store);
  for (Watched* watched : {&one, &other}) {
    EXPECT_EQ(watched->ended.get_future().get(),
              "rank 2 on gpu7 gave no sign of life for 0 s, last seen at backward, layer 2");
  }
}

// A store whose process is stopped.
class HangingStore : public c10d::HashStore {
 public:
  explicit HangingStore(std::shared_future<void> until) : until_(std::move(until)) {}
  bool check(const std::vector<std::string>& keys) override {
    until_.wait();
    return HashStore::check(keys);
  }

 private:
  std::shared_future<void> until_;
};

TEST(Watch, NothingHangsWithTheStore) {
  std::promise<void> resumed;
  const auto store = std::make_shared<Store>(
      Store{c10::make_intrusive<HangingStore>(resumed.get_future().share())});
  const Stopwatch clock;
  {
    Watched one(1, 2, store);
    EXPECT_FALSE(one.watch.stop("the disk is full"));
    EXPECT_EQ(one.watch.stop(collective({0, 1})),
              "the launcher is gone: its store does not answer");
    one.watch.leave();
  }
  EXPECT_LT(clock.seconds(), 10);
  resumed.set_value();
}

}  // namespace
}  // namespace trireme::dist
