// Which rank this process is, as its launcher says: torchrun, Slurm's srun, or none.
#pragma once

#include <cstdint>
#include <string>

namespace trireme::config {

struct Launch {
  std::string launcher = "none";
  int64_t rank = 0, ranks = 1;
  int64_t local_rank = 0;  // on this host
  int64_t local_ranks = 1;
  std::string address = {};  // of rank 0
  int64_t port = 0;
  bool agent_store = false;  // the launcher runs the store: rank 0 need not
  // Distinguishes this start of the job from an earlier one at the same address.
  std::string attempt = {};
};

// From RANK, WORLD_SIZE, MASTER_ADDR, ... (torchrun, or set by hand), else from SLURM_... within a
// job step. UserError: a variable is missing, or no number, or out of range.
Launch read_launch();

// The first host of Slurm's list: "gnode[10,20-25],head" -> "gnode10".
std::string first_host(const std::string& nodes);

}  // namespace trireme::config
