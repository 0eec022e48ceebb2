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

// How many ranks the launcher started. From here on only the first logs.
int64_t launched_ranks();

// The machine as every rank can plan with it: the least that any of them has.
engine::Machine agreed(engine::Machine machine, const Ranks& ranks);

}  // namespace trireme::cli
