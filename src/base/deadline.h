// A bound for what may wait for ever.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

namespace trireme {

class Deadline {
 public:
  // Calls `late`, on a thread of its own, unless the object is gone in time.
  Deadline(std::chrono::milliseconds patience, std::function<void()> late);
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::jthread thread_;  // the last to be made and the first to end
};

}  // namespace trireme
