#include "config/launch.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "base/testing.h"

namespace trireme::config {
namespace {

// Exactly these of the variables that a launcher sets, until the end of the test.
class Launched : public testing::Test {
 protected:
  void SetUp() override { clear(); }
  void TearDown() override { clear(); }

  static Launch read(const std::map<std::string, std::string>& variables) {
    clear();
    for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
    return read_launch();
  }

 private:
  static void clear() {
    for (const char* name :
         {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID",
          "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_USE_AGENT_STORE", "SLURM_STEP_NUM_TASKS",
          "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NODELIST", "SLURM_JOB_ID", "SLURM_STEP_ID",
          "SLURM_RESTART_COUNT", "SLURM_NTASKS"}) {
      unsetenv(name);
    }
  }
};

const std::map<std::string, std::string> kTorchrun = {{"RANK", "3"},
                                                      {"WORLD_SIZE", "8"},
                                                      {"LOCAL_RANK", "1"},
                                                      {"MASTER_ADDR", "node0"},
                                                      {"MASTER_PORT", "29502"},
                                                      {"TORCHELASTIC_RUN_ID", "job"},
                                                      {"TORCHELASTIC_RESTART_COUNT", "2"},
                                                      {"TORCHELASTIC_USE_AGENT_STORE", "True"}};

std::map<std::string, std::string> with(std::map<std::string, std::string> variables,
                                        const std::map<std::string, std::string>& other) {
  for (const auto& [name, value] : other) variables[name] = value;
  return variables;
}

TEST_F(Launched, ByNothing) {
  const Launch launch = read({});
  EXPECT_EQ(launch.launcher, "none");
  EXPECT_EQ(launch.ranks, 1);
}

TEST_F(Launched, ByTorchrun) {
  const Launch launch = read(kTorchrun);
  EXPECT_EQ(launch.launcher, "torchrun");
  EXPECT_EQ(launch.rank, 3);
  EXPECT_EQ(launch.ranks, 8);
  EXPECT_EQ(launch.local_rank, 1);
  EXPECT_EQ(launch.address, "node0");
  EXPECT_EQ(launch.port, 29502);
  EXPECT_TRUE(launch.agent_store);
  EXPECT_EQ(launch.attempt, "job/2");
}

TEST_F(Launched, ByHand) {
  const Launch launch =
      read({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "::1"}, {"MASTER_PORT", "1234"}});
  EXPECT_EQ(launch.launcher, "environment");
  EXPECT_FALSE(launch.agent_store);
  // One process needs no address.
  EXPECT_EQ(read({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).ranks, 1);
}

TEST_F(Launched, BySlurm) {
  const Launch launch = read({{"SLURM_STEP_NUM_TASKS", "16"},
                              {"SLURM_PROCID", "9"},
                              {"SLURM_LOCALID", "1"},
                              {"SLURM_STEP_NODELIST", "gnode[10,20-25],head"},
                              {"SLURM_JOB_ID", "1200505"},
                              {"SLURM_STEP_ID", "4"}});
  EXPECT_EQ(launch.launcher, "Slurm");
  EXPECT_EQ(launch.rank, 9);
  EXPECT_EQ(launch.ranks, 16);
  EXPECT_EQ(launch.local_rank, 1);
  EXPECT_EQ(launch.address, "gnode10");
  EXPECT_EQ(launch.port, 20505);
  EXPECT_EQ(launch.attempt, "1200505.4/0");
}

// It has the job's SLURM_NTASKS and SLURM_PROCID 0, and is one process.
TEST_F(Launched, ABatchScriptIsOneProcess) {
  EXPECT_EQ(read({{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}}).ranks, 1);
}

TEST_F(Launched, WhatIsMissingOrNoNumberIsNamed) {
  const auto error = [&](const std::map<std::string, std::string>& other) {
    return user_error([&] { read(with(kTorchrun, other)); });
  };
  EXPECT_EQ(error({{"RANK", "8"}}), "RANK=8: a number from 0 to 7 is expected");
  EXPECT_EQ(error({{"WORLD_SIZE", "two"}}),
            "WORLD_SIZE=two: a number from 1 to 1048576 is expected");
  EXPECT_EQ(error({{"MASTER_PORT", "70000"}}),
            "MASTER_PORT=70000: a number from 1 to 65535 is expected");
  const std::map<std::string, std::string> rankless = {{"WORLD_SIZE", "2"}};
  EXPECT_EQ(user_error([&] { read(rankless); }),
            "WORLD_SIZE is set, but RANK is not: start with torchrun or srun, or set both");
}

TEST(FirstHost, OfSlurmsLists) {
  EXPECT_EQ(first_host("a"), "a");
  EXPECT_EQ(first_host("a,b"), "a");
  EXPECT_EQ(first_host("gnode[10,20,25]"), "gnode10");
  EXPECT_EQ(first_host("gnode[007-011]"), "gnode007");
  EXPECT_EQ(first_host("rack[1-2].dc,head"), "rack1.dc");
  EXPECT_NE(user_error([] { first_host("gnode[10"); }), "");
}

}  // namespace
}  // namespace trireme::config
