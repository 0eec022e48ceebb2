// Copies between a device and the host arena, beside the computation.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "engine/host_arena.h"

namespace trireme::engine {

// `from` and `to` have the same sizes, strides and dtype, and are dense in some order of their
// dimensions.
struct Copy {
  at::Tensor from, to;
};

enum class Direction { kToHost, kToDevice };

// The end of copies that were started.
class Arrival {
 public:
  virtual ~Arrival() = default;
  // What is given to the compute stream from now on comes after the copies. The host goes on.
  virtual void wait() = 0;
};

class Transfer {
 public:
  virtual ~Transfer() = default;
  // Asynchronous. The copies come after everything that the compute stream was given until now, and
  // in the order of the calls with the same direction. Sources and targets must stay alive until
  // the compute stream waits for the arrival: a block of memory that is freed earlier is given to
  // the next kernels while it is still read or written. Deterministic.
  virtual std::unique_ptr<Arrival> start(Direction direction, const std::vector<Copy>& copies) = 0;
};

// CPU: copied at once. CUDA: a stream for each direction. `arena` outlives the transfer.
std::unique_ptr<Transfer> make_transfer(const at::Device& device, const HostArena& arena);

namespace cuda {
// transfer_nocuda.cc answers in a build without CUDA.
std::unique_ptr<Transfer> make_transfer(const HostArena& arena);
}  // namespace cuda

}  // namespace trireme::engine
