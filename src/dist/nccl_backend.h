// NCCL, as far as c10d gives it; nccl_backend_nocuda.cc stands for it in a build without CUDA. For
// group.cc alone: it brings c10d's headers.
#pragma once

#include <chrono>

#include "dist/c10d.h"

namespace trireme::dist {

// Of `ranks` processes, each of which has its current CUDA device to itself. Connects at once, so
// that no collective does. They run on a stream of the backend's; a work's wait() makes the current
// stream wait for it. Who waits for a rank that is gone learns of it when `timeout` is over, on a
// thread of c10d's that throws: std::terminate. shutdown() comes before the destructor.
c10::intrusive_ptr<c10d::Backend> nccl_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                               int rank, int ranks,
                                               std::chrono::milliseconds timeout);

}  // namespace trireme::dist
