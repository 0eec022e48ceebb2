// How a rank learns that another has failed, and reports its own failure. When a process ends, its
// connections close, and collectives that wait for it fail (PeerFailure). The watch reports which
// rank it was, and why. It also informs ranks that are not waiting: those that compute, or whose
// collectives run on a device.
//
// Each rank's watch is a thread of its own. It writes heartbeats to the job's board (dist/board.h),
// looks there for a failure, and follows the heartbeats of the next rank (the next of the last rank
// is the first). So the rank before a run of failed ranks sees them. Silence is counted in the
// watch's own beats, so that a job that is suspended as a whole continues when it is resumed.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/error.h"
#include "config/launch.h"
#include "dist/group.h"
#include "dist/rendezvous.h"

namespace trireme::dist {

// The name of this host.
std::string host_name();

struct Pace {
  std::chrono::milliseconds beat{1000};
  std::chrono::milliseconds moment{3000};  // in which ranks that fail together report it
  int64_t missed_beats = 60;               // after which the next rank counts as gone
};

// All functions return in bounded time (a few moments) and never throw, even if the store is gone
// or hangs.
class Watch {
 public:
  // `failed` is called at most once, on another thread, with the sentence of the first failure, if
  // this rank has not stopped by itself within a moment. It must end the process.
  using Failed = std::function<void(Watch& watch, const std::string& sentence)>;
  Watch(const config::Launch& launch, StorePtr store, const Pace& pace, Failed failed);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // "rank 3 on gpu7".
  std::string name() const;
  // What the function of the current LocationScope returns, or of the last one; "start" before the
  // first.
  std::string where() const;

  // While it lives, `where` gives the location of this rank. It is called on any thread.
  class LocationScope {
   public:
    LocationScope(Watch* watch, std::function<std::string()> where);
    ~LocationScope();
    LocationScope(const LocationScope&) = delete;
    LocationScope& operator=(const LocationScope&) = delete;

   private:
    Watch* watch_;  // null: one rank, no watch
  };

  // Reports that this rank ends by an error of its own. Returns whether all ranks report the same
  // within a moment: then each of them has found the same mistake.
  bool stop(const std::string& words);
  // Reports that this rank ends because a collective failed. Returns the sentence of the first
  // failure; if there is none, the ranks of the group that have not stopped within a moment.
  std::string stop(const PeerFailure& failure);
  // Call before the process ends. If it holds the store, waits a few moments for ranks that still
  // read it.
  void leave();

 private:
  struct State;

  std::shared_ptr<State> state_;  // outlives this object where its thread hangs with the store
};

}  // namespace trireme::dist
