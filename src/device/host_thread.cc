#include "device/host_thread.h"

#include <ATen/Parallel.h>

namespace trireme::device {

HostThread::HostThread()
    : thread_([this, threads = at::get_num_threads()](const std::stop_token& stop) {
        loop(stop, threads);
      }) {}

HostThread::~HostThread() {
  thread_.request_stop();
  wanted_.release();
}

void HostThread::run(const std::function<void()>& work) {
  const std::lock_guard lock(turn_);
  work_ = &work;
  wanted_.release();
  done_.acquire();
}

void HostThread::loop(const std::stop_token& stop, int threads) {
  at::set_num_threads(threads);
  for (wanted_.acquire(); !stop.stop_requested(); wanted_.acquire()) {
    (*work_)();
    done_.release();
  }
}

}  // namespace trireme::device
