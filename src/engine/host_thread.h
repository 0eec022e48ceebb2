// A thread that works for others.
#pragma once

#include <functional>
#include <mutex>
#include <semaphore>
#include <thread>

namespace trireme::engine {

// Where it runs, and on how many cores, is as where it was made: a thread of the driver may be
// bound to a core, and each new thread that calls OpenMP makes threads of its own.
class HostThread {
 public:
  HostThread();
  ~HostThread();
  HostThread(const HostThread&) = delete;
  HostThread& operator=(const HostThread&) = delete;

  // Waits until `work`, which must not throw, is done. From any thread; one after the other.
  void run(const std::function<void()>& work);

 private:
  void loop(const std::stop_token& stop, int threads);

  std::mutex turn_;
  std::binary_semaphore wanted_{0}, done_{0};
  const std::function<void()>* work_ = nullptr;
  std::jthread thread_;
};

}  // namespace trireme::engine
