// One piece of host memory of exactly the planned size, from which tensors (saved activations, or
// the optimizer's state) take slots in the order in which they are stored. On CUDA it is pinned, so
// that copies run beside kernels.
//
// libtorch's own pinned allocator rounds every tensor up to the next power of two, which for the
// gigabytes held here is up to as much again; cudaHostRegister on a mapping of our own rounds
// nothing. Pinning faults every page in (gigabytes a second), so it happens in a thread of its own
// while the model is read.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>

namespace trireme::device {

class HostArena {
 public:
  // Memory is pinned piece by piece: the driver holds a lock meanwhile, which reading the model to
  // the device needs too. A single copy must not cross from one piece into the next.
  static constexpr int64_t kPiece = int64_t{512} << 20;

  // Maps `bytes` (0: an arena that nothing is taken from) and, for a CUDA device, starts to pin
  // them. For messages, `what` names the content and `instead` the options that need less.
  // UserError: the system refuses that much memory.
  HostArena(int64_t bytes, const at::Device& device, std::string what = "saved activations",
            std::string instead = "a smaller --max_length or --offload_activations none");
  ~HostArena();
  HostArena(const HostArena&) = delete;
  HostArena& operator=(const HostArena&) = delete;

  // Waits until everything is pinned, and logs the seconds; to be called before the first take().
  // UserError where the driver refuses.
  void wait_until_pinned();

  // A host tensor over the next slot, of the sizes, strides and dtype of `like`, which is dense in
  // some order of its dimensions. Valid until reset(), and no longer than the arena; zero before
  // the first reset().
  at::Tensor take(const at::Tensor& like);
  // The same for `numel` numbers.
  at::Tensor take(int64_t numel, at::ScalarType dtype);
  // All slots are free again.
  void reset() { used_ = 0; }

  int64_t bytes() const { return bytes_; }
  double pin_seconds() const { return pin_seconds_; }
  // Bytes from `address` to the end of its piece.
  int64_t left_in_piece(const std::byte* address) const {
    return kPiece - (address - base_) % kPiece;
  }

 private:
  void pin(const std::stop_token& stop);
  [[noreturn]] void refuse(const char* verb, const std::string& why) const;

  at::Tensor slot(int64_t size, at::IntArrayRef sizes, at::IntArrayRef strides,
                  at::TensorOptions options);

  int64_t bytes_;
  std::string what_, instead_;
  std::byte* base_ = nullptr;
  int64_t used_ = 0;
  int64_t pinned_ = 0;     // bytes; as the next two, used by the thread until it is joined
  std::string pin_error_;  // of the driver
  double pin_seconds_ = 0;
  std::jthread pinning_;
};

}  // namespace trireme::device
