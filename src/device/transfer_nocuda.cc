#include "base/error.h"
#include "device/transfer.h"

namespace trireme::device::cuda {

std::unique_ptr<Transfer> make_transfer(const HostArena&) {
  TRIREME_CHECK(false, "a build without CUDA has no CUDA device");
}

std::unique_ptr<SideStream> make_side_stream() {
  TRIREME_CHECK(false, "a build without CUDA has no CUDA device");
}

void run_on_host(std::function<void()>) {
  TRIREME_CHECK(false, "a build without CUDA has no CUDA device");
}

}  // namespace trireme::device::cuda
