// Where the device's time goes: the kernels of a piece of work, by phase and by kind.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "device/machine.h"

namespace trireme::device {

struct KernelTime {
  std::string name;
  int64_t calls = 0;
  double seconds = 0;
};

struct Profile {
  double seconds = 0;                    // from the first kernel to the last
  double idle = 0;                       // of `seconds`, without any kernel
  double exposed = 0;                    // of `seconds`, with nothing but exchanges
  std::map<std::string, double> phases;  // forward, head and loss, ...
  std::map<std::string, std::map<std::string, double>> kinds;  // phase -> kind -> seconds
  std::vector<KernelTime> kernels;                             // longest first
};

// A kernel, or a phase, on the device's clock.
struct Interval {
  std::string name;
  uint64_t begin = 0, end = 0;  // nanoseconds
};

// A kernel belongs to the phase in which it begins.
Profile summarise(std::vector<Interval> kernels, const std::vector<Interval>& phases);

// Runs `work` once under libtorch's profiler (Kineto) and waits for the device. Only CUDA kernels
// are recorded; on the CPU the profile is empty. Phases are the scopes of device/phases.h.
Profile profile(const Machine& machine, const std::function<void()>& work);

// The same to a file: a Chrome trace (JSON) of operations and kernels, and of collectives from
// their start to their end. UserError: it cannot be written.
void write_timeline(const Machine& machine, const std::string& path,
                    const std::function<void()>& work);

}  // namespace trireme::device
