#include "engine/transfer.h"

#include <cstring>

namespace trireme::engine {
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

}  // namespace

std::unique_ptr<Transfer> make_transfer(const at::Device& device, const HostArena& arena) {
  if (device.is_cuda()) return cuda::make_transfer(arena);
  return std::make_unique<HostTransfer>();
}

}  // namespace trireme::engine
