#include "cli/ranks.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "base/log.h"
#include "cli/alike.h"
#include "cli/ending.h"

namespace trireme::cli {
namespace {

using config::Span;

// What ranks agree on is exchanged among all of them.
constexpr Span kSpans[] = {Span::kWorld, Span::kData, Span::kUlysses, Span::kShards};
constexpr std::chrono::seconds kMeeting{60};  // ranks that a launcher starts together

config::MeshSpec mesh_of(const config::RunConfig& run, int64_t ranks) {
  return config::fill_mesh({.ulysses = run.sequence_parallel_size}, ranks);
}

// Without destructors: they would wait for what is pending with ranks that are gone.
[[noreturn]] void end_process(int status, dist::Watch& watch) {
  watch.leave();
  std::fflush(nullptr);
  std::_Exit(status);
}

Ending for_another(const dist::Watch& watch, const std::string& why) {
  return ending_for_another(fmt::format("{} stopped at {}: {}", watch.name(), watch.where(), why));
}

[[noreturn]] void end_rank(const std::exception_ptr& error, bool first, dist::Watch& watch) {
  try {
    std::rethrow_exception(error);
  } catch (const dist::PeerFailure& failure) {
    const std::string why = fmt::format("{} ({})", watch.stop(failure), failure.what());
    end_process(end(for_another(watch, why)), watch);
  } catch (...) {
    Ending ending = ending_of(error);
    const bool alike = watch.stop(ending.words);
    if (alike && !first) end_process(ending.status, watch);  // the first says it for all
    if (!alike) {
      ending.words = fmt::format("{} failed at {}: {}", watch.name(), watch.where(), ending.words);
    }
    end_process(end(ending), watch);
  }
}

// Nobody ends well before all have.
void wait_for_all(const Ranks& ranks) {
  ranks.mesh.group(Span::kWorld).all_reduce(at::zeros({1}, at::kLong))->wait();
}

}  // namespace

int run_on_ranks(const config::RunConfig& run, config::Verb verb,
                 const std::function<int(const Ranks&)>& body) {
  const dist::Launch launch = dist::read_launch();
  const config::MeshSpec spec = mesh_of(run, launch.ranks);
  if (launch.ranks == 1) return body({});
  only_warn(launch.rank != 0);
  Ranks ranks;
  ranks.store = dist::connect(launch, kMeeting);
  ranks.watch = std::make_unique<dist::Watch>(
      launch, ranks.store, dist::Pace{}, [](dist::Watch& watch, const std::string& sentence) {
        end_process(end(for_another(watch, sentence)), watch);
      });
  try {
    const std::chrono::seconds patience{run.collective_timeout};
    ranks.mesh = dist::Mesh(spec, launch.rank, *ranks.store, kSpans, {kMeeting, patience});
    check_alike(run, verb, ranks.mesh.group(Span::kWorld));
    const int status = body(ranks);
    wait_for_all(ranks);
    ranks.watch.reset();
    return status;
  } catch (...) {
    end_rank(std::current_exception(), launch.rank == 0, *ranks.watch);
  }
}

Ranks start_ranks(const config::RunConfig& run) {
  const dist::Launch launch = dist::read_launch();
  const config::MeshSpec spec = mesh_of(run, launch.ranks);
  dist::StorePtr store = dist::connect(launch, kMeeting);
  const std::chrono::seconds patience{run.collective_timeout};
  dist::Mesh mesh(spec, launch.rank, *store, kSpans, {kMeeting, patience});
  return {std::move(store), nullptr, std::move(mesh)};
}

int64_t launched_ranks() {
  const dist::Launch launch = dist::read_launch();
  only_warn(launch.rank != 0);
  return launch.ranks;
}

engine::Machine agreed(engine::Machine machine, const Ranks& ranks) {
  const dist::Group& group = ranks.mesh.group(Span::kWorld);
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
