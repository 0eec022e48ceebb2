#include "dist/group.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/stopwatch.h"
#include "dist/c10d.h"
#include "dist/nccl_backend.h"

namespace trireme::dist {
namespace {

class Done : public Pending {
 public:
  void wait() override {}
};

class Working : public Pending {
 public:
  Working(c10::intrusive_ptr<c10d::Work> work, std::string where, std::vector<int64_t> ranks,
          layout::Volume& volume)
      : work_(std::move(work)),
        where_(std::move(where)),
        ranks_(std::move(ranks)),
        volume_(volume) {}
  void wait() override {
    const double before = clock_.seconds();
    try {
      work_->wait();
    } catch (const std::exception& error) {
      throw PeerFailure(where_ + ": " + cause(error), ranks_);
    }
    volume_.overlapped += before;
    volume_.exposed += clock_.seconds() - before;
  }

 private:
  c10::intrusive_ptr<c10d::Work> work_;
  std::string where_;
  std::vector<int64_t> ranks_;
  layout::Volume& volume_;
  Stopwatch clock_;
};

// What one rank exchanges with itself.
PendingPtr copied(const at::Tensor& out, const at::Tensor& in) {
  out.view(-1).copy_(in.view(-1));
  return std::make_unique<Done>();
}

// Sums the parts of all ranks, in the order of ranks, once they have arrived.
class Summing : public Pending {
 public:
  Summing(PendingPtr exchange, at::Tensor parts, at::Tensor out)
      : exchange_(std::move(exchange)), parts_(std::move(parts)), out_(std::move(out)) {}
  void wait() override {
    exchange_->wait();
    out_.view(-1).copy_(parts_.view({-1, out_.numel()}).sum(0));
  }

 private:
  PendingPtr exchange_;
  at::Tensor parts_, out_;
};

// Copies the result to the device once it is in host memory.
class Returning : public Pending {
 public:
  Returning(PendingPtr exchange, at::Tensor host, at::Tensor out)
      : exchange_(std::move(exchange)), host_(std::move(host)), out_(std::move(out)) {}
  void wait() override {
    exchange_->wait();
    out_.copy_(host_);
  }

 private:
  PendingPtr exchange_;
  at::Tensor host_, out_;
};

PendingPtr returned(PendingPtr exchange, const at::Tensor& host, const at::Tensor& out) {
  return std::make_unique<Returning>(std::move(exchange), host, out);
}

at::Tensor on_host(const at::Tensor& like) {
  return at::empty(like.sizes(), like.options().device(at::kCPU));
}

int64_t bytes_of(const at::Tensor& x) { return static_cast<int64_t>(x.nbytes()); }

}  // namespace

struct Group::Impl {
  Impl(Backend kind, c10::intrusive_ptr<c10d::Backend> of_c10d, bool is_own)
      : backend(kind), c10d(std::move(of_c10d)), own(is_own) {}
  ~Impl() {
    if (own && backend == Backend::kNccl) c10d->shutdown();
  }

