#include "device/host_arena.h"

#include <ATen/ops/from_blob.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/host_memory.h"
#include "base/log.h"
#include "base/stopwatch.h"
#include "base/units.h"
#include "device/cuda_device.h"

namespace trireme::device {
namespace {

std::byte* map_memory(int64_t bytes) {
  void* base = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  // Large pages are faulted in several times as fast; a kernel without them says no, and that is
  // all right.
  madvise(base, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  return static_cast<std::byte*>(base);
}

// Faults pages in with several threads: most of what pinning takes. A system that cannot leaves it
// to the pinning.
void populate(std::byte* base, int64_t bytes) {
  constexpr int64_t kThreads = 8, kLargePage = int64_t{2} << 20;
  const int64_t share = (bytes / kThreads / kLargePage + 1) * kLargePage;
  std::vector<std::jthread> threads;
  for (int64_t at = 0; at < bytes; at += share) {
    threads.emplace_back([=] {
      madvise(base + at, static_cast<size_t>(std::min(share, bytes - at)), MADV_POPULATE_WRITE);
    });
  }
}

}  // namespace

HostArena::HostArena(int64_t bytes, const at::Device& device, std::string what, std::string instead)
    : bytes_(bytes), what_(std::move(what)), instead_(std::move(instead)) {
  if (bytes_ == 0) return;
  base_ = map_memory(bytes_);
  if (base_ == nullptr) refuse("map", std::strerror(errno));
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

void HostArena::refuse(const char* verb, const std::string& why) const {
  fail("cannot {} {} of host memory for {}: {}: use {}, or less --host_memory", verb,
       format_bytes(bytes_), what_, why, instead_);
}

void HostArena::pin(const std::stop_token& stop) {
  const Stopwatch clock;
  while (pinned_ < bytes_ && !stop.stop_requested()) {
    const int64_t piece = std::min(kPiece, bytes_ - pinned_);
    populate(base_ + pinned_, piece);
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
  if (!pin_error_.empty()) refuse("pin", pin_error_);
  log("pinned {} of host memory for {} in {}, {} of them after the model was read",
      format_bytes(bytes_), what_, format_duration(pin_seconds_), format_duration(clock.seconds()));
}

at::Tensor HostArena::take(const at::Tensor& like) {
  TRIREME_CHECK(like.is_non_overlapping_and_dense());
  return slot(static_cast<int64_t>(like.nbytes()), like.sizes(), like.strides(), like.options());
}

at::Tensor HostArena::take(int64_t numel, at::ScalarType dtype) {
  const auto size = numel * static_cast<int64_t>(c10::elementSize(dtype));
  return slot(size, {numel}, {1}, at::TensorOptions(dtype));
}

at::Tensor HostArena::slot(int64_t size, at::IntArrayRef sizes, at::IntArrayRef strides,
                           at::TensorOptions options) {
  TRIREME_CHECK(used_ + size <= bytes_, "{} of {} bytes are taken, {} more are wanted", used_,
                bytes_, size);
  std::byte* address = base_ + used_;
  used_ = std::min(bytes_, used_ + slot_bytes(size));
  return at::from_blob(address, sizes, strides, options.device(at::kCPU));
}

}  // namespace trireme::device
