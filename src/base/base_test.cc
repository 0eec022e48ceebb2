#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <numeric>
#include <set>
#include <thread>

#include "base/deadline.h"
#include "base/env.h"
#include "base/error.h"
#include "base/exit_status.h"
#include "base/host_memory.h"
#include "base/interrupt.h"
#include "base/nearest.h"
#include "base/quote.h"
#include "base/result.h"
#include "base/rng.h"
#include "base/testing.h"
#include "base/units.h"

namespace trireme {
namespace {

TEST(Units, BytesAndDurations) {
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(int64_t{3} << 20), "3.00 MiB");
  EXPECT_EQ(format_bytes(int64_t{61} << 30), "61.0 GiB");
  EXPECT_EQ(format_duration(0.84), "0.8 s");
  EXPECT_EQ(format_duration(200), "3 min 20 s");
  EXPECT_EQ(format_duration(7500), "2 h 5 min");
}

TEST(Env, OfAnEnvironmentThatIsGiven) {
  std::string entries[] = {"NAME_LONGER=1", "EMPTY=", "NAME=a=b", "NAME=2"};
  std::vector<char*> envp;
  for (std::string& entry : entries) envp.push_back(entry.data());
  envp.push_back(nullptr);
  EXPECT_EQ(env("NAME", envp.data()), "a=b");  // the first, as getenv does
  EXPECT_EQ(env("EMPTY", envp.data()), std::nullopt);
  EXPECT_EQ(env("LONGER", envp.data()), std::nullopt);
}

TEST(Nearest, SuggestsOnlyWhatIsNear) {
  const std::vector<std::string> names = {"max_length", "max_epochs", "seed"};
  EXPECT_EQ(nearest("max_lenght", names), "max_length");
  EXPECT_EQ(nearest("sed", names), "seed");
  EXPECT_EQ(nearest("learning", names), "");
  EXPECT_EQ(nearest(std::string(10'000'000, 'x'), names), "") << "in no time";
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(did_you_mean("max_epoch", names), " (did you mean 'max_epochs'?)");
}

TEST(Rng, IsSplitMix64) {
  // First outputs of the published generator for seed 1234567.
  Rng rng(1234567);
  EXPECT_EQ(rng.next(), 6457827717110365317ULL);
  EXPECT_EQ(rng.next(), 3203168211198807973ULL);
}

TEST(Rng, ShuffleIsAPermutationAndDrawsStayInRange) {
  Rng rng(3);
  std::vector<int> items(100);
  std::iota(items.begin(), items.end(), 0);
  const std::vector<int> sorted = items;
  rng.shuffle(items);
  EXPECT_NE(items, sorted);
  std::ranges::sort(items);
  EXPECT_EQ(items, sorted);
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) {
    seen.insert(rng.below(7));
    const double u = rng.uniform();
    EXPECT_TRUE(u >= 0 && u < 1);
  }
  EXPECT_EQ(seen.size(), 7u);
  EXPECT_EQ(*seen.rbegin(), 6u);
}

TEST(Quote, EscapesWhatActsOnALine) {
  EXPECT_EQ(escaped("a\nb\x1b[31m\x7f"), "a\\x0ab\\x1b[31m\\x7f");
  EXPECT_EQ(escaped("\u0085 \u2028 \u2029 \u202e \u2066"),
            "\\u0085 \\u2028 \\u2029 \\u202e \\u2066");
  EXPECT_EQ(escaped("盐湖 é 😀 \\ '\""), "盐湖 é 😀 \\ '\"") << "and nothing else";
  EXPECT_EQ(escaped("\xB5\xE7z\xE7\x94"), "\\xb5\\xe7z\\xe7\\x94") << "not UTF-8";
}

TEST(Quote, ALongTextKeepsItsEnds) {
  EXPECT_EQ(shortened("0123456789", 10), "0123456789");
  EXPECT_EQ(shortened("0123456789abcdefghij", 11), "0123 ... ij");
  EXPECT_EQ(shortened("盐湖快车盐湖快车", 14), "盐湖 ... 车") << "characters stay whole";
}

