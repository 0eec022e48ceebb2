// ops_gpu_test --bench: what each kernel reaches of the memory's bandwidth, at the sizes of an 8B
// model and of a 128-expert mixture, beside a copy on the device.
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include "ops/adamw.h"
#include "ops/cross_entropy.h"
#include "ops/dropout.h"
#include "ops/gpu_testing.h"
#include "ops/gpu_timing.h"
#include "ops/heads.h"
#include "ops/merge.h"
#include "ops/rms_norm.h"
#include "ops/routing.h"
#include "ops/swiglu.h"

namespace trireme::ops {
namespace {

constexpr int64_t kTokens = 8192, kHidden = 4096, kHeads = 32, kKvHeads = 8, kDim = 128;
constexpr int64_t kFeed = 12288, kVocab = 151936, kTile = 8192;
constexpr int64_t kExperts = 128, kChoices = 8, kSparseHidden = 2048, kSparseFeed = 768;
constexpr int64_t kFlat = 1 << 27;
constexpr int64_t kTables = kTokens * kDim / 2 * 2 * 4;  // bytes of cosines and sines

at::Tensor device_randn(at::IntArrayRef shape, at::ScalarType dtype = at::kBFloat16) {
  return at::randn(shape, at::TensorOptions(at::kCUDA).dtype(dtype));
}

class Throughput : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const at::Tensor from = device_randn({kFlat}, at::kFloat);
    at::Tensor to = at::empty({kFlat}, from.options());
    fmt::print("{:<34} {:>10} {:>9} {:>8}\n", "kernel", "time", "GB/s", "of copy");
    row("copy", 2 * kFlat * 4, [&] { to.copy_(from); });
  }
  // `bytes`: what has to cross the memory's bus once, with what the algorithm reads twice counted
  // twice.
  static void row(const char* name, int64_t bytes, const std::function<void()>& body) {
    const double ms = milliseconds(body), rate = static_cast<double>(bytes) / ms * 1e-6;
    if (copy_rate == 0) copy_rate = rate;
    fmt::print("{:<34} {:>7.3f} ms {:>9.0f} {:>7.0f}%\n", name, ms, rate, 100 * rate / copy_rate);
  }
  static inline double copy_rate = 0;
};

TEST_F(Throughput, RmsNorm) {
  const at::Tensor x = device_randn({kTokens, kHidden}), dy = device_randn({kTokens, kHidden});
  const at::Tensor w = device_randn({kHidden});
  at::Tensor dx = device_randn({kTokens, kHidden}),
             dw = at::zeros({kHidden}, w.options().dtype(at::kFloat));
  at::Tensor frozen;
  const int64_t pass = x.numel() * 2;
  row("rms_norm", 2 * pass, [&] { rms_norm(x, w, 1e-6); });
  row("rms_norm_backward", 4 * pass, [&] { rms_norm_backward(dy, x, w, 1e-6, dx, dw); });
  row("rms_norm_backward, frozen", 4 * pass,
      [&] { rms_norm_backward(dy, x, w, 1e-6, dx, frozen); });
}

