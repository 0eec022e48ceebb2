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

// The medians of the runs, in milliseconds a call. The bodies take turns, so that all of them run
// at the same clock rates, which fall within the first second of load.
inline std::vector<double> milliseconds(const std::vector<std::function<void()>>& bodies,
                                        const Repeats& repeats = {}) {
  const c10::impl::VirtualGuardImpl guard(at::kCUDA);
  const c10::Stream stream = guard.getStream(guard.getDevice());
  std::vector<std::vector<double>> times(bodies.size());
  for (int i = -repeats.warm_up; i < repeats.runs; ++i) {
    for (size_t body = 0; body < bodies.size(); ++body) {
      c10::Event start(at::kCUDA, c10::EventFlag::BACKEND_DEFAULT);
      c10::Event end(at::kCUDA, c10::EventFlag::BACKEND_DEFAULT);
      start.record(stream);
      for (int call = 0; call < repeats.calls; ++call) bodies[body]();
      end.record(stream);
      end.synchronize();
      if (i >= 0) times[body].push_back(start.elapsedTime(end) / repeats.calls);
    }
  }
  std::vector<double> medians;
  for (auto& list : times) {
    const auto middle = list.begin() + repeats.runs / 2;
    std::nth_element(list.begin(), middle, list.end());
    medians.push_back(*middle);
  }
  return medians;
}

inline double milliseconds(const std::function<void()>& body, const Repeats& repeats = {}) {
  return milliseconds(std::vector{body}, repeats).front();
}

}  // namespace trireme::ops
