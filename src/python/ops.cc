// What Python has of trireme: operators of the namespace `trireme`, which
// python/trireme/attention.py loads. torch calls them without the interpreter's lock. Every
// argument may be wrong, and what is wrong is a ValueError.
//
// Ranks that share a sequence are named by two process groups, `ring` and `ulysses`, as c10d's
// functional collectives name theirs; "" is a group of one. `starts` [n+1] are the offsets
// 0, ..., T of documents, on the host.
//
// The package is attention and nothing above it: CMake under pip (SKBUILD) stops after `attention`
// and links this file into one library. The operators describe the rank anew in each call, which
// takes 1.6 ms for a million tokens of 30,000 documents. Nothing that a caller can get wrong
// reaches a TRIREME_CHECK.
#undef TORCH_ASSERT_ONLY_METHOD_OPERATORS

#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <functional>
#include <tuple>
#include <utility>

#include "attention/ranks.h"
#include "base/error.h"
#include "config/choices.h"
#include "config/mesh_spec.h"
#include "config/sequence_parallel.h"
#include "dist/group.h"
#include "layout/sequence.h"
#include "ops/to_device.h"

namespace trireme::python {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Options have no dashes in Python.
std::string without_dashes(std::string text) {
  for (size_t at = 0; (at = text.find("--", at)) != std::string::npos;) text.erase(at, 2);
  return text;
}

template <typename Body>
auto user_errors_as_python_has_them(const Body& body) {
  try {
    return body();
  } catch (const UserError& error) {
    TORCH_CHECK_VALUE(false, without_dashes(error.what()));
  }
}

// "ulysses, ring or hybrid"
template <typename Choice>
std::string words_of() {
  std::string text;
  const auto& words = config::kWords<Choice>;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
    text += words[i];
  }
  return text;
}

template <typename Choice>
Choice choice_of(const std::string& text, const char* name) {
  const auto found = config::choice_of<Choice>(text);
  TORCH_CHECK_VALUE(found.has_value(), name, " '", text, "' is not known: ", words_of<Choice>());
  return *found;
}

config::RingOrder order_of(const std::string& text) {
  return choice_of<config::RingOrder>(text, "ring_order");
}

dist::Group group_of(const std::string& name, const at::Device& device) {
  return name.empty() ? dist::Group() : dist::Group(name, device.type());
}

std::vector<int64_t> documents(const Tensor& starts) {
  TORCH_CHECK_VALUE(starts.is_cpu() && starts.dim() == 1 && starts.scalar_type() == at::kLong,
                    "starts: a one-dimensional int64 tensor on the CPU is expected, not ",
                    starts.scalar_type(), " ", starts.sizes(), " on ", starts.device());
  const Tensor list = starts.contiguous();
  const auto* first = list.const_data_ptr<int64_t>();
  std::vector<int64_t> offsets(first, first + list.numel());
  const auto fall = std::ranges::adjacent_find(offsets, std::ranges::greater_equal());
  TORCH_CHECK_VALUE(offsets.size() >= 2 && offsets.front() == 0 && fall == offsets.end(),
                    "starts: offsets of documents ascend from 0 to the number of tokens, and no "
                    "document is empty");
  return offsets;
}

void check(const Tensor& q, const Tensor& k, const Tensor& v) {
  TORCH_CHECK_VALUE(q.dim() == 3 && k.dim() == 3 && k.sizes() == v.sizes() &&
                        q.size(0) == k.size(0) && q.size(2) == k.size(2) && k.size(1) > 0 &&
                        q.size(1) % k.size(1) == 0,
                    "q [S,H,D], k [S,K,D] and v [S,K,D] are expected, K dividing H, not ",
                    q.sizes(), ", ", k.sizes(), " and ", v.sizes());
  const auto kind = [](const Tensor& x) { return std::pair(x.scalar_type(), x.device()); };
  TORCH_CHECK_VALUE(kind(q) == kind(k) && kind(q) == kind(v),
                    "q, k and v are of one type and on one device, not ", q.scalar_type(), " ",
                    q.device(), ", ", k.scalar_type(), " ", k.device(), " and ", v.scalar_type(),
                    " ", v.device());
  const at::ScalarType type = q.scalar_type();
  TORCH_CHECK_VALUE((q.is_cpu() || q.is_cuda()) &&
                        (type == at::kFloat || type == at::kBFloat16 || type == at::kHalf),
                    "attention is computed in float32, bfloat16 or float16 on cpu or cuda, not in ",
                    type, " on ", q.device());
}

