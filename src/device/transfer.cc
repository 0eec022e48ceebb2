#include "device/transfer.h"

#include <cstring>

namespace trireme::device {
namespace {

struct Arrived : Arrival {
  void wait() override {}
};

class HostTransfer : public Transfer {
 public:
  std::unique_ptr<Arrival> start(Direction, const std::vector<Copy>& copies) override {
    for (const Copy& copy : copies) {
      std::memcpy(copy.to.mutable_data_ptr(), copy.from.const_data_ptr(), copy.from.nbytes());
    }
    return std::make_unique<Arrived>();
  }
};

class HostStream : public SideStream {
 public:
  std::unique_ptr<Arrival> run(const std::function<void()>& work) override {
    work();
    return std::make_unique<Arrived>();
  }
};

}  // namespace

void run_on_host(const at::Device& device, std::function<void()> work) {
  if (device.is_cuda()) return cuda::run_on_host(std::move(work));
  work();
}

std::unique_ptr<Transfer> make_transfer(const at::Device& device, const HostArena& arena) {
  if (device.is_cuda()) return cuda::make_transfer(arena);
  return std::make_unique<HostTransfer>();
}

std::unique_ptr<SideStream> make_side_stream(const at::Device& device) {
  if (device.is_cuda()) return cuda::make_side_stream();
  return std::make_unique<HostStream>();
}

}  // namespace trireme::device
