// Where the device's time goes: the kernels of a piece of work, by phase and by kind.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/device.h"

namespace trireme::engine {

struct KernelTime {
  std::string name;
  int64_t calls = 0;
  double seconds = 0;
};

struct Profile {
  double seconds = 0;                                          // from the first kernel to the last
  double idle = 0;                                             // of it without any kernel
  std::map<std::string, double> phases;                        // forward, head and loss, ...
  std::map<std::string, std::map<std::string, double>> kinds;  // phase -> kind -> seconds
  std::vector<KernelTime> kernels;                             // longest first
};

// Runs `work` once under libtorch's profiler (Kineto) and waits for the device. Kernels of CUDA
// only: empty elsewhere. Phases are the scopes of engine/phases.h.
Profile profile(const Machine& machine, const std::function<void()>& work);

// The same to a file: a Chrome trace (JSON) of operations and kernels, and of collectives from
// their start to their end. UserError: it cannot be written.
void write_timeline(const Machine& machine, const std::string& path,
                    const std::function<void()>& work);

}  // namespace trireme::engine
