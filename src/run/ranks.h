// The ranks of a run: the only way in and out. They meet, check that all were given the same
// (same_on_all_ranks.h), run the verb, and end together. A rank that waits for one that is gone
// gets a PeerFailure. The watch (dist/watch.h) knows which rank failed first and why, and ends a
// rank that waits for nobody. A rank that fails exits without destructors: they might wait for the
// others.
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
  dist::StorePtr store;                // rank 0's process holds it; the others are connected to it
  std::unique_ptr<dist::Watch> watch;  // none: one rank
  dist::Mesh mesh;
  device::RanksOnHost on_host;

  bool first() const { return mesh.rank() == 0; }
  // While the result lives, `where` gives the location of this rank ("step 3, backward, layer 17")
  // for messages of its failure and of others'. It is called on any thread.
  [[nodiscard]] dist::Watch::LocationScope report_location(
      std::function<std::string()> where) const {
    return {watch.get(), std::move(where)};
  }
};

// Finds the other ranks, if a launcher started some, checks that their options match, and runs
// `body` on each. From here on only the first rank logs. Returns the body's status when all ranks
// have succeeded. An error on one rank ends the processes of all, in bounded time: that rank prints
// the error, and the others print which rank it was. UserError: the degrees do not divide the
// ranks, or a rank does not connect.
int run_on_ranks(const config::RunConfig& run, config::Verb verb,
                 const std::function<int(const Ranks&)>& body);

// How many ranks the launcher started. From here on only the first rank logs.
int64_t launched_ranks();

// The machine with which every rank can plan: the least memory that any of them has.
device::Machine prepare_machine(const config::RunConfig& run, const Ranks& ranks);

}  // namespace trireme::run