// What the arguments of an operator describe.
struct Rank {
  Rank(const Tensor& q, const Tensor& offsets, double scale, const std::string& ring_name,
       const std::string& ulysses_name, const std::string& order)
      : starts(documents(offsets)),
        ring(group_of(ring_name, q.device())),
        ulysses(group_of(ulysses_name, q.device())),
        share(layout::share(starts, {ring.index(), ring.size()}, {ulysses.index(), ulysses.size()},
                            order_of(order))) {
    config::check_heads(q.size(1), ulysses.size());
    const int64_t rows = layout::size(share.rows);
    TORCH_CHECK_VALUE(q.size(0) == rows, "q has ", q.size(0), " rows, but this rank has ", rows,
                      " of the documents' ", starts.back());
    attention = attention::of_ranks(starts, share, ring, ulysses, q.device(), scale);
  }

  std::vector<int64_t> starts;
  dist::Group ring, ulysses;
  layout::Share share;
  std::unique_ptr<attention::Attention> attention;
};

// -> out [S,H,D], lse [H,S], or, with Ulysses, of all its ranks' rows and this rank's heads.
std::tuple<Tensor, Tensor> forward(const Tensor& q, const Tensor& k, const Tensor& v,
                                   const Tensor& starts, double scale, std::string ring,
                                   std::string ulysses, std::string order) {
  return user_errors_as_python_has_them([&] {
    check(q, k, v);
    const Rank rank(q, starts, scale, ring, ulysses, order);
    auto [out, lse] = rank.attention->forward(q.contiguous(), k.contiguous(), v.contiguous());
    return std::tuple(out, lse);
  });
}

std::tuple<Tensor, Tensor, Tensor> backward(const Tensor& dout, const Tensor& q, const Tensor& k,
                                            const Tensor& v, const Tensor& out, const Tensor& lse,
                                            const Tensor& starts, double scale, std::string ring,
                                            std::string ulysses, std::string order) {
  return user_errors_as_python_has_them([&] {
    check(q, k, v);
    TORCH_CHECK_VALUE(dout.sizes() == q.sizes() && out.sizes() == q.sizes(),
                      "dout and out have the shape of q");
    const Rank rank(q, starts, scale, ring, ulysses, order);
    const auto grads =
        rank.attention->backward(dout.contiguous(), q.contiguous(), k.contiguous(), v.contiguous(),
                                 {out.contiguous(), lse.contiguous()});
    return std::tuple(grads.dq, grads.dk, grads.dv);
  });
}

