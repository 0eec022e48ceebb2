#include <ATen/Context.h>
#include <ATen/cuda/CUDAContextLight.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/ops/empty_strided.h>
#include <c10/cuda/CUDAStream.h>
#include <cublasLt.h>

#include <array>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/error.h"
#include "ops/gemm.h"

namespace trireme::ops::cuda {
namespace {

void check(cublasStatus_t status, const char* what) {
  TRIREME_CHECK(status == CUBLAS_STATUS_SUCCESS, "cuBLASLt {}: {}", what,
                cublasLtGetStatusString(status));
}

template <typename T, cublasStatus_t (*Destroy)(T)>
struct Destroyer {
  void operator()(T handle) const { Destroy(handle); }
};
template <typename T, cublasStatus_t (*Destroy)(T)>
using Owned = std::unique_ptr<std::remove_pointer_t<T>, Destroyer<T, Destroy>>;

using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Operation = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

cudaDataType_t type_of(const at::Tensor& x) {
  if (x.scalar_type() == at::kFloat) return CUDA_R_32F;
  TRIREME_CHECK(x.scalar_type() == at::kBFloat16, "products are of fp32 or bf16");
  return CUDA_R_16BF;
}

// A row-major matrix is the transposed column-major one, which is what cuBLASLt speaks: d^T = b^T
// a^T. `transposed`: the first dimension is the contiguous one.
struct Stored {
  bool transposed;
  int64_t stride;
};

Stored stored(const at::Tensor& x) {
  TRIREME_CHECK(x.dim() == 2 && (x.stride(0) == 1 || x.stride(1) == 1 || x.numel() <= 1));
  const bool rows = x.stride(1) == 1 && (x.size(0) == 1 || x.stride(0) >= x.size(1));
  return rows ? Stored{false, std::max(x.stride(0), x.size(1))}
              : Stored{true, std::max(x.stride(1), x.size(0))};
}

// rows x columns as stored, column-major.
Layout layout(const at::Tensor& x, const Stored& s) {
  cublasLtMatrixLayout_t handle = nullptr;
  const auto rows = static_cast<uint64_t>(s.transposed ? x.size(0) : x.size(1));
  const auto columns = static_cast<uint64_t>(s.transposed ? x.size(1) : x.size(0));
  check(cublasLtMatrixLayoutCreate(&handle, type_of(x), rows, columns, s.stride), "layout");
  return Layout(handle);
}

Operation operation(bool transpose_b, bool transpose_a) {
  cublasLtMatmulDesc_t handle = nullptr;
  check(cublasLtMatmulDescCreate(&handle, CUBLAS_COMPUTE_32F, CUDA_R_32F), "description");
  Operation owned(handle);
  const cublasOperation_t first = transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t second = transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  check(cublasLtMatmulDescSetAttribute(handle, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first),
        "operation");
  check(cublasLtMatmulDescSetAttribute(handle, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second),
        "operation");
  return owned;
}

// One product's description.
struct Problem {
  Stored a, b, c, d;
  Operation op;
  Layout la, lb, lc, ld;

