#include "plan/communication.h"

#include <algorithm>

#include "layout/exchange.h"
#include "layout/sequence.h"
#include "plan/visits.h"

namespace trireme::plan {
namespace {

using config::Axis;

constexpr int64_t kFloat = 4, kDouble = 8;  // bytes

class Prediction {
 public:
  explicit Prediction(const CommunicationRequest& request)
      : r_(request),
        layout_(r_.model->layout),
        trained_(r_.model->trained_layout()),
        ranks_(r_.sharding.ranks),
        each_(bytes_of(r_.format)),
        visits_(BlockBuffers(layout_, r_.sharding, r_.model->spec.tied)) {}

  layout::CommunicationTable all() {
    for (int64_t step = 0; step < r_.steps; ++step) {
      for (size_t pass = 0; pass < r_.batches.size(); ++pass) {
        weights();
        exchange(r_.batches[pass]);
        gradients(/*last=*/pass + 1 == r_.batches.size());
      }
      update();
    }
    return std::move(table_);
  }

 private:
  void add(Axis axis, layout::Collective collective, int64_t bytes) {
    layout::Volume& volume = table_[{axis, collective}];
    ++volume.calls;
    volume.bytes += bytes;
  }
  void all_reduce(Axis axis, int64_t bytes, int64_t ranks) {
    if (ranks > 1) add(axis, layout::Collective::kAllReduce, 2 * bytes * (ranks - 1) / ranks);
  }
  // Shards of a layout's blocks travel, each block by itself.
  void shards(const layout::ModelLayout& layout, layout::Collective collective, int64_t element) {
    for (const layout::BlockLayout& block : layout.blocks) {
      if (block.numel > 0) shard(block, collective, element);
    }
  }
  void shard(const layout::BlockLayout& block, layout::Collective collective, int64_t element) {
    add(Axis::kShards, collective, r_.sharding.shard(block.numel).size * element * (ranks_ - 1));
  }

  // The blocks that a pass leases, in the executor's order.
  void weights() {
    if (!r_.sharding.weights()) return;
    const int64_t head = layout_.head();
    const std::vector<int64_t>& segments = r_.plan->segments;
    const auto& adapters = r_.model->adapters;
    if (!adapters || !adapters->in_block(layout_.embedding())) lease(layout_.embedding());
    for (int64_t b = layout_.layer(0); b < head; ++b) lease(b);
    if (r_.model->spec.tied) lease(layout_.embedding());
    lease(head);
    int64_t end = head;
    for (size_t i = segments.size(); i-- > 0;) {
      const int64_t first = layout_.layer(segments[i]);
      if (end < head) {
        for (int64_t b = first; b < end; ++b) lease(b);
      }
      for (int64_t b = end - 1; b >= first; --b) lease(b);
      end = first;
    }
  }
  void lease(int64_t block) {
    for (const int64_t b : visits_.want(block)) {
      shard(layout_.blocks[b], layout::Collective::kAllGather, each_);
    }
  }

  // What one micro-batch exchanges for attention and the loss.
  void exchange(const std::vector<int64_t>& starts) {
    all_reduce(Axis::kSequence, kFloat, r_.mesh.sequence());  // the loss
    if (r_.model->spec.balanced()) {                          // what the experts' balance counts
      const int64_t sums = (r_.model->spec.layers + 1) * r_.model->spec.moe->experts;
      all_reduce(Axis::kSequence, kDouble * sums, r_.mesh.sequence());
    }
    if (r_.mesh.sequence() == 1) return;
    dealt_ = layout::deal(starts, r_.mesh.ring, r_.plan->ring_order).rows;
    const config::ModelSpec& spec = r_.model->spec;
    const int64_t tokens = layout::size(dealt_[r_.ring_index]);
    const layout::HeadGroups of =
        layout::head_groups(spec.heads, spec.kv_heads, r_.mesh.ulysses,
                            tokens * spec.head_dim * each_, layout::kHeadGroupBytes);
    for (int64_t i = 0; i < spec.layers; ++i) {
      const bool again = i < r_.plan->segments.back();
      const bool kept =
          r_.plan->keep[i].attention && r_.plan->saved[i].attention != Residence::kRecompute;
      const int64_t forwards = 1 + again + !kept;
      exchange_heads(of, tokens, forwards);
      go_round(of, forwards);
    }
  }

