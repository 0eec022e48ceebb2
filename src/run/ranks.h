// The ranks of a run: how it was launched, the mesh that it gave, and how it ends on all of them.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "config/schema.h"
#include "device/machine.h"
#include "dist/mesh.h"
#include "dist/watch.h"

namespace trireme::run {

struct Ranks {
  dist::StorePtr store;                // of rank 0's process are all others' connections
  std::unique_ptr<dist::Watch> watch;  // none: one rank
  dist::Mesh mesh;
  device::RanksOnHost on_host;

  bool first() const { return mesh.rank() == 0; }
  // While the result lives, `where` ("step 3, backward, layer 17") says where this rank is, in
  // messages of its failure and of others'. Called on any thread.
  [[nodiscard]] dist::Watch::LocationScope report_location(
      std::function<std::string()> where) const {
    return {watch.get(), std::move(where)};
  }
};

// Finds the other ranks, if a launcher started some, sees that all were told the same, and runs
// `body` on each; from here on only the first logs. Returns the body's status when all ranks have
// ended well. An error of one ends all of them, in bounded time, with the process: it prints the
// line, and the others who it was. UserError: the degrees do not divide the ranks, or they do not
// meet.
int run_on_ranks(const config::RunConfig& run, config::Verb verb,
                 const std::function<int(const Ranks&)>& body);

// How many ranks the launcher started. From here on only the first logs.
int64_t launched_ranks();

// The machine as every rank can plan with it: the least that any of them has.
device::Machine prepare_machine(const config::RunConfig& run, const Ranks& ranks);

}  // namespace trireme::run
