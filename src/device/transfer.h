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
  // Work that is queued on the compute stream from now on runs after the copies. The host does not
  // wait.
  virtual void wait() = 0;
};

class Transfer {
 public:
  virtual ~Transfer() = default;
  // Starts copies. They run after everything that is queued on the compute stream now, and calls
  // with the same direction run in order. Sources and targets must stay alive until the compute
  // stream waits for the arrival: the allocator would give memory that is freed earlier to the next
  // kernels while it is still read or written. Asynchronous and deterministic.
  virtual std::unique_ptr<Arrival> start(Direction direction, const std::vector<Copy>& copies) = 0;
};

// A second queue of computation on the device.
class SideStream {
 public:
  virtual ~SideStream() = default;
  // Queues the device operations of `work` here instead of on the compute stream. They run after
  // all that is queued on the compute stream now, and after earlier work here. Within `work`,
  // Arrival::wait and Transfer::start use this queue. Asynchronous.
  virtual std::unique_ptr<Arrival> run(const std::function<void()>& work) = 0;
};

// Runs `work` on the host in the order of the current stream: another thread runs it after all that
// is queued now and before what is queued later. `work` must neither use the device nor throw.
// Asynchronous; on the CPU it runs at once.
void run_on_host(const at::Device& device, std::function<void()> work);

// CPU: copied at once. CUDA: a stream for each direction. `arena` outlives the transfer.
std::unique_ptr<Transfer> make_transfer(const at::Device& device, const HostArena& arena);

// CPU: done at once.
std::unique_ptr<SideStream> make_side_stream(const at::Device& device);

namespace cuda {
// The CUDA versions; transfer_nocuda.cc replaces them in a build without CUDA.
std::unique_ptr<Transfer> make_transfer(const HostArena& arena);
std::unique_ptr<SideStream> make_side_stream();
void run_on_host(std::function<void()> work);
}  // namespace cuda

}  // namespace trireme::device
