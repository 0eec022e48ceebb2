// attention_gpu_test --bench: what a rank of a ring of 8 computes, beside the same kernels alone
// on the same blocks. The ring's group is of one rank: what it sends comes back by a copy, and the
// time of these copies, which NCCL makes beside the computation, is shown and not counted.
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "attention/block.h"
#include "attention/flash3.h"
#include "attention/gpu_testing.h"
#include "layout/causal.h"
#include "ops/gpu_timing.h"
#include "ops/merge.h"

namespace trireme::attention {
namespace {

using layout::Range;
using layout::Rectangle;

constexpr int64_t kRanks = 8, kHeads = 32, kDim = 128;

// The kernel of block.cc without what is around it there.
AttentionOutput raw_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            double scale) {
  if (flash3::usable(q)) return flash3::forward(q, k, v, Mask::kFull, scale);
  const auto heads_first = [](const at::Tensor& x) { return x.unsqueeze(0).transpose(1, 2); };
  const auto result = at::_scaled_dot_product_cudnn_attention(
      heads_first(q), heads_first(k), heads_first(v), {}, true, 0.0, false, false, scale);
  return {std::get<0>(result).transpose(1, 2).squeeze(0),
          std::get<1>(result).squeeze(3).squeeze(0)};
}

void raw_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                  const at::Tensor& v, const AttentionOutput& forward, double scale) {
  if (flash3::usable(q)) {
    flash3::backward(dout, q, k, v, forward, Mask::kFull, scale);
    return;
  }
  const auto heads_first = [](const at::Tensor& x) { return x.unsqueeze(0).transpose(1, 2); };
  const at::Tensor no_rng = at::empty({}, q.options().dtype(at::kLong)).zero_();
  at::_scaled_dot_product_cudnn_attention_backward(
      heads_first(dout), heads_first(q), heads_first(k), heads_first(v), heads_first(forward.out),
      forward.lse.unsqueeze(0).unsqueeze(3), no_rng, no_rng, {}, {}, {}, q.size(0), k.size(0), 0.0,
      false, scale);
}

// A rank's work, kernel by kernel, and as the ring does it.
class Rank {
 public:
  Rank(int64_t tokens, int64_t me, int64_t kv_heads)
      : starts_{0, tokens},
        rows_(layout::deal(starts_, kRanks, config::RingOrder::kZigzag).rows),
        me_(me),
        case_{1, layout::size(rows_[me]), kHeads, kv_heads, kDim},
        in_(make_inputs(case_)),
        squares_(layout::causal_starts(starts_, rows_[me]), at::kCUDA, case_.scale()),
        ring_(starts_, rows_, me, group_, at::kCUDA, case_.scale()) {
    for (const layout::Rows& keys : rows_) {
      for (const Rectangle& block : layout::rectangles(starts_, rows_[me_], keys)) {
        blocks_.push_back(block);
      }
    }
    out_ = ring_.forward(in_.q, in_.k, in_.v);
    for (const Rectangle& block : blocks_) lse_.push_back(lse_of(block.q));
  }

  int64_t rows() const { return case_.length; }
  // Multiply-adds twice; the gradients take five products where the output takes two.
  double flops(bool backward) const {
    const layout::CausalArea area(starts_);
    return 4.0 * kHeads * kDim * static_cast<double>(area.of(rows_[me_])) * (backward ? 2.5 : 1);
  }
  void kernels_forward() {
    squares_.forward(in_.q, in_.k, in_.v);
    for (const Rectangle& b : blocks_) {
      raw_forward(of(in_.q, b.q), of(in_.k, b.k), of(in_.v, b.k), case_.scale());
    }
  }
  void kernels_backward() {
    squares_.backward(in_.dout, in_.q, in_.k, in_.v, out_);
    for (size_t i = 0; i < blocks_.size(); ++i) {
      const auto& [q, k] = blocks_[i];
      raw_backward(of(in_.dout, q), of(in_.q, q), of(in_.k, k), of(in_.v, k),
                   {of(out_.out, q), lse_[i]}, case_.scale());
    }
  }
  void ring_forward() { ring_.forward(in_.q, in_.k, in_.v); }
  void ring_backward() { ring_.backward(in_.dout, in_.q, in_.k, in_.v, out_); }
  // What the ring sends in a pass.
  void copies(bool backward) {
    const at::Tensor kv = at::empty({2, rows(), in_.k.size(1), kDim}, in_.k.options());
    for (int64_t step = 0; step + 1 < kRanks; ++step) at::empty_like(kv).copy_(kv);
    if (!backward) return;
    const at::Tensor dkv = at::empty(kv.sizes(), kv.options().dtype(at::kFloat));
    for (int64_t step = 0; step < kRanks; ++step) at::empty_like(dkv).copy_(dkv);
  }

