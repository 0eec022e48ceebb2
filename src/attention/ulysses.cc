#include "attention/ulysses.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "base/error.h"
#include "ops/words.h"

namespace trireme::attention {
namespace {

// The key heads of x [T, keys, D] that the group reads.
at::Tensor read_by(const layout::HeadGroups& of, int64_t index, const at::Tensor& x) {
  const int64_t first = index * of.group * of.keys / of.queries;
  return x.narrow(1, first, std::max<int64_t>(1, of.group * of.keys / of.queries));
}

}  // namespace

UlyssesAttention::UlyssesAttention(std::unique_ptr<Attention> whole, const dist::Group& group,
                                   std::vector<int64_t> bounds, int64_t most_bytes)
    : whole_(std::move(whole)), group_(group), total_(bounds.back()), most_bytes_(most_bytes) {
  TRIREME_CHECK(std::ssize(bounds) == group.size() + 1);
  for (size_t r = 0; r + 1 < bounds.size(); ++r) counts_.push_back(bounds[r + 1] - bounds[r]);
}

layout::HeadGroups UlyssesAttention::groups(const at::Tensor& q, const at::Tensor& k) const {
  return layout::head_groups(q.size(1), k.size(1), group_.size(),
                             total_ * q.size(2) * static_cast<int64_t>(q.element_size()),
                             most_bytes_);
}

UlyssesAttention::Exchange UlyssesAttention::to_heads(const at::Tensor& x, int64_t index,
                                                      int64_t size) const {
  const int64_t ranks = group_.size();
  return send_rows(x.unflatten(1, {ranks, x.size(1) / ranks}).narrow(2, index * size, size));
}

UlyssesAttention::Exchange UlyssesAttention::to_heads(const at::Tensor& x, int64_t repeats) const {
  const int64_t rows = x.size(0), ranks = group_.size(), dim = x.size(2);
  return send_rows(x.unsqueeze(2)
                       .expand({rows, x.size(1), repeats, dim})
                       .reshape({rows, ranks, x.size(1) * repeats / ranks, dim}));
}

// Sends parts [S, P, N, D], one for each rank.
UlyssesAttention::Exchange UlyssesAttention::send_rows(at::Tensor parts) const {
  const int64_t rows = parts.size(0), here = parts.size(2), dim = parts.size(3);
  Exchange exchange;
  exchange.in = ops::packed(parts.transpose(0, 1)).view({group_.size() * rows, here, dim});
  exchange.out = at::empty({total_, here, dim}, parts.options());
  exchange.pending = group_.all_to_all(exchange.out, exchange.in, counts_,
                                       std::vector<int64_t>(counts_.size(), rows));
  return exchange;
}

UlyssesAttention::Exchange UlyssesAttention::to_rows(const at::Tensor& x) const {
  const int64_t rows = counts_[static_cast<size_t>(group_.index())], ranks = group_.size();
  Exchange exchange;
  exchange.in = ops::packed(x);
  exchange.out = at::empty({ranks * rows, x.size(1), x.size(2)}, x.options());
  exchange.pending = group_.all_to_all(exchange.out, exchange.in,
                                       std::vector<int64_t>(counts_.size(), rows), counts_);
  return exchange;
}

at::Tensor UlyssesAttention::heads(Exchange exchange) const {
  exchange.pending->wait();
  return exchange.out;
}

at::Tensor UlyssesAttention::rows(Exchange exchange) const {
  exchange.pending->wait();
  const int64_t ranks = group_.size(), rows = exchange.out.size(0) / ranks;
  return exchange.out.view({ranks, rows, exchange.out.size(1), exchange.out.size(2)})
      .transpose(0, 1);
}

AttentionOutput UlyssesAttention::forward(const at::Tensor& q, const at::Tensor& k,
                                          const at::Tensor& v) {
  const layout::HeadGroups of = groups(q, k);
  Exchange query = to_heads(q, 0, of.group);
  Exchange key_heads = to_heads(k, of.repeats), value_heads = to_heads(v, of.repeats);
  const at::Tensor key = heads(std::move(key_heads)), value = heads(std::move(value_heads));
  AttentionOutput output{at::empty(q.sizes(), q.options()),
                         at::empty({of.queries, total_}, q.options().dtype(at::kFloat))};
  const at::Tensor out = output.out.unflatten(1, {group_.size(), of.queries});
  Exchange back;
  const auto place = [&](int64_t index) {
    ops::copy(out.narrow(2, index * of.group, of.group), rows(std::move(back)));
  };
  for (int64_t i = 0; i < of.count(); ++i) {
    const at::Tensor mine = heads(std::move(query));
    if (i + 1 < of.count()) query = to_heads(q, i + 1, of.group);
    const auto [part, lse] = whole_->forward(mine, read_by(of, i, key), read_by(of, i, value));
    output.lse.narrow(0, i * of.group, of.group).copy_(lse);
    if (i > 0) place(i - 1);
    back = to_rows(part);
  }
  place(of.count() - 1);
  return output;
}

AttentionGradients UlyssesAttention::backward(const at::Tensor& dout, const at::Tensor& q,
                                              const at::Tensor& k, const at::Tensor& v,
                                              const AttentionOutput& forward) {
  const layout::HeadGroups of = groups(q, k);
  struct Group {
    Exchange dout, query, out;
  };
  const auto post = [&](int64_t index) {
    return Group{to_heads(dout, index, of.group), to_heads(q, index, of.group),
                 to_heads(forward.out, index, of.group)};
  };
  Group next = post(0);
  Exchange key_heads = to_heads(k, of.repeats), value_heads = to_heads(v, of.repeats);
  const at::Tensor key = heads(std::move(key_heads)), value = heads(std::move(value_heads));
  const bool sums = of.shares_keys();
  const auto room = [&] {
    return sums ? at::zeros(key.sizes(), k.options().dtype(at::kFloat))
                : at::empty(key.sizes(), k.options());
  };
  const at::Tensor dkey = room(), dvalue = room();
  const auto add = [&](const at::Tensor& to, const at::Tensor& part) {
    if (sums) {
      to.add_(part);
    } else {
      ops::copy(to, part);
    }
  };
  AttentionGradients gradients{at::empty(q.sizes(), q.options()), {}, {}};
  const at::Tensor dq = gradients.dq.unflatten(1, {group_.size(), of.queries});
  Exchange back;
  const auto place = [&](int64_t index) {
    ops::copy(dq.narrow(2, index * of.group, of.group), rows(std::move(back)));
  };
  for (int64_t i = 0; i < of.count(); ++i) {
    const at::Tensor mine = heads(std::move(next.dout)), query = heads(std::move(next.query)),
                     out = heads(std::move(next.out));
    if (i + 1 < of.count()) next = post(i + 1);
    const AttentionGradients part =
        whole_->backward(mine, query, read_by(of, i, key), read_by(of, i, value),
                         {out, forward.lse.narrow(0, i * of.group, of.group)});
    add(read_by(of, i, dkey), part.dk);
    add(read_by(of, i, dvalue), part.dv);
    if (i > 0) place(i - 1);
    back = to_rows(part.dq);
  }
  Exchange dk = to_rows(dkey.to(k.scalar_type())), dv = to_rows(dvalue.to(v.scalar_type()));
  place(of.count() - 1);
  // The copies of a key head stand side by side.
  const auto summed = [&](Exchange exchange) {
    const at::Tensor all =
        ops::packed(rows(std::move(exchange))).view({k.size(0), k.size(1), of.repeats, k.size(2)});
    return of.repeats == 1 ? all.squeeze(2) : all.sum(2);
  };
  gradients.dk = summed(std::move(dk));
  gradients.dv = summed(std::move(dv));
  return gradients;
}

}  // namespace trireme::attention
