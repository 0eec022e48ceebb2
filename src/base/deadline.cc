#include "base/deadline.h"

#include <utility>

namespace trireme {

Deadline::Deadline(std::chrono::milliseconds patience, std::function<void()> late)
    : thread_([this, patience, late = std::move(late)](const std::stop_token& stop) {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, stop, patience, [] { return false; });
        if (!stop.stop_requested()) late();
      }) {}

}  // namespace trireme
