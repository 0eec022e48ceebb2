// How a rank learns that another has failed, and says that it has itself. Connections end with the
// process that held them, and with them the collectives of those who wait for it (PeerFailure); the
// watch says which rank it was, and why, and tells those who wait for nobody: who compute, or whose
// collectives are a device's business.
//
// Each rank's watch, a thread of its own, leaves a pulse on the job's board (dist/board.h), looks
// there for a failure, and follows the pulse of the next rank, the last rank's next being the
// first: a run of ranks that are gone is seen by the one before it. Silence is counted in own
// beats, so that a job that is suspended as a whole goes on when it is resumed.
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

// Of this machine.
std::string host_name();

struct Pace {
  std::chrono::milliseconds beat{1000};
  std::chrono::milliseconds moment{3000};  // within which ranks that fail together have said so
  int64_t missed_beats = 60;               // of the next rank: it is gone
};

// All functions return in bounded time (a few moments) and throw nothing, also when the store is
// gone or hangs.
class Watch {
 public:
  // `failed` is called at most once, on another thread, with the sentence of the first failure, if
  // this rank has not stopped by itself within a moment of it. It is to end the process.
  using Failed = std::function<void(Watch& watch, const std::string& sentence)>;
  Watch(const config::Launch& launch, StorePtr store, const Pace& pace, Failed failed);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // "rank 3 on gpu7".
  std::string name() const;
  // What report_location()'s function says, or said last; "start" before.
  std::string where() const;

  // While the result lives, `where` says where this rank is, on any thread.
  class LocationScope {
   public:
    LocationScope(Watch* watch, std::function<std::string()> where);
    ~LocationScope();
    LocationScope(const LocationScope&) = delete;
    LocationScope& operator=(const LocationScope&) = delete;

   private:
    Watch* watch_;  // null: nobody wants to know
  };

  // This rank ends by an error of its own. Returns whether all ranks say the same of themselves
  // within a moment: a mistake that each of them finds.
  bool stop(const std::string& words);
  // This rank ends because a collective did: the sentence of the first failure. Where nobody tells
  // one, it is who of the group has not stopped within a moment.
  std::string stop(const PeerFailure& failure);
  // The process may go. Where it holds the store, waits a few moments for ranks that still read it.
  void leave();

 private:
  struct State;

  std::shared_ptr<State> state_;  // outlives this object where its thread hangs with the store
};

}  // namespace trireme::dist
