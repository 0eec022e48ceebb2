// The ranks of a run: how it was launched, and the mesh that it gave.
#pragma once

#include "config/run_config.h"
#include "dist/mesh.h"
#include "engine/device.h"

namespace trireme::cli {

struct Ranks {
  dist::StorePtr store;  // of rank 0's process are all others' connections
  dist::Mesh mesh;

  bool first() const { return mesh.rank() == 0; }
};

// Finds the other ranks, if a launcher started some. From here on only the first logs. UserError:
// the degrees do not divide the ranks, or they do not meet.
Ranks start_ranks(const config::RunConfig& run);

// UserError where more than one rank was started, or is asked for.
void check_one_rank(const config::RunConfig& run);

// The machine as every rank can plan with it: the least that any of them has.
engine::Machine agreed(engine::Machine machine, const Ranks& ranks);

}  // namespace trireme::cli
