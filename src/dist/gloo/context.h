// The five headers of Gloo that c10d's ProcessGroupGloo.hpp includes and the wheel of PyTorch does
// not bring: as much of them as that header needs. Gloo itself is within libtorch_cpu, and c10d's
// classes hold its objects behind pointers, so that their layout does not matter here.
#pragma once

#include <chrono>

namespace gloo {

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};

}  // namespace gloo
