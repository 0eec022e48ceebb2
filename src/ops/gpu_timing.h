// For measurements on a GPU: how long the current stream works on something.
#pragma once

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <functional>
#include <vector>

namespace trireme::ops {

struct Repeats {
  int warm_up = 2, runs = 9;
  int calls = 10;  // in a run, so that the host stays ahead
};

// The median of the runs, in milliseconds a call.
inline double milliseconds(const std::function<void()>& body, const Repeats& repeats = {}) {
  const c10::impl::VirtualGuardImpl guard(at::kCUDA);
  const c10::Stream stream = guard.getStream(guard.getDevice());
  std::vector<double> times;
  for (int i = -repeats.warm_up; i < repeats.runs; ++i) {
    c10::Event start(at::kCUDA, c10::EventFlag::BACKEND_DEFAULT);
    c10::Event end(at::kCUDA, c10::EventFlag::BACKEND_DEFAULT);
    start.record(stream);
    for (int call = 0; call < repeats.calls; ++call) body();
    end.record(stream);
    end.synchronize();
    if (i >= 0) times.push_back(start.elapsedTime(end));
  }
  const auto middle = times.begin() + repeats.runs / 2;
  std::nth_element(times.begin(), middle, times.end());
  return *middle / repeats.calls;
}

}  // namespace trireme::ops
