#include "device/machine.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <thread>

#include "base/env.h"
#include "base/error.h"
#include "base/host_memory.h"
#include "device/cuda_device.h"

namespace trireme::device {
namespace {

using config::DeviceChoice;
using config::DtypeChoice;

// What a CUDA context and the libraries' kernels hold beside the allocator.
constexpr int64_t kCudaContext = 768 << 20;

at::Device choose_device(DeviceChoice wanted) {
  if (wanted == DeviceChoice::kCpu) return at::kCPU;
  const bool usable = cuda::available_devices() > 0;
  if (wanted == DeviceChoice::kAuto) return usable ? at::kCUDA : at::kCPU;
  if (!cuda::built()) {
    fail(
        "--device cuda: this build is for the CPU only: build again where nvcc and the CUDA half "
        "of torch are, or use "
        "--device cpu");
  }
  if (!usable) fail("--device cuda: no usable GPU here: check nvidia-smi, or use --device cpu");
  return at::kCUDA;
}

at::ScalarType choose_dtype(DtypeChoice wanted, const at::Device& device) {
  if (wanted == DtypeChoice::kAuto) return device.is_cuda() ? at::kBFloat16 : at::kFloat;
  if (wanted == DtypeChoice::kBFloat16 && device.is_cpu()) {
    fail("--dtype bfloat16: the CPU computes in float32: use --dtype float32 or a GPU");
  }
  return wanted == DtypeChoice::kBFloat16 ? at::kBFloat16 : at::kFloat;
}

// torchrun gives each of several ranks one thread, however many cores the host has.
void set_threads(int64_t wanted, int64_t ranks) {
  if (wanted == 0 && ranks == 1) return;
  const int64_t share = std::thread::hardware_concurrency() / static_cast<unsigned>(ranks);
  at::set_num_threads(static_cast<int>(std::max<int64_t>(1, wanted > 0 ? wanted : share)));
}

// The host memory that each rank of this host may take in addition to what it has.
int64_t host_share(RanksOnHost ranks) { return host_available_bytes() / ranks.host; }

// On the CPU, device and host memory are the same. Without --device_memory the "device" gets all of
// it, so that nothing is left to offload to; half of it if an option offloads in any case.
int64_t device_budget(const config::MemoryOptions& options, const at::Device& device,
                      RanksOnHost ranks) {
  const int64_t all = device.is_cuda() ? cuda::free_bytes() / ranks.device
                                       : host_share(ranks) + host_resident_bytes();
  if (options.device_memory > 0) return std::min(all, options.device_memory);
  const bool both = options.offload_activations == config::ActivationOffload::kAll ||
                    options.offload_param == config::ParamOffload::kCpu;
  return device.is_cpu() && both ? all / 2 : all;
}

// A tenth of the available memory stays free, for reading the model's files and for other programs.
int64_t host_budget(const config::MemoryOptions& options, const Machine& machine,
                    RanksOnHost ranks) {
  int64_t left = host_share(ranks);
  if (machine.device.is_cpu()) left += host_resident_bytes() - machine.budget;
  left = std::max<int64_t>(0, left - left / 10);
  return options.host_memory > 0 ? std::min(left, options.host_memory) : left;
}

void require_determinism() {
  set_default_env("CUBLAS_WORKSPACE_CONFIG",
                  ":4096:8");  // cuBLAS repeats its sums only with fixed workspaces
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
}

}  // namespace

at::Device take_device(const config::DeviceOptions& options, int64_t local_rank) {
  const at::Device device = choose_device(options.device);
  if (device.is_cpu()) return device;
  const auto index = static_cast<int>(local_rank % cuda::available_devices());
  cuda::use_device(index);
  return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

Machine prepare_machine(const config::DeviceOptions& options, const config::MemoryOptions& memory,
                        RanksOnHost ranks) {
  set_threads(options.threads, ranks.host);
  Machine machine;
  machine.device = choose_device(options.device);
  machine.dtype = choose_dtype(options.dtype, machine.device);
  // fp32 means fp32, and bf16 products add up in fp32, whatever an image's environment says.
  at::globalContext().setAllowTF32CuBLAS(false);
  at::globalContext().setAllowBF16ReductionCuBLAS(false);
  if (options.deterministic) require_determinism();
  if (machine.device.is_cuda()) cuda::prepare_allocator();
  machine.budget = device_budget(memory, machine.device, ranks);
  if (memory.device_memory > 0 && machine.device.is_cuda()) {
    cuda::limit_memory(std::max<int64_t>(0, memory.device_memory - kCudaContext));
  }
  machine.host_budget = host_budget(memory, machine, ranks);
  machine.program = machine.device.is_cpu()    ? host_resident_bytes()
                    : memory.device_memory > 0 ? kCudaContext
                                               : 0;
  machine.name = machine.device.is_cuda() ? cuda::device_name()
                                          : fmt::format("CPU, {} threads", at::get_num_threads());
  return machine;
}

AllocatorStats allocator_stats(const at::Device& device) {
  return device.is_cuda() ? cuda::allocator_stats() : AllocatorStats{};
}

void reset_peaks(const at::Device& device) {
  if (device.is_cuda()) cuda::reset_peaks();
  reset_host_peak();
}

int64_t used_bytes(const at::Device& device) { return device.is_cuda() ? cuda::used_bytes() : 0; }

NoSyncGuard::NoSyncGuard(const at::Device& device) : active_(device.is_cuda()) {
  if (active_) cuda::refuse_synchronisation(true);
}

NoSyncGuard::~NoSyncGuard() {
  if (active_) cuda::refuse_synchronisation(false);
}

void synchronize(const at::Device& device) {
  if (device.is_cuda()) cuda::synchronize();
}

}  // namespace trireme::device