TEST_F(Throughput, Heads) {
  constexpr int64_t kColumns = (kHeads + 2 * kKvHeads) * kDim,
                    kRotated = (kHeads + kKvHeads) * kDim;
  const at::Tensor qkv = device_randn({kTokens, kColumns}),
                   dq = device_randn({kTokens, kHeads, kDim});
  const at::Tensor dk = device_randn({kTokens, kKvHeads, kDim});
  const at::Tensor angles = device_randn({kTokens, kDim / 2}, at::kFloat);
  const at::Tensor cos = angles.cos(), sin = angles.sin();
  const HeadNorms norms{device_randn({kDim}), device_randn({kDim}), 1e-6}, none;
  at::Tensor dqkv = at::empty_like(qkv), frozen;
  at::Tensor dq_norm = at::zeros({kDim}, cos.options()), dk_norm = at::zeros({kDim}, cos.options());
  const int64_t rotated = kTokens * kRotated * 2, all = kTokens * kColumns * 2;
  row("rotate_heads", 2 * rotated + kTables,
      [&] { rotate_heads(qkv, kHeads, kKvHeads, none, cos, sin); });
  row("rotate_heads, q/k norm", 2 * rotated + kTables,
      [&] { rotate_heads(qkv, kHeads, kKvHeads, norms, cos, sin); });
  row("rotate_heads_backward", 2 * all + kTables,
      [&] { rotate_heads_backward(dq, dk, dk, {}, none, cos, sin, dqkv, frozen, frozen); });
  row("rotate_heads_backward, q/k norm", 2 * all + rotated + kTables,
      [&] { rotate_heads_backward(dq, dk, dk, qkv, norms, cos, sin, dqkv, dq_norm, dk_norm); });
  row("rotate_heads_backward, frozen norm", 2 * all + rotated + kTables,
      [&] { rotate_heads_backward(dq, dk, dk, qkv, norms, cos, sin, dqkv, frozen, frozen); });
}

TEST_F(Throughput, Swiglu) {
  const at::Tensor gate_up = device_randn({kTokens, 2 * kFeed}),
                   da = device_randn({kTokens, kFeed});
  const int64_t pass = da.numel() * 2;
  at::Tensor a;
  row("swiglu", 3 * pass, [&] { swiglu(gate_up); });
  row("swiglu_backward", 5 * pass, [&] { swiglu_backward(da, gate_up); });
  row("swiglu_backward with a", 6 * pass, [&] { swiglu_backward(da, gate_up, &a); });
  const at::Tensor rows = device_randn({kTokens * kChoices, 2 * kSparseFeed});
  const at::Tensor drows = device_randn({kTokens * kChoices, kSparseFeed});
  const RowWeights weights{device_randn({rows.size(0)}, at::kFloat),
                           device_randn({rows.size(0)}, at::kFloat)};
  row("swiglu_backward, experts", 6 * drows.numel() * 2,
      [&] { swiglu_backward(drows, rows, &a, &weights); });
}

TEST_F(Throughput, CrossEntropy) {
  at::Tensor logits = device_randn({kTile, kVocab}, at::kFloat);
  const at::Tensor targets = at::arange(kTile, logits.options().dtype(at::kLong));
  at::Tensor loss = at::zeros({}, logits.options());
  const int64_t pass = logits.numel() * 4;
  row("cross_entropy", pass, [&] { cross_entropy(logits, targets); });
  // The logits of later runs are what earlier ones left: numbers as good as any for the clock.
  row("cross_entropy_backward_, fp32", 3 * pass,
      [&] { cross_entropy_backward_(logits, targets, 1e-3, at::kFloat, loss); });
  logits.normal_();
  row("cross_entropy_backward_, bf16", 2 * pass + pass / 2,
      [&] { cross_entropy_backward_(logits, targets, 1e-3, at::kBFloat16, loss); });
}

TEST_F(Throughput, AdamW) {
  at::Tensor param = device_randn({kFlat}, at::kFloat), m = at::zeros({kFlat}, param.options());
  const at::Tensor grad = device_randn({kFlat}, at::kFloat),
                   divisor = at::ones({}, param.options());
  at::Tensor v = at::zeros({kFlat}, param.options());
  at::Tensor weight = at::empty({kFlat}, param.options().dtype(at::kBFloat16));
  const Moments moments{m, v};
  const AdamWStep options{.learning_rate = 1e-4};
  row("adamw_", kFlat * 28, [&] { adamw_(param, grad, moments, options, divisor); });
  row("adamw_ with bf16 weight", kFlat * 30,
      [&] { adamw_(param, grad, moments, options, divisor, weight); });
  row("sum_of_squares", kFlat * 4, [&] { sum_of_squares(param); });
}

