#include "base/error.h"
#include "ops/gemm.h"

namespace trireme::ops::cuda {

void gemm(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, double,
          double) {
  TRIREME_CHECK(false, "this build has no CUDA kernels");
}

}  // namespace trireme::ops::cuda
