// A thread of its own for work on the host.
#pragma once

#include <functional>
#include <mutex>
#include <semaphore>
#include <thread>

namespace trireme::device {

// It may use the same cores, and as many OpenMP threads, as the thread that constructs it. A thread
// of the driver is no substitute: it may be bound to one core, and each new thread that calls
// OpenMP starts an OpenMP team of its own.
class HostThread {
 public:
  HostThread();
  ~HostThread();
  HostThread(const HostThread&) = delete;
  HostThread& operator=(const HostThread&) = delete;

  // Runs `work`, which must not throw, and waits for its end. May be called on any thread; calls
  // take turns.
  void run(const std::function<void()>& work);

 private:
  void loop(const std::stop_token& stop, int threads);

  std::mutex turn_;
  std::binary_semaphore wanted_{0}, done_{0};
  const std::function<void()>* work_ = nullptr;
  std::jthread thread_;
};

}  // namespace trireme::device