// No call of fail() can forget it, and none makes two lines or a long one.
TEST(Error, AMessageIsOneShortLineWhateverItsArguments) {
  const std::string raw = "x\n\u2028y";
  EXPECT_EQ(user_error([&] { fail("{}: {} is no act", "f", raw); }), "f: x\\x0a\\u2028y is no act");
  const std::string value(120'000, 'v');
  const std::string line =
      user_error([&] { fail("f.json: {} is unlike {}: take one", value, value); });
  EXPECT_TRUE(line.starts_with("f.json: vvv")) << line;
  EXPECT_TRUE(line.ends_with("vvv: take one")) << line;
  EXPECT_LT(line.size(), 700u);
  const std::string controls(120'000, '\n');
  EXPECT_LE(user_error([&] { fail("f: {}: remedy", controls); }).size(), UserError::kLongestLine);
  EXPECT_LE(std::string(UserError(value).what()).size(), UserError::kLongestLine);
}

// Prints `bytes` to a stdout that is always full, and exits as the program does.
[[noreturn]] void print_to_a_full_disk(size_t bytes) {
  std::FILE* full = std::freopen("/dev/full", "w", stdout);
  int status = full == nullptr ? 1 : 0;
  try {
    print_result("{}\n", std::string(bytes, 'x'));
    flush_results();
  } catch (const UserError& error) {
    fmt::print(stderr, "{}\n", error.what());
    status = 2;
  }
  std::_Exit(status);
}

TEST(ResultDeathTest, AResultThatDoesNotArriveIsAnError) {
  const char* line = "^stdout: cannot write the result: No space left on device: free space there";
  EXPECT_EXIT(print_to_a_full_disk(1), testing::ExitedWithCode(2), line) << "found by the flush";
  EXPECT_EXIT(print_to_a_full_disk(1 << 20), testing::ExitedWithCode(2), line) << "and before it";
}

TEST(HostMemory, PeakCoversResident) {
  EXPECT_GT(host_available_bytes(), 0);
  EXPECT_GT(host_resident_bytes(), 0);
  EXPECT_GE(host_peak_bytes(), host_resident_bytes());
}

TEST(ErrorDeathTest, ABrokenInvariantNamesItsPlaceAndValues) {
  EXPECT_DEATH(TRIREME_CHECK(1 + 1 == 3, "sum {}", 2), "base_test.cc.*1 \\+ 1 == 3 sum 2");
  EXPECT_THROW(fail("{}:{}: no", "file", 3), UserError);
}

TEST(Deadline, IsOverOnlyIfItIsStillThere) {
  std::promise<void> late;
  {
    const Deadline in_time(std::chrono::hours(1), [] { FAIL(); });
  }
  const Deadline over(std::chrono::milliseconds(10), [&] { late.set_value(); });
  late.get_future().wait();
}

// In processes of their own.
TEST(InterruptDeathTest, SignalsSoonAfterTheFirstAreTheSame) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto twice = [](std::chrono::milliseconds pause, int second) {
    catch_interrupts();
    raise(SIGTERM);
    std::this_thread::sleep_for(pause);
    raise(second);
    std::_Exit(saved_after(interrupted()));
  };
  const std::chrono::milliseconds soon(50), later(2050);
  EXPECT_EXIT(twice(soon, SIGINT), testing::ExitedWithCode(128 + SIGTERM), "^$");
  EXPECT_EXIT(twice(later, SIGUSR1), testing::ExitedWithCode(128 + SIGTERM), "^$");
  EXPECT_EXIT(twice(later, SIGINT), testing::ExitedWithCode(kNotSaved),
              "interrupted again: ended without saving");
}

TEST(InterruptDeathTest, WhatWasIgnoredStaysIgnored) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto ignoring = [] {
    std::signal(SIGHUP, SIG_IGN);
    catch_interrupts();
    raise(SIGHUP);
    std::_Exit(interrupted());
  };
  EXPECT_EXIT(ignoring(), testing::ExitedWithCode(0), "^$");
}

}  // namespace
}  // namespace trireme
