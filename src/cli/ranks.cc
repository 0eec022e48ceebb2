#include "cli/ranks.h"

#include <ATen/ops/empty.h>

#include <chrono>

#include "base/error.h"
#include "base/log.h"

namespace trireme::cli {
namespace {

using config::Span;

constexpr Span kSpans[] = {Span::kData, Span::kUlysses, Span::kShards};
constexpr std::chrono::seconds kMeeting{60};  // ranks that a launcher starts together
// A rank that is gone is told by its connections; this is for one that hangs, and no less than what
// a rank may do alone, such as writing a checkpoint.
constexpr std::chrono::seconds kCollective{600};

config::MeshSpec mesh_of(const config::RunConfig& run, int64_t ranks) {
  return config::fill_mesh({.ulysses = run.sequence_parallel_size}, ranks);
}

}  // namespace

Ranks start_ranks(const config::RunConfig& run) {
  const dist::Launch launch = dist::read_launch();
  const config::MeshSpec spec = mesh_of(run, launch.ranks);
  only_warn(launch.rank != 0);
  dist::StorePtr store = dist::connect(launch, kMeeting);
  dist::Mesh mesh(spec, launch.rank, *store, kSpans, {kMeeting, kCollective});
  return {std::move(store), std::move(mesh)};
}

int64_t launched_ranks() {
  const dist::Launch launch = dist::read_launch();
  only_warn(launch.rank != 0);
  return launch.ranks;
}

engine::Machine agreed(engine::Machine machine, const Ranks& ranks) {
  const dist::Group& group = ranks.mesh.group(Span::kShards);
  const at::Tensor mine = at::empty({1, 3}, at::kLong),
                   all = at::empty({group.size(), 3}, at::kLong);
  // All to be maximal: what is held, and what is had, negative.
  auto* numbers = mine.mutable_data_ptr<int64_t>();
  numbers[0] = -machine.budget, numbers[1] = -machine.host_budget, numbers[2] = machine.program;
  group.all_gather(all, mine)->wait();
  const at::Tensor most = all.amax({0});
  const auto* agreed = most.const_data_ptr<int64_t>();
  machine.budget = -agreed[0], machine.host_budget = -agreed[1], machine.program = agreed[2];
  return machine;
}

}  // namespace trireme::cli
