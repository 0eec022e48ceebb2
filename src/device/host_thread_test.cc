#include "device/host_thread.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <iterator>
#include <set>

namespace trireme::device {
namespace {

int cores() {
  cpu_set_t set;
  sched_getaffinity(0, sizeof(set), &set);
  return CPU_COUNT(&set);
}

void bind_to_one_core() {
  cpu_set_t all, one;
  sched_getaffinity(0, sizeof(all), &all);
  CPU_ZERO(&one);
  for (int core = 0; CPU_COUNT(&one) == 0; ++core) {
    if (CPU_ISSET(core, &all)) CPU_SET(core, &one);
  }
  sched_setaffinity(0, sizeof(one), &one);
}

// The cores of each thread that takes a part.
std::multiset<int> cores_of_parts() {
  std::mutex mutex;
  std::multiset<int> seen;
  at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t, int64_t) {
    const std::lock_guard lock(mutex);
    seen.insert(cores());
  });
  return seen;
}

TEST(HostThread, WorksOnTheCoresOfWhereItWasMadeForAThreadThatHasOne) {
  if (cores() < 2) GTEST_SKIP() << "one core";
  HostThread host;
  std::multiset<int> there;
  std::jthread([&] {
    bind_to_one_core();
    ASSERT_EQ(cores(), 1);
    for (int turn = 0; turn < 3; ++turn) host.run([&] { there = cores_of_parts(); });
  }).join();
  EXPECT_EQ(std::ssize(there), at::get_num_threads());
  EXPECT_EQ(there, cores_of_parts());
  EXPECT_EQ(*there.begin(), cores());
}

}  // namespace
}  // namespace trireme::device
