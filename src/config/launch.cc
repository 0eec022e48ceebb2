#include "config/launch.h"

#include <charconv>
#include <optional>

#include "base/env.h"
#include "base/error.h"

namespace trireme::config {
namespace {

std::string required(const char* name, const char* beside) {
  const auto value = env(name);
  if (!value)
    fail("{} is set, but {} is not: start with torchrun or srun, or set both", beside, name);
  return *value;
}

int64_t number(const char* name, const std::string& text, int64_t least, int64_t most) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) {
    fail("{}={}: a number from {} to {} is expected", name, text, least, most);
  }
  return value;
}

constexpr int64_t kMostRanks = int64_t{1} << 20, kMostPort = 65535;

// If the launcher does not set it, all ranks are assumed to be on one host.
int64_t local_ranks(const char* name, int64_t ranks) {
  return number(name, env(name).value_or(std::to_string(ranks)), 1, kMostRanks);
}

Launch from_torchrun() {
  Launch launch{.launcher = env("TORCHELASTIC_RUN_ID") ? "torchrun" : "environment"};
  launch.ranks = number("WORLD_SIZE", required("WORLD_SIZE", "RANK"), 1, kMostRanks);
  launch.rank = number("RANK", required("RANK", "WORLD_SIZE"), 0, launch.ranks - 1);
  launch.local_rank = number("LOCAL_RANK", env("LOCAL_RANK").value_or("0"), 0, launch.ranks - 1);
  launch.local_ranks = local_ranks("LOCAL_WORLD_SIZE", launch.ranks);
  if (launch.ranks == 1) return launch;
  launch.address = required("MASTER_ADDR", "WORLD_SIZE");
  launch.port = number("MASTER_PORT", required("MASTER_PORT", "WORLD_SIZE"), 1, kMostPort);
  launch.agent_store = env("TORCHELASTIC_USE_AGENT_STORE") == "True";
  launch.attempt = env("TORCHELASTIC_RUN_ID").value_or("none") + "/" +
                   env("TORCHELASTIC_RESTART_COUNT").value_or("0");
  return launch;
}

// srun's variables of the step: a batch script itself has those of the job, and is one process.
Launch from_slurm() {
  Launch launch{.launcher = "Slurm"};
  launch.ranks = number("SLURM_STEP_NUM_TASKS", *env("SLURM_STEP_NUM_TASKS"), 1, kMostRanks);
  launch.rank =
      number("SLURM_PROCID", required("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"), 0, launch.ranks - 1);
  launch.local_rank =
      number("SLURM_LOCALID", env("SLURM_LOCALID").value_or("0"), 0, launch.ranks - 1);
  launch.local_ranks = local_ranks("SLURM_NTASKS_PER_NODE", launch.ranks);
  if (launch.ranks == 1) return launch;
  const auto given = env("MASTER_ADDR");
  launch.address =
      given ? *given : first_host(required("SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS"));
  const std::string job = env("SLURM_JOB_ID").value_or("0"),
                    step = env("SLURM_STEP_ID").value_or("0");
  // Jobs that share a host get different ports.
  constexpr int64_t kFirstPort = 20000, kPorts = 10000;
  const int64_t most = int64_t{1} << 40;
  const std::string port =
      env("MASTER_PORT")
          .value_or(std::to_string(kFirstPort + number("SLURM_JOB_ID", job, 0, most) % kPorts));
  launch.port = number("MASTER_PORT", port, 1, kMostPort);
  launch.attempt = fmt::format("{}.{}/{}", job, step, env("SLURM_RESTART_COUNT").value_or("0"));
  return launch;
}

}  // namespace

std::string first_host(const std::string& nodes) {
  const size_t end = nodes.find_first_of(",[");
  const std::string name = nodes.substr(0, end);
  if (end == std::string::npos || nodes[end] == ',') return name;
  const size_t stop = nodes.find_first_of(",-]", end + 1);
  if (stop == std::string::npos) {
    fail("SLURM_STEP_NODELIST={}: a ']' is missing: set MASTER_ADDR to the first host", nodes);
  }
  const size_t close = nodes.find(']', stop);
  const size_t rest = close == std::string::npos ? nodes.size() : close + 1;
  return name + nodes.substr(end + 1, stop - end - 1) +
         nodes.substr(rest, nodes.find(',', rest) - rest);
}

Launch read_launch() {
  if (env("RANK") || env("WORLD_SIZE")) return from_torchrun();
  if (env("SLURM_STEP_NUM_TASKS")) return from_slurm();
  return {};
}

}  // namespace trireme::config
