// A build without CUDA. The program has no tensor on a GPU then, and the Python package, which may
// have, asks available(): none of the others is ever called.
#include "base/error.h"
#include "ops/kernels.h"

namespace trireme::ops::cuda {
namespace {

[[noreturn]] void no_cuda() {
  TRIREME_CHECK(false, "this build has no CUDA kernels");
  __builtin_unreachable();
}

}  // namespace

bool available() { return false; }

void rms_norm(const RmsNorm&) { no_cuda(); }
void rms_norm_backward(const RmsNormBackward&) { no_cuda(); }
void add_column_sums(const AddColumnSums&) { no_cuda(); }
void rotate_heads(const RotateHeads&) { no_cuda(); }
void rotate_heads_backward(const RotateHeadsBackward&) { no_cuda(); }
void swiglu(const Swiglu&) { no_cuda(); }
void swiglu_backward(const SwigluBackward&) { no_cuda(); }
void cross_entropy(const CrossEntropy&) { no_cuda(); }
void add_sum(const float*, int64_t, float*) { no_cuda(); }
void adamw(const AdamW&) { no_cuda(); }
void sum_of_squares(const float*, int64_t, double*, double*) { no_cuda(); }
void route(const Route&) { no_cuda(); }
void sort_by_expert(const SortByExpert&) { no_cuda(); }
void gather_rows(const GatherRows&) { no_cuda(); }
void combine_rows(const CombineRows&) { no_cuda(); }
void scatter_weights(const float*, const int32_t*, int64_t, float*) { no_cuda(); }
void router_backward(const RouterBackward&) { no_cuda(); }
void dropout(const Dropout&) { no_cuda(); }
void merge_parts(const MergeParts&) { no_cuda(); }

}  // namespace trireme::ops::cuda
