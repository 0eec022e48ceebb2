// NCCL through c10d; nccl_backend_nocuda.cc replaces it in a build without CUDA. Only group.cc
// includes this header, which brings in c10d's headers.
#pragma once

#include <chrono>

#include "dist/c10d.h"

namespace trireme::dist {

// The backend of `ranks` processes, no two of which share a CUDA device. It connects at once, so
// that the first collective need not. Collectives run on a stream of the backend; a work's wait()
// makes the current stream wait for it. If a rank is gone, a c10d thread throws when `timeout` is
// over, which calls std::terminate. Call shutdown() before the destructor.
c10::intrusive_ptr<c10d::Backend> nccl_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                               int rank, int ranks,
                                               std::chrono::milliseconds timeout);

}  // namespace trireme::dist
