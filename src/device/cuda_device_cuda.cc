#include <ATen/Context.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>

#include <atomic>

#include "device/cuda_device.h"

namespace trireme::device::cuda {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

std::atomic<c10::DeviceIndex> used_device = 0;

}  // namespace

bool built() { return true; }

int available_devices() { return c10::cuda::device_count(); }

void use_device(int index) {
  used_device = static_cast<c10::DeviceIndex>(index);
  c10::cuda::set_device(used_device);
}

std::string device_name() { return at::cuda::getCurrentDeviceProperties()->name; }

int64_t free_bytes() {
  size_t free = 0, total = 0;
  C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return static_cast<int64_t>(free);
}

int64_t used_bytes() {
  size_t free = 0, total = 0;
  C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return static_cast<int64_t>(total - free);
}

AllocatorStats allocator_stats() {
  const auto stats = allocator::getDeviceStats(at::cuda::current_device());
  return {stats.allocated_bytes[0].current, stats.allocated_bytes[0].peak,
          stats.reserved_bytes[0].peak, stats.num_device_alloc + stats.num_device_free};
}

void reset_peaks() { allocator::resetPeakStats(at::cuda::current_device()); }

void refuse_synchronisation(bool refuse) {
  c10::cuda::warning_state().set_sync_debug_mode(refuse ? c10::cuda::SyncDebugMode::L_ERROR
                                                        : c10::cuda::SyncDebugMode::L_DISABLED);
}

void prepare_allocator() {
  c10::CachingAllocator::setAllocatorSettings("expandable_segments:True");
  at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);  // makes the allocator
}

void limit_memory(int64_t bytes) {
  const double total = static_cast<double>(at::cuda::getCurrentDeviceProperties()->totalGlobalMem);
  allocator::setMemoryFraction(std::min(1.0, static_cast<double>(bytes) / total),
                               at::cuda::current_device());
}

void synchronize() { C10_CUDA_CHECK(cudaDeviceSynchronize()); }

std::string pin(void* address, int64_t bytes) {
  c10::cuda::set_device(used_device);  // each thread has a current device of its own
  const cudaError_t error =
      cudaHostRegister(address, static_cast<size_t>(bytes), cudaHostRegisterDefault);
  if (error == cudaSuccess) return "";
  cudaGetLastError();  // else the next operation of libtorch in this thread would throw it
  return cudaGetErrorString(error);
}

void unpin(void* address) {
  if (cudaHostUnregister(address) != cudaSuccess) cudaGetLastError();
}

}  // namespace trireme::device::cuda
