// What ranks of a job leave for each other in its store: the first failure, the last messages of
// ranks that stop, and each rank's heartbeat.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dist/rendezvous.h"

namespace trireme::dist {

// A heartbeat: `beat` changes each time, `where` is the place of the rank ("step 3, backward, layer
// 17").
struct Pulse {
  std::string beat, host, where;
};

// Every call asks the store. It throws if the store is gone, and may hang if the process that holds
// the store hangs.
class Board {
 public:
  explicit Board(StorePtr store) : store_(std::move(store)) {}

  // Reports a sentence that names a rank and what happened to it. Only the first report is kept;
  // all callers get that one.
  std::string report_failure(const std::string& sentence) const;
  std::optional<std::string> failure() const { return find("failure"); }

  void report_last_words(int64_t rank, const std::string& words) const;
  std::optional<std::string> last_words(int64_t rank) const;

  void beat(int64_t rank, const Pulse& pulse) const;
  std::optional<Pulse> pulse(int64_t rank) const;

  // A rank that has no more use for the store says so, without waiting for an answer.
  void leave(int64_t rank) const;
  // Whether all of `ranks` have left.
  bool left(int64_t ranks) const;

 private:
  std::optional<std::string> find(const std::string& key) const;

  StorePtr store_;
};

}  // namespace trireme::dist
