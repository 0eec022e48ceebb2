// Raw cudaMemcpyAsync on two streams of libtorch's pool. No stream guard around copies: inside one,
// "the current stream" is the side stream itself, waiting for it is a no-op, and copies would read
// what the layer has not written yet.
#include <c10/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>

#include "device/host_thread.h"
#include "device/transfer.h"

namespace trireme::device::cuda {
namespace {

using c10::cuda::CUDAStream;

class StreamArrival : public Arrival {
 public:
  explicit StreamArrival(const CUDAStream& side) { done_.record(side); }
  void wait() override { done_.block(c10::cuda::getCurrentCUDAStream()); }

 private:
  c10::cuda::CUDAEvent done_;
};

class StreamTransfer : public Transfer {
 public:
  explicit StreamTransfer(const HostArena& arena)
      : arena_(arena),
        to_host_(c10::cuda::getStreamFromPool()),
        to_device_(c10::cuda::getStreamFromPool()) {}

  // The arena is unpinned after this, so no copy may still run.
  ~StreamTransfer() override {
    cudaStreamSynchronize(to_host_.stream());
    cudaStreamSynchronize(to_device_.stream());
  }

  std::unique_ptr<Arrival> start(Direction direction, const std::vector<Copy>& copies) override {
    const CUDAStream& side = direction == Direction::kToHost ? to_host_ : to_device_;
    c10::cuda::CUDAEvent ready;
    ready.record(c10::cuda::getCurrentCUDAStream());
    ready.block(side);
    for (const Copy& copy : copies) this->copy(direction, copy, side);
    return std::make_unique<StreamArrival>(side);
  }

 private:
  // Piece by piece of the arena: pieces are pinned by themselves, and the driver refuses a copy
  // across two of them.
  void copy(Direction direction, const Copy& copy, const CUDAStream& side) const {
    const auto* from = static_cast<const std::byte*>(copy.from.const_data_ptr());
    auto* to = static_cast<std::byte*>(copy.to.mutable_data_ptr());
    for (auto left = static_cast<int64_t>(copy.from.nbytes()); left > 0;) {
      const bool out = direction == Direction::kToHost;
      const int64_t part = std::min(left, arena_.left_in_piece(out ? to : from));
      C10_CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<size_t>(part),
                                     out ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice,
                                     side.stream()));
      from += part;
      to += part;
      left -= part;
    }
  }

  const HostArena& arena_;
  CUDAStream to_host_, to_device_;
};

class CudaSideStream : public SideStream {
 public:
  CudaSideStream() : side_(c10::cuda::getStreamFromPool()) {}

  std::unique_ptr<Arrival> run(const std::function<void()>& work) override {
    c10::cuda::CUDAEvent ready;
    ready.record(c10::cuda::getCurrentCUDAStream());
    ready.block(side_);
    {
      const c10::cuda::CUDAStreamGuard guard(side_);
      work();
    }
    return std::make_unique<StreamArrival>(side_);
  }

 private:
  CUDAStream side_;
};

}  // namespace

void run_on_host(std::function<void()> work) {
  static HostThread host;
  using Work = std::function<void()>;
  const auto call = [](void* data) noexcept {
    host.run(*std::unique_ptr<Work>(static_cast<Work*>(data)));
  };
  auto owned = std::make_unique<Work>(std::move(work));
  C10_CUDA_CHECK(cudaLaunchHostFunc(c10::cuda::getCurrentCUDAStream(), call, owned.get()));
  owned.release();  // `call` deletes it
}

std::unique_ptr<SideStream> make_side_stream() { return std::make_unique<CudaSideStream>(); }

std::unique_ptr<Transfer> make_transfer(const HostArena& arena) {
  return std::make_unique<StreamTransfer>(arena);
}

}  // namespace trireme::device::cuda