  Problem(const at::Tensor& ta, const at::Tensor& tb, const at::Tensor& tc, const at::Tensor& td)
      : a(stored(ta)),
        b(stored(tb)),
        c(stored(tc)),
        d(stored(td)),
        op(operation(b.transposed, a.transposed)),
        la(layout(ta, a)),
        lb(layout(tb, b)),
        lc(layout(tc, c)),
        ld(layout(td, d)) {
    TRIREME_CHECK(!c.transposed && !d.transposed);
  }
};

using Key = std::array<int64_t, 14>;

// What decides which kernel is best.
Key key_of(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c, const at::Tensor& d,
           const Problem& p, double beta) {
  const auto aligned = [](const at::Tensor& x) {
    return static_cast<int64_t>(reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0);
  };
  return {d.size(0),      d.size(1),
          a.size(1),      p.a.stride,
          p.b.stride,     p.c.stride,
          p.d.stride,     p.a.transposed,
          p.b.transposed, type_of(a),
          type_of(d),     beta != 0,
          c.is_same(d),   aligned(a) + 2 * aligned(b) + 4 * aligned(c) + 8 * aligned(d)};
}

// One product's operands.
struct Operands {
  const at::Tensor &a, &b, &c, &d;
  float alpha, beta;
};

cublasStatus_t run(cublasLtHandle_t handle, const Problem& p, const Operands& o,
                   const cublasLtMatmulAlgo_t& algorithm) {
  return cublasLtMatmul(handle, p.op.get(), &o.alpha, o.b.const_data_ptr(), p.lb.get(),
                        o.a.const_data_ptr(), p.la.get(), &o.beta, o.c.const_data_ptr(), p.lc.get(),
                        o.d.mutable_data_ptr(), p.ld.get(), &algorithm,
                        at::cuda::getCUDABlasLtWorkspace(), at::cuda::getCUDABlasLtWorkspaceSize(),
                        c10::cuda::getCurrentCUDAStream());
}

constexpr int kCandidates = 8;

// cuBLASLt's candidates, its favourite first.
std::vector<cublasLtMatmulAlgo_t> candidates(cublasLtHandle_t handle, const Problem& p) {
  cublasLtMatmulPreference_t raw = nullptr;
  check(cublasLtMatmulPreferenceCreate(&raw), "preference");
  const Preference preference(raw);
  const size_t workspace = at::cuda::getCUDABlasLtWorkspaceSize();
  check(cublasLtMatmulPreferenceSetAttribute(raw, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &workspace, sizeof workspace),
        "workspace");
  // Partial sums of a split product are added in fp32 too.
  const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  check(cublasLtMatmulPreferenceSetAttribute(raw, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                             &reductions, sizeof reductions),
        "reductions");
  std::array<cublasLtMatmulHeuristicResult_t, kCandidates> results{};
  int found = 0;
  check(cublasLtMatmulAlgoGetHeuristic(handle, p.op.get(), p.lb.get(), p.la.get(), p.lc.get(),
                                       p.ld.get(), raw, kCandidates, results.data(), &found),
        "heuristic");
  TRIREME_CHECK(found > 0, "cuBLASLt has no kernel for this product");
  std::vector<cublasLtMatmulAlgo_t> list;
  for (int i = 0; i < found; ++i) list.push_back(results[i].algo);
  return list;
}

// Milliseconds of one run; a failure is infinitely slow.
float time_run(cublasLtHandle_t handle, const Problem& p, const Operands& o,
               const cublasLtMatmulAlgo_t& algorithm) {
  constexpr int kRuns = 4;
  if (run(handle, p, o, algorithm) != CUBLAS_STATUS_SUCCESS) {
    return std::numeric_limits<float>::infinity();
  }
  const auto stream = c10::cuda::getCurrentCUDAStream();
  at::cuda::CUDAEvent begin(cudaEventDefault), end(cudaEventDefault);
  begin.record(stream);
  for (int i = 0; i < kRuns; ++i) run(handle, p, o, algorithm);
  end.record(stream);
  end.synchronize();
  return begin.elapsed_time(end) / kRuns;
}

// Results of this size are tried on a copy, where they are added to in place.
constexpr int64_t kLargestCopy = 512 << 20;

cublasLtMatmulAlgo_t choose(cublasLtHandle_t handle, const Problem& p, const Operands& o) {
  const std::vector<cublasLtMatmulAlgo_t> list = candidates(handle, p);
  const bool in_place = o.beta != 0 && o.c.is_same(o.d);
  const bool too_large = in_place && static_cast<int64_t>(o.d.nbytes()) > kLargestCopy;
  if (list.size() == 1 || too_large || at::globalContext().deterministicAlgorithms()) {
    return list.front();
  }
  // Whatever is tried may overwrite d: the product itself comes afterwards.
  const at::Tensor scratch =
      in_place ? at::empty_strided(o.d.sizes(), o.d.strides(), o.d.options()) : o.d;
  const Operands trial{o.a, o.b, in_place ? scratch : o.c, scratch, o.alpha, o.beta};
  for (int i = 0; i < 3; ++i) run(handle, p, trial, list.front());  // clocks and caches settle
  size_t best = 0;
  float least = std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < list.size(); ++i) {
    const float passed = time_run(handle, p, trial, list[i]);
    // The favourite stays unless another is clearly faster.
    if (passed < least * (best == 0 && i > 0 ? 0.99f : 1.0f)) {
      least = passed;
      best = i;
    }
  }
  return list[best];
}

}  // namespace

void gemm(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c, const at::Tensor& d,
          double alpha, double beta) {
  TRIREME_CHECK(a.size(0) == d.size(0) && b.size(1) == d.size(1) && a.size(1) == b.size(0) &&
                c.sizes() == d.sizes());
  if (d.numel() == 0) return;
  static std::mutex mutex;
  static std::map<Key, cublasLtMatmulAlgo_t> chosen;
  const cublasLtHandle_t handle = at::cuda::getCurrentCUDABlasLtHandle();
  const Problem problem(a, b, c, d);
  const std::lock_guard lock(mutex);
  const auto [entry, added] = chosen.try_emplace(key_of(a, b, c, d, problem, beta));
  const Operands operands{a, b, c, d, static_cast<float>(alpha), static_cast<float>(beta)};
  if (added) entry->second = choose(handle, problem, operands);
  check(run(handle, problem, operands, entry->second), "product");
}

}  // namespace trireme::ops::cuda
