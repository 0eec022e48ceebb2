#include "engine/traffic.h"

#include <algorithm>

#include "attention/ulysses.h"
#include "engine/activations.h"
#include "engine/stores.h"
#include "layout/sequence.h"

namespace trireme::engine {
namespace {

using config::Span;
using dist::Collective;

constexpr int64_t kFloat = 4, kDouble = 8;  // bytes

class Foresight {
 public:
  explicit Foresight(const TrafficRequest& request)
      : r_(request),
        layout_(r_.model->layout),
        trained_(r_.model->trained_layout()),
        ranks_(r_.sharding.ranks),
        each_(element_bytes(r_.dtype)),
        visits_(BlockBuffers(layout_, r_.sharding, r_.model->spec.tied)) {}

  TrafficTable all() {
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
  void add(Span span, Collective collective, int64_t bytes) {
    dist::Traffic& traffic = table_[{span, collective}];
    ++traffic.calls;
    traffic.bytes += bytes;
  }
  void all_reduce(Span span, int64_t bytes, int64_t ranks) {
    if (ranks > 1) add(span, Collective::kAllReduce, 2 * bytes * (ranks - 1) / ranks);
  }
  // Shards of a layout's blocks travel, each block by itself.
  void shards(const model::ModelLayout& layout, Collective collective, int64_t element) {
    for (const model::BlockLayout& block : layout.blocks) {
      if (block.numel > 0) shard(block, collective, element);
    }
  }
  void shard(const model::BlockLayout& block, Collective collective, int64_t element) {
    add(Span::kShards, collective, r_.sharding.shard(block.numel).size * element * (ranks_ - 1));
  }

  // What is leased in a pass, in the executor's order.
  void weights() {
    if (!r_.sharding.weights()) return;
    const int64_t head = layout_.head_block();
    const std::vector<int64_t>& segments = r_.plan->segments;
    lease(0);
    for (int64_t b = 1; b < head; ++b) lease(b);
    if (r_.model->spec.tied) lease(0);
    lease(head);
    int64_t end = head;
    for (auto segment = segments.rbegin(); segment != segments.rend(); ++segment) {
      if (end < head) {
        for (int64_t b = *segment + 1; b < end; ++b) lease(b);
      }
      for (int64_t b = end - 1; b > *segment; --b) lease(b);
      end = *segment + 1;
    }
  }
  void lease(int64_t block) {
    for (const int64_t b : visits_.want(block)) {
      shard(layout_.blocks[b], Collective::kAllGather, each_);
    }
  }

  // Of one micro-batch, for attention and the loss.
  void exchange(const std::vector<int64_t>& starts) {
    all_reduce(Span::kSequence, kFloat, r_.mesh.sequence());  // the loss
    if (r_.mesh.sequence() == 1) return;
    dealt_ = layout::deal(starts, r_.mesh.ring, r_.plan->ring_order).rows;
    const config::ModelSpec& spec = r_.model->spec;
    const int64_t tokens = layout::size(dealt_[r_.ring_index]);
    const attention::HeadGroups of =
        attention::head_groups(spec.heads, spec.kv_heads, r_.mesh.ulysses,
                               tokens * spec.head_dim * each_, attention::kHeadGroupBytes);
    for (int64_t i = 0; i < spec.layers; ++i) {
      const bool again = i < r_.plan->segments.back();
      const bool kept =
          r_.plan->keep[i].attention && r_.plan->places[i].attention != Place::kRecompute;
      const int64_t forwards = 1 + again + !kept;
      exchange_heads(of, tokens, forwards);
      go_round(of, forwards);
    }
  }

  void exchange_heads(const attention::HeadGroups& of, int64_t tokens, int64_t forwards) {
    const int64_t ranks = r_.mesh.ulysses, dim = r_.model->spec.head_dim;
    if (ranks == 1) return;
    const std::vector<int64_t> bounds = layout::even_cut(tokens, ranks);
    const int64_t rows = bounds[r_.ulysses_index + 1] - bounds[r_.ulysses_index];
    const auto to_heads = [&](int64_t heads, int64_t times) {
      for (; times > 0; --times) {
        add(Span::kUlysses, Collective::kAllToAll, (ranks - 1) * rows * heads * dim * each_);
      }
    };
    const auto to_rows = [&](int64_t heads, int64_t times) {
      for (; times > 0; --times) {
        add(Span::kUlysses, Collective::kAllToAll, (tokens - rows) * heads * dim * each_);
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

  // Keys and values of a group of heads visit every rank of the ring, and in backward their
  // gradients come home.
  void go_round(const attention::HeadGroups& of, int64_t forwards) {
    const int64_t ranks = r_.mesh.ring;
    if (ranks == 1) return;
    const int64_t heads = std::max<int64_t>(1, of.group * of.keys / of.queries);
    for (int64_t step = 0; step < ranks; ++step) {
      const int64_t rows = layout::size(dealt_[(r_.ring_index + ranks - step) % ranks]);
      const int64_t numbers = 2 * rows * heads * r_.model->spec.head_dim;
      const int64_t visits = step + 1 < ranks ? forwards + 1 : 0;
      for (int64_t i = 0; i < of.count() * visits; ++i) {
        add(Span::kRing, Collective::kRingShift, numbers * each_);
      }
      for (int64_t i = 0; i < of.count(); ++i) {
        add(Span::kRing, Collective::kRingShift, numbers * kFloat);
      }
    }
  }

  void gradients(bool last) {
    if (ranks_ == 1) return;
    if (!r_.sharding.states()) {
      if (!last && !r_.fused) return;
      for (const model::BlockLayout& block : trained_.blocks) {
        if (block.numel > 0) all_reduce(Span::kShards, kFloat * block.numel, ranks_);
      }
    } else if (last || r_.fused || r_.sharding.gradients()) {
      shards(trained_, Collective::kReduceScatter, kFloat);
    }
  }

  // The norm of the gradients, and updated weights for those who have them whole.
  void update() {
    if (!r_.sharding.states()) return;
    const bool adapters = r_.model->adapters.has_value();
    for (const model::BlockLayout& block : trained_.blocks) {
      if (r_.fused && block.numel > 0) all_reduce(Span::kShards, kDouble, ranks_);
    }
    if (!r_.fused) all_reduce(Span::kShards, kDouble, ranks_);
    if (adapters || !r_.sharding.weights()) shards(trained_, Collective::kAllGather, each_);
    if (!adapters) visits_.forget();
  }

  const TrafficRequest& r_;
  const model::ModelLayout& layout_;
  const model::ModelLayout& trained_;
  int64_t ranks_;
  int64_t each_;
  VisitOrder visits_;
  TrafficTable table_;
  std::vector<layout::Rows> dealt_;  // of the micro-batch at hand, to the ring
};

}  // namespace

TrafficTable foresee_traffic(const TrafficRequest& request) { return Foresight(request).all(); }

TrafficTable counted_traffic(const dist::Mesh& mesh, std::span<const Span> spans) {
  TrafficTable table;
  for (const Span span : spans) {
    for (size_t c = 0; c < dist::kCollectives; ++c) {
      const auto collective = static_cast<Collective>(c);
      const dist::Traffic traffic = mesh.group(span).traffic(collective);
      if (traffic.calls > 0) table[{span, collective}] = traffic;
    }
  }
  return table;
}

TrafficTable since(const TrafficTable& before, TrafficTable now) {
  for (auto& [row, traffic] : now) {
    const auto found = before.find(row);
    if (found == before.end()) continue;
    traffic.calls -= found->second.calls;
    traffic.bytes -= found->second.bytes;
    traffic.overlapped -= found->second.overlapped;
    traffic.exposed -= found->second.exposed;
  }
  std::erase_if(now, [](const auto& row) { return row.second.calls == 0; });
  return now;
}

int64_t paper_bytes(const TrafficRequest& r, Span span) {
  const int64_t each = element_bytes(r.dtype);
  const auto passes = static_cast<int64_t>(r.batches.size());
  if (span == Span::kShards && r.sharding.weights()) {
    const int64_t ranks = r.sharding.ranks;
    const int64_t bytes =
        2 * each * r.model->layout.numel() + kFloat * r.model->trained_layout().numel();
    return r.steps * passes * bytes * (ranks - 1) / ranks;
  }
  if (span == Span::kUlysses && r.mesh.ulysses > 1) {
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

}  // namespace trireme::engine
