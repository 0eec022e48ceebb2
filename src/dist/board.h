// What ranks of a job leave for each other in its store: the first failure, the last words of ranks
// that stop, and each rank's pulse.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dist/rendezvous.h"

namespace trireme::dist {

// Changes with every beat. Where the rank was: "step 3, backward, layer 17".
struct Pulse {
  std::string beat, host, where;
};

// Every call asks the store: it throws where the store is gone, and may hang where the process that
// holds it does.
class Board {
 public:
  explicit Board(StorePtr store) : store_(std::move(store)) {}

  // A sentence that names a rank and what became of it. The first that is told stays, and is what
  // all get.
  std::string tell_failure(const std::string& sentence) const;
  std::optional<std::string> failure() const { return find("failure"); }

  void tell_last_words(int64_t rank, const std::string& words) const;
  std::optional<std::string> last_words(int64_t rank) const;

  void beat(int64_t rank, const Pulse& pulse) const;
  std::optional<Pulse> pulse(int64_t rank) const;

  // A rank that has no more use for the store says so, without waiting for an answer.
  void leave(int64_t rank) const;
  // Whether all of `ranks` have.
  bool left(int64_t ranks) const;

 private:
  std::optional<std::string> find(const std::string& key) const;

  StorePtr store_;
};

}  // namespace trireme::dist