  Backend backend;
  c10::intrusive_ptr<c10d::Backend> c10d;
  bool own;
};

namespace {

c10::intrusive_ptr<c10d::Backend> connect(Backend backend,
                                          const c10::intrusive_ptr<c10d::Store>& place,
                                          size_t index, size_t size, const Timeouts& timeouts) {
  const auto rank = static_cast<int>(index), ranks = static_cast<int>(size);
  if (backend == Backend::kNccl) return nccl_backend(place, rank, ranks, timeouts.collective);
  auto gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(
      place, rank, ranks, c10d::ProcessGroupGloo::Options::create_default(timeouts.meeting));
  gloo->setTimeout(timeouts.collective);
  return gloo;
}

// The group's backend for `device`, or null. A backend for the CPU alone serves CUDA tensors too,
// through host memory.
c10::intrusive_ptr<c10d::Backend> backend_for(c10d::ProcessGroup& group, at::DeviceType device) {
  const auto devices = group.getDeviceTypes();
  for (const at::DeviceType type : {device, at::kCPU}) {
    if (std::ranges::find(devices, at::Device(type)) != devices.end()) {
      return group.getBackend(type);
    }
  }
  return nullptr;
}

}  // namespace

Group::Group(std::string name) : name_(std::move(name)) {}

Group::Group(std::string name, std::vector<int64_t> ranks, size_t index, const Store& store,
             const Timeouts& timeouts, Backend backend)
    : name_(std::move(name)), ranks_(std::move(ranks)), index_(index) {
  TRIREME_CHECK(index_ < ranks_.size());
  if (ranks_.size() == 1 && backend == Backend::kGloo) return;
  const auto place = c10::make_intrusive<c10d::PrefixStore>(
      fmt::format("{}/{}", name_, ranks_.front()), store.c10d);
  try {
    impl_ =
        std::make_unique<Impl>(backend, connect(backend, place, index_, ranks_.size(), timeouts),
                               /*is_own=*/true);
  } catch (const std::exception& error) {
    throw PeerFailure(fmt::format("rank {}: group {} of ranks {} did not meet: {}", ranks_[index_],
                                  name_, fmt::join(ranks_, ", "), cause(error)),
                      ranks_);
  }
}

Group::Group(const std::string& name, at::DeviceType device) : name_(name) {
  const auto group = c10d::resolve_process_group(name);
  auto backend = backend_for(*group, device);
  const std::string kind = backend ? backend->getBackendName() : "no backend";
  const bool nccl = kind == "nccl" && device == at::kCUDA;
  if (!nccl && kind != "gloo") {
    fail(
        "process group {} ({}) has {} for tensors on {}: it takes gloo{}; make one with "
        "torch.distributed.new_group(backend=\"{}\")",
        name, group->getGroupDesc(), kind, at::DeviceTypeName(device, /*lower_case=*/true),
        device == at::kCUDA ? " or nccl" : "", device == at::kCUDA ? "nccl" : "gloo");
  }
  ranks_.resize(static_cast<size_t>(group->getSize()));
  std::iota(ranks_.begin(), ranks_.end(), 0);  // of the group: the job's are not known here
  index_ = static_cast<size_t>(group->getRank());
  if (ranks_.size() == 1) return;
  impl_ = std::make_unique<Impl>(nccl ? Backend::kNccl : Backend::kGloo, std::move(backend),
                                 /*is_own=*/false);
}

Group::~Group() = default;
Group::Group(Group&&) noexcept = default;
Group& Group::operator=(Group&&) noexcept = default;

std::string Group::where(layout::Collective collective) const {
  return fmt::format("rank {}: {} in group {} of ranks {}", ranks_[index_],
                     layout::collective_name(collective), name_, fmt::join(ranks_, ", "));
}

Backend Group::backend() const { return impl_ ? impl_->backend : Backend::kGloo; }

bool Group::through_host(const at::Tensor& x) const {
  return impl_ && impl_->backend == Backend::kGloo && x.is_cuda();
}

template <typename Start>
PendingPtr Group::start(layout::Collective collective, int64_t bytes, const Start& start) const {
  layout::Volume& volume = volumes_[static_cast<size_t>(collective)];
  ++volume.calls;
  volume.bytes += bytes;
  try {
    return std::make_unique<Working>(start(), where(collective), ranks_, volume);
  } catch (const std::exception& error) {
    throw PeerFailure(where(collective) + ": " + cause(error), ranks_);
  }
}

PendingPtr Group::all_reduce(const at::Tensor& x) const {
  if (!impl_) return std::make_unique<Done>();
  if (through_host(x)) {
    const at::Tensor host = x.cpu();
    return returned(all_reduce(host), host, x);
  }
  return start(layout::Collective::kAllReduce, 2 * bytes_of(x) * (size() - 1) / size(), [&] {
    std::vector<at::Tensor> list{x};
    return impl_->c10d->allreduce(list);
  });
}

PendingPtr Group::all_gather(const at::Tensor& out, const at::Tensor& in) const {
  TRIREME_CHECK(out.numel() == size() * in.numel());
  if (!impl_) return copied(out, in);
  if (through_host(in)) {
    const at::Tensor host = on_host(out);
    return returned(all_gather(host, in.cpu()), host, out);
  }
  return start(layout::Collective::kAllGather, bytes_of(in) * (size() - 1), [&] {
    at::Tensor to = out, from = in;
    return impl_->c10d->_allgather_base(to, from);
  });
}

PendingPtr Group::reduce_scatter(const at::Tensor& out, const at::Tensor& in) const {
  TRIREME_CHECK(in.numel() == size() * out.numel());
  if (!impl_) return copied(out, in);
  if (through_host(in)) {
    const at::Tensor host = on_host(out);
    return returned(reduce_scatter(host, in.cpu()), host, out);
  }
  const int64_t bytes = bytes_of(out) * (size() - 1);
  if (impl_->backend == Backend::kNccl) {
    return start(layout::Collective::kReduceScatter, bytes, [&] {
      at::Tensor to = out, from = in;
      return impl_->c10d->_reduce_scatter_base(to, from);
    });
  }
  // Gloo's own reduce_scatter would send twice as much: it is an all_reduce of which all but a part
  // is thrown away.
  const at::Tensor parts = at::empty(in.sizes(), in.options());
  PendingPtr exchange = start(layout::Collective::kReduceScatter, bytes, [&] {
    at::Tensor to = parts, from = in;
    std::vector<int64_t> even;
    return impl_->c10d->alltoall_base(to, from, even, even);
  });
  return std::make_unique<Summing>(std::move(exchange), parts, out);
}

PendingPtr Group::all_to_all(const at::Tensor& out, const at::Tensor& in,
                             std::vector<int64_t> out_rows, std::vector<int64_t> in_rows) const {
  TRIREME_CHECK(std::ssize(out_rows) == size() && std::ssize(in_rows) == size());
  if (!impl_) return copied(out, in);
  if (through_host(in)) {
    const at::Tensor host = on_host(out);
    return returned(all_to_all(host, in.cpu(), std::move(out_rows), std::move(in_rows)), host, out);
  }
  const int64_t rows = in.size(0), others = rows - in_rows[index_];
  const int64_t bytes = rows == 0 ? 0 : bytes_of(in) / rows * others;
  return start(layout::Collective::kAllToAll, bytes, [&] {
    at::Tensor to = out, from = in;
    return impl_->c10d->alltoall_base(to, from, out_rows, in_rows);
  });
}

// ring_shift is an all_to_all with empty parts for all ranks but the next. NCCL sends nothing for
// those, in one coalesced call. Gloo's own send of CUDA tensors would end the process.
PendingPtr Group::ring_shift(const at::Tensor& out, const at::Tensor& in) const {
  if (!impl_) return copied(out, in);
  if (through_host(in)) {
    const at::Tensor host = on_host(out);
    return returned(ring_shift(host, in.cpu()), host, out);
  }
  return start(layout::Collective::kRingShift, bytes_of(in), [&] {
    std::vector<int64_t> from_each(ranks_.size()), to_each(ranks_.size());
    from_each[(index_ + ranks_.size() - 1) % ranks_.size()] = out.numel();
    to_each[(index_ + 1) % ranks_.size()] = in.numel();
    at::Tensor to = out.view(-1), from = in.view(-1);
    return impl_->c10d->alltoall_base(to, from, from_each, to_each);
  });
}

}  // namespace trireme::dist