template <typename Signature>
c10::TypedOperatorHandle<Signature> operator_named(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

// Both ways go through the dispatcher, so that what watches operators (selective checkpointing,
// profilers) sees these.
struct Differentiable : torch::autograd::Function<Differentiable> {
  static variable_list forward(AutogradContext* context, const Tensor& q, const Tensor& k,
                               const Tensor& v, const Tensor& starts, double scale,
                               const std::string& ring, const std::string& ulysses,
                               const std::string& order) {
    static const auto op = operator_named<decltype(python::forward)>("trireme::attention");
    const at::AutoDispatchBelowADInplaceOrView guard;
    auto [out, lse] = op.call(q, k, v, starts, scale, ring, ulysses, order);
    context->save_for_backward({q, k, v, out, lse, starts});
    context->saved_data["scale"] = scale;
    context->saved_data["ring"] = ring;
    context->saved_data["ulysses"] = ulysses;
    context->saved_data["order"] = order;
    context->mark_non_differentiable({lse});
    return {out, lse};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    static const auto op =
        operator_named<decltype(python::backward)>("trireme::attention_backward");
    const variable_list x = context->get_saved_variables();
    auto& data = context->saved_data;
    auto [dq, dk, dv] = op.call(grads[0], x[0], x[1], x[2], x[3], x[4], x[5],
                                data["scale"].toDouble(), data["ring"].toStringRef(),
                                data["ulysses"].toStringRef(), data["order"].toStringRef());
    return {dq, dk, dv, {}, {}, {}, {}, {}};
  }
};

std::tuple<Tensor, Tensor> differentiable(const Tensor& q, const Tensor& k, const Tensor& v,
                                          const Tensor& starts, double scale, std::string ring,
                                          std::string ulysses, std::string order) {
  const variable_list results = Differentiable::apply(q, k, v, starts, scale, ring, ulysses, order);
  return {results[0], results[1]};
}

// Flat positions, ascending, of the rows of one of ring x ulysses ranks; and as layout::Dealt's
// `uneven`.
std::tuple<Tensor, std::string> rows(const Tensor& starts, int64_t ring, int64_t ring_index,
                                     int64_t ulysses, int64_t ulysses_index, std::string order) {
  TORCH_CHECK_VALUE(
      0 <= ring_index && ring_index < ring && 0 <= ulysses_index && ulysses_index < ulysses,
      "a rank is one of its group's");
  return user_errors_as_python_has_them([&] {
    const layout::Share share = layout::share(documents(starts), {ring_index, ring},
                                              {ulysses_index, ulysses}, order_of(order));
    std::vector<int64_t> positions;
    positions.reserve(layout::size(share.rows));
    for (const layout::Range& range : share.rows) {
      for (int64_t i = range.first; i < range.end; ++i) positions.push_back(i);
    }
    return std::tuple(ops::to_device(positions, at::kCPU), share.ring.uneven);
  });
}

// The rank's groups in the mesh that the program makes of these options: places among `size` ranks.
std::tuple<std::vector<int64_t>, std::vector<int64_t>> groups(std::string type, int64_t size,
                                                              int64_t rank, int64_t ulysses_size,
                                                              int64_t heads, int64_t kv_heads,
                                                              int64_t local_ranks) {
  const auto kind = choice_of<config::SequenceParallelType>(type, "sequence_parallel_type");
  TORCH_CHECK_VALUE(
      0 <= rank && rank < size && ulysses_size >= 0 && heads > 0 && kv_heads > 0 && local_ranks > 0,
      "ulysses_size ", ulysses_size, ", ", heads, " heads, ", kv_heads,
      " key heads: numbers of ranks and heads are positive");
  return user_errors_as_python_has_them([&] {
    const config::RankOptions options{.sequence_parallel_size = size,
                                      .sequence_parallel_type = kind,
                                      .ulysses_size = ulysses_size};
    const config::SequenceDegrees found =
        config::sequence_degrees(options, heads, kv_heads, local_ranks);
    const config::MeshSpec mesh{.ring = found.ring, .ulysses = found.ulysses};
    return std::tuple(config::group_of(mesh, config::Axis::kRing, rank),
                      config::group_of(mesh, config::Axis::kUlysses, rank));
  });
}

// x [n, ...] of each rank -> [size n, ...], through what attention goes through.
Tensor all_gather(const Tensor& x, std::string group) {
  return user_errors_as_python_has_them([&] {
    const dist::Group ranks = group_of(group, x.device());
    std::vector<int64_t> sizes = x.sizes().vec();
    TORCH_CHECK_VALUE(!sizes.empty(), "a scalar has no rows to gather");
    sizes[0] *= ranks.size();
    const Tensor all = at::empty(sizes, x.options());
    ranks.all_gather(all, x.contiguous())->wait();
    return all;
  });
}

}  // namespace

TORCH_LIBRARY(trireme, m) {
  m.def(
      "attention(Tensor q, Tensor k, Tensor v, Tensor starts, float scale, str ring, str ulysses, "
      "str order) -> (Tensor out, Tensor lse)");
  m.def(
      "attention_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, "
      "Tensor starts, float scale, str ring, str ulysses, str order) -> (Tensor, Tensor, Tensor)");
  m.def(
      "rows(Tensor starts, int ring, int ring_index, int ulysses, int ulysses_index, str order) "
      "-> (Tensor rows, str uneven)",
      &rows);
  m.def(
      "groups(str type, int size, int rank, int ulysses_size, int heads, int kv_heads, int "
      "local_ranks) -> (int[] ring, int[] ulysses)",
      &groups);
  m.def("all_gather(Tensor x, str group) -> Tensor", &all_gather);
}

TORCH_LIBRARY_IMPL(trireme, CompositeExplicitAutograd, m) {
  m.impl("attention", &forward);
  m.impl("attention_backward", &backward);
}

TORCH_LIBRARY_IMPL(trireme, Autograd, m) { m.impl("attention", &differentiable); }

}  // namespace trireme::python