 private:
  static at::Tensor of(const at::Tensor& x, Range rows) {
    return x.narrow(0, rows.first, rows.size());
  }
  at::Tensor lse_of(Range rows) const {
    return out_.lse.narrow(1, rows.first, rows.size()).contiguous();
  }

  std::vector<int64_t> starts_;
  std::vector<layout::Rows> rows_;
  int64_t me_;
  Case case_;
  Inputs in_;
  dist::Group group_;
  LocalAttention squares_;
  RingAttention ring_;
  std::vector<Rectangle> blocks_;
  AttentionOutput out_;
  std::vector<at::Tensor> lse_;  // of each block
};

class Throughput : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    fmt::print("{}\n", kernel_names(true, at::kBFloat16));
    fmt::print("{:>7} {:>9} {:>5} {:<9} {:>20} {:>20} {:>9} {:>7}\n", "tokens", "heads", "rank", "",
               "kernels", "ring", "copies", "ratio");
  }
  static void pass(Rank& rank, const std::string& name, bool backward, const ops::Repeats& times) {
    const std::vector<double> taken =
        ops::milliseconds({[&] { backward ? rank.kernels_backward() : rank.kernels_forward(); },
                           [&] { rank.copies(backward); },
                           [&] { backward ? rank.ring_backward() : rank.ring_forward(); }},
                          times);
    const double kernels = taken[0], copies = taken[1], ring = taken[2] - copies;
    const auto rate = [&](double ms) { return rank.flops(backward) / ms * 1e-9; };
    fmt::print(
        "{} {:<9} {:>8.2f} ms {:>5.0f} TF/s {:>8.2f} ms {:>5.0f} TF/s {:>6.2f} ms {:>7.3f}\n", name,
        backward ? "backward" : "forward", kernels, rate(kernels), ring, rate(ring), copies,
        kernels / ring);
  }
  // Times the first rank, whose rectangles have half of its rows as queries, and the last, whose
  // have all of them and which therefore sums most.
  static void ring_of_eight(int64_t tokens, int64_t kv_heads, const ops::Repeats& times) {
    for (const int64_t me : {int64_t{0}, kRanks - 1}) {
      Rank rank(tokens, me, kv_heads);
      const std::string name =
          fmt::format("{:>6}K {:>6}:{:<2} {:>5}", tokens >> 10, kHeads, kv_heads, me);
      for (const bool backward : {false, true}) pass(rank, name, backward, times);
    }
  }
};

// Qwen3-8B's heads, and Qwen3-30B-A3B's.
TEST_F(Throughput, RingOf64K) {
  for (const int64_t kv : {8, 4}) ring_of_eight(1 << 16, kv, {4, 9, 3});
}
TEST_F(Throughput, RingOf256K) {
  for (const int64_t kv : {8, 4}) ring_of_eight(1 << 18, kv, {1, 3, 1});
}
TEST_F(Throughput, RingOf1M) {
  for (const int64_t kv : {8, 4}) ring_of_eight(1 << 20, kv, {0, 1, 1});
}

}  // namespace
}  // namespace trireme::attention
