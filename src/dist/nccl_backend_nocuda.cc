#include "base/error.h"
#include "dist/nccl_backend.h"

namespace trireme::dist {

c10::intrusive_ptr<c10d::Backend> nccl_backend(const c10::intrusive_ptr<c10d::Store>&, int, int,
                                               std::chrono::milliseconds) {
  TRIREME_CHECK(false, "NCCL in a build without CUDA");
}

}  // namespace trireme::dist