  void exchange_heads(const layout::HeadGroups& of, int64_t tokens, int64_t forwards) {
    const int64_t ranks = r_.mesh.ulysses, dim = r_.model->spec.head_dim;
    if (ranks == 1) return;
    const std::vector<int64_t> bounds = layout::even_cut(tokens, ranks);
    const int64_t rows = bounds[r_.ulysses_index + 1] - bounds[r_.ulysses_index];
    const auto to_heads = [&](int64_t heads, int64_t times) {
      for (; times > 0; --times) {
        add(Axis::kUlysses, layout::Collective::kAllToAll,
            (ranks - 1) * rows * heads * dim * each_);
      }
    };
    const auto to_rows = [&](int64_t heads, int64_t times) {
      for (; times > 0; --times) {
        add(Axis::kUlysses, layout::Collective::kAllToAll, (tokens - rows) * heads * dim * each_);
      }
    };
    to_heads(of.keys, 2 * forwards);
    to_heads(of.group, of.count() * forwards);
    to_rows(of.group, of.count() * forwards);
    to_heads(of.keys, 2);
    to_heads(of.group, 3 * of.count());  // the output, its gradient, queries
    to_rows(of.group, of.count());
    to_rows(of.keys, 2);
  }

  // Keys and values of a group of heads visit every rank of the ring. In backward their gradients
  // return to their own rank.
  void go_round(const layout::HeadGroups& of, int64_t forwards) {
    const int64_t ranks = r_.mesh.ring;
    if (ranks == 1) return;
    const int64_t heads = std::max<int64_t>(1, of.group * of.keys / of.queries);
    for (int64_t step = 0; step < ranks; ++step) {
      const int64_t rows = layout::size(dealt_[(r_.ring_index + ranks - step) % ranks]);
      const int64_t numbers = 2 * rows * heads * r_.model->spec.head_dim;
      const int64_t visits = step + 1 < ranks ? forwards + 1 : 0;
      for (int64_t i = 0; i < of.count() * visits; ++i) {
        add(Axis::kRing, layout::Collective::kRingShift, numbers * each_);
      }
      for (int64_t i = 0; i < of.count(); ++i) {
        add(Axis::kRing, layout::Collective::kRingShift, numbers * kFloat);
      }
    }
  }

  void gradients(bool last) {
    if (ranks_ == 1) return;
    if (!r_.sharding.states()) {
      if (!last && !r_.fused) return;
      for (const layout::BlockLayout& block : trained_.blocks) {
        if (block.numel > 0) all_reduce(Axis::kShards, kFloat * block.numel, ranks_);
      }
    } else if (last || r_.fused || r_.sharding.gradients()) {
      shards(trained_, layout::Collective::kReduceScatter, kFloat);
    }
  }

  // The norm of the gradients, and the updated weights where ranks have them whole.
  void update() {
    if (!r_.sharding.states()) return;
    const bool adapters = r_.model->adapters.has_value();
    for (const layout::BlockLayout& block : trained_.blocks) {
      if (r_.fused && block.numel > 0) all_reduce(Axis::kShards, kDouble, ranks_);
    }
    if (!r_.fused) all_reduce(Axis::kShards, kDouble, ranks_);
    if (adapters || !r_.sharding.weights()) shards(trained_, layout::Collective::kAllGather, each_);
    if (!adapters) visits_.forget();
  }

  const CommunicationRequest& r_;
  const layout::ModelLayout& layout_;
  const layout::ModelLayout& trained_;
  int64_t ranks_;
  int64_t each_;
  VisitOrder visits_;
  layout::CommunicationTable table_;
  std::vector<layout::Rows> dealt_;  // the ring's rows of the current micro-batch
};

}  // namespace

layout::CommunicationTable predict_communication(const CommunicationRequest& request) {
  return Prediction(request).all();
}

int64_t paper_bytes(const CommunicationRequest& r, Axis axis) {
  const int64_t each = bytes_of(r.format);
  const auto passes = static_cast<int64_t>(r.batches.size());
  if (axis == Axis::kShards && r.sharding.weights()) {
    const int64_t ranks = r.sharding.ranks;
    const int64_t bytes =
        2 * each * r.model->layout.numel() + kFloat * r.model->trained_layout().numel();
    return r.steps * passes * bytes * (ranks - 1) / ranks;
  }
  if (axis == Axis::kUlysses && r.mesh.ulysses > 1) {
    const config::ModelSpec& spec = r.model->spec;
    const int64_t ranks = r.mesh.ulysses;
    int64_t tokens = 0;
    for (const auto& starts : r.batches) tokens += starts.back();
    const int64_t heads = 2 * spec.heads + 2 * std::max(spec.kv_heads, ranks);
    return r.steps * 2 * spec.layers * heads * spec.head_dim * each * (tokens / ranks) *
           (ranks - 1) / ranks;
  }
  return 0;
}

}  // namespace trireme::plan