// Bytes of an element: gradient 4; master 4 twice and its copy 2, or weight 2 twice; moments twice.
TEST_F(Throughput, AdamWFormats) {
  const auto options = at::TensorOptions(at::kCUDA).dtype(at::kFloat);
  at::Tensor master = device_randn({kFlat}, at::kFloat), weight = master.to(at::kBFloat16);
  const at::Tensor grad = device_randn({kFlat}, at::kFloat), divisor = at::ones({}, options);
  const AdamWStep step{.learning_rate = 1e-4, .seed = 1};
  for (const auto& [name, format] : {std::pair("fp32", MomentFormat::kFloat32),
                                     {"bf16", MomentFormat::kBFloat16},
                                     {"8-bit", MomentFormat::kEightBit}}) {
    const Moments moments = zero_moments(kFlat, format, at::kCUDA);
    const int64_t state = 2 * moment_bytes(kFlat, format);
    row(fmt::format("adamw_ master, {} moments", name).c_str(), kFlat * 14 + state,
        [&] { adamw_(master, grad, moments, step, divisor, weight); });
    row(fmt::format("adamw_ bf16 weights, {} moments", name).c_str(), kFlat * 8 + state,
        [&] { adamw_(weight, grad, moments, step, divisor); });
  }
}

TEST_F(Throughput, Routing) {
  const at::Tensor logits = device_randn({kTokens, kExperts});
  const at::Tensor x = device_randn({kTokens, kSparseHidden});
  const Routing r = route(logits, kChoices, true);
  const at::Tensor rows = gather_rows(x, r.tokens), dweight = row_weights(r);
  const int64_t pairs = kTokens * kChoices, one = x.numel() * 2, all = rows.numel() * 2;
  row("route (latency of 5 launches)", logits.numel() * 2 + pairs * 24,
      [&] { route(logits, kChoices, true); });
  row("gather_rows", one + all, [&] { gather_rows(x, r.tokens); });
  const at::Tensor y = device_randn({kTokens, kSparseHidden});
  row("combine_rows", all + 2 * one, [&] { combine_rows(rows, r, r.weights, x, y); });
  row("router_backward (latency)", logits.numel() * 4 + pairs * 12,
      [&] { router_backward(logits, r, dweight, true); });
}

// Parts of a ring's rank, over all of its rows.
TEST_F(Throughput, Merge) {
  const at::Tensor sum = device_randn({kTokens, kHeads, kDim}, at::kFloat);
  at::Tensor lse = device_randn({kHeads, kTokens}, at::kFloat);
  const at::Tensor x = device_randn({kTokens, kHeads, kDim}), base = x.clone();
  const AttentionPart part{x, lse.clone(), 0}, gradient{x, {}, 0};
  const int64_t pass = x.numel() * 2;
  row("merge_attention, 1 part", 5 * pass, [&] { merge_attention(sum, lse, {part}, at::kFloat); });
  const std::vector four = {part, part, part, part};
  row("merge_attention, 4 parts", 8 * pass, [&] { merge_attention(sum, lse, four, at::kFloat); });
  row("merge_attention, bf16, 4 parts", 6 * pass,
      [&] { merge_attention(base, lse, four, at::kBFloat16); });
  row("add_parts, 1 part", 5 * pass, [&] { add_parts(sum, {gradient}, at::kFloat); });
  row("add_parts, 2 parts", 6 * pass, [&] { add_parts(sum, {gradient, gradient}, at::kFloat); });
}

TEST_F(Throughput, Dropout) {
  const at::Tensor x = device_randn({kTokens, kHidden});
  at::Tensor dx = device_randn({kTokens, kHidden});
  row("dropout", 2 * x.numel() * 2, [&] { dropout(x, 0.1, 1); });
  row("dropout_add_", 3 * x.numel() * 2, [&] { dropout_add_(dx, x, 0.1, 1); });
}

}  // namespace
}  // namespace trireme::ops
