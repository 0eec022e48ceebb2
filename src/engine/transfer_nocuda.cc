#include "base/error.h"
#include "engine/transfer.h"

namespace trireme::engine::cuda {

std::unique_ptr<Transfer> make_transfer(const HostArena&) {
  TRIREME_CHECK(false, "a build without CUDA has no CUDA device");
}

std::unique_ptr<SideStream> make_side_stream() {
  TRIREME_CHECK(false, "a build without CUDA has no CUDA device");
}

void run_on_host(std::function<void()>) {
  TRIREME_CHECK(false, "a build without CUDA has no CUDA device");
}

}  // namespace trireme::engine::cuda
