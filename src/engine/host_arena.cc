#include "engine/host_arena.h"

#include <ATen/ops/from_blob.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "base/stopwatch.h"
#include "base/units.h"
#include "engine/cuda_device.h"

namespace trireme::engine {
namespace {

[[noreturn]] void refused(const char* what, int64_t bytes, const std::string& why) {
  fail(
      "cannot {} {} of host memory for saved activations: {}: use a smaller --max_length, "
      "--host_memory or --offload_activations none",
      what, format_bytes(bytes), why);
}

std::byte* map_memory(int64_t bytes) {
  void* base = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) refused("map", bytes, std::strerror(errno));
  // Large pages are faulted in several times as fast; a kernel without them says no, and that is
  // all right.
  madvise(base, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  return static_cast<std::byte*>(base);
}

}  // namespace

HostArena::HostArena(int64_t bytes, const at::Device& device) : bytes_(bytes) {
  if (bytes_ == 0) return;
  base_ = map_memory(bytes_);
  if (device.is_cuda()) {
    pinning_ = std::jthread([this](const std::stop_token& stop) { pin(stop); });
  }
}

HostArena::~HostArena() {
  if (base_ == nullptr) return;
  pinning_ = {};  // asks the thread to stop, and joins it
  for (int64_t at = 0; at < pinned_; at += kPiece) cuda::unpin(base_ + at);
  munmap(base_, static_cast<size_t>(bytes_));
}

void HostArena::pin(const std::stop_token& stop) {
  const Stopwatch clock;
  while (pinned_ < bytes_ && !stop.stop_requested()) {
    const int64_t piece = std::min(kPiece, bytes_ - pinned_);
    pin_error_ = cuda::pin(base_ + pinned_, piece);
    if (!pin_error_.empty()) return;
    pinned_ += piece;
  }
  pin_seconds_ = clock.seconds();
}

void HostArena::wait_until_pinned() {
  if (!pinning_.joinable()) return;
  const Stopwatch clock;
  pinning_.join();
  if (!pin_error_.empty()) refused("pin", bytes_, pin_error_);
  log("pinned {} of host memory in {}, {} of them after the model was read", format_bytes(bytes_),
      format_duration(pin_seconds_), format_duration(clock.seconds()));
}

at::Tensor HostArena::take(const at::Tensor& like) {
  const auto size = static_cast<int64_t>(like.nbytes());
  TRIREME_CHECK(like.is_non_overlapping_and_dense());
  TRIREME_CHECK(used_ + size <= bytes_, "{} of {} bytes are taken, {} more are wanted", used_,
                bytes_, size);
  std::byte* address = base_ + used_;
  used_ = std::min(bytes_, used_ + slot_bytes(size));
  return at::from_blob(address, like.sizes(), like.strides(), like.options().device(at::kCPU));
}

}  // namespace trireme::engine
