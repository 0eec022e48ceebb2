// Copies between a device and the host arena, beside the computation.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "device/host_arena.h"

namespace trireme::device {

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

// A second queue of computation on the device.
class SideStream {
 public:
  virtual ~SideStream() = default;
  // Gives what `work` gives to the device to this queue instead of the compute stream's: after all
  // that the compute stream was given until now, and after earlier work here. Asynchronous. Within
  // it, Arrival::wait and Transfer::start mean this queue.
  virtual std::unique_ptr<Arrival> run(const std::function<void()>& work) = 0;
};

// Gives `work` to the host in the order of the current stream: another thread does it after all
// that the stream was given until now and before what it is given from now on. Asynchronous. `work`
// must not use the device nor throw. CPU: done at once.
void run_on_host(const at::Device& device, std::function<void()> work);

// CPU: copied at once. CUDA: a stream for each direction. `arena` outlives the transfer.
std::unique_ptr<Transfer> make_transfer(const at::Device& device, const HostArena& arena);

// CPU: done at once.
std::unique_ptr<SideStream> make_side_stream(const at::Device& device);

namespace cuda {
// transfer_nocuda.cc answers in a build without CUDA.
std::unique_ptr<Transfer> make_transfer(const HostArena& arena);
std::unique_ptr<SideStream> make_side_stream();
void run_on_host(std::function<void()> work);
}  // namespace cuda

}  // namespace trireme::device
