#include "run/ranks.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <numeric>
#include <set>

#include "base/deadline.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/ending.h"
#include "config/sequence_parallel.h"
#include "dist/gather_texts.h"
#include "run/prepare.h"
#include "run/same_on_all_ranks.h"

namespace trireme::run {
namespace {

using config::Axis;

constexpr Axis kUsedAxes[] = {Axis::kData, Axis::kRing, Axis::kUlysses, Axis::kSequence,
                              Axis::kShards};
constexpr std::chrono::seconds kMeeting{60};             // ranks that a launcher starts together
constexpr std::chrono::seconds kTogether{3 * kMeeting};  // all that is asked until they have met

config::MeshSpec mesh_of(const config::RunConfig& run, const config::Launch& launch) {
  if (run.sequence_parallel_size == 1) return config::fill_mesh({}, launch.ranks);
  const config::ModelSpec model = model_spec(run);
  const config::SequenceDegrees degrees =
      config::sequence_degrees(run, model.heads, model.kv_heads, launch.local_ranks);
  return config::fill_mesh({.ring = degrees.ring, .ulysses = degrees.ulysses}, launch.ranks);
}

// Ends the process without destructors: they would wait for collectives with ranks that are gone.
[[noreturn]] void end_process(int status, dist::Watch& watch) {
  watch.leave();
  std::fflush(nullptr);
  std::_Exit(status);
}

cli::Ending for_another(const dist::Watch& watch, const std::string& why) {
  return cli::ending_for_another(
      fmt::format("{} stopped at {}: {}", watch.name(), watch.where(), why));
}

[[noreturn]] void end_rank(const std::exception_ptr& error, bool first, dist::Watch& watch) {
  try {
    std::rethrow_exception(error);
  } catch (const PeerFailure& failure) {
    const std::string why = fmt::format("{} ({})", watch.stop(failure), failure.what());
    end_process(cli::end(for_another(watch, why)), watch);
  } catch (...) {
    cli::Ending ending = cli::ending_of(error);
    const bool alike = watch.stop(ending.words);
    if (alike && !first) end_process(ending.status, watch);  // the first rank prints it for all
    if (!alike) {
      ending.words = fmt::format("{} failed at {}: {}", watch.name(), watch.where(), ending.words);
    }
    end_process(cli::end(ending), watch);
  }
}

// NCCL reports errors on a c10d thread, where an exception would terminate the process.
dist::Watch* watch_of_process = nullptr;

[[noreturn]] void terminated() {
  const std::exception_ptr error = std::current_exception();
  if (!error || watch_of_process == nullptr) std::abort();
  try {
    std::rethrow_exception(error);
  } catch (const c10::DistError& failure) {
    const std::string text = failure.what_without_backtrace();
    std::vector<int64_t> all(static_cast<size_t>(config::read_launch().ranks));
    std::iota(all.begin(), all.end(), 0);
    end_rank(std::make_exception_ptr(PeerFailure(text.substr(0, text.find('\n')), all)),
             /*first=*/true, *watch_of_process);
  } catch (...) {
    end_rank(error, /*first=*/true, *watch_of_process);
  }
}

// Where a rank computes.
struct Place {
  std::string device, host;
  bool operator==(const Place&) const = default;
};

std::vector<Place> gather_places(const at::Device& device, const dist::Group& control) {
  const std::vector<std::string> devices = dist::gather_texts(device.str(), control);
  const std::vector<std::string> hosts = dist::gather_texts(dist::host_name(), control);
  std::vector<Place> places;
  for (size_t r = 0; r < devices.size(); ++r) places.push_back({devices[r], hosts[r]});
  return places;
}

device::RanksOnHost sharing(const Place& mine, const std::vector<Place>& places) {
  return {std::ranges::count(places, mine.host, &Place::host), std::ranges::count(places, mine)};
}

// NCCL refuses ranks that share a device.
dist::Backend backend_of(const std::vector<Place>& places) {
  std::vector<std::string> names;
  for (const Place& place : places) names.push_back(place.device + " of " + place.host);
  const auto on_cpu = [](const std::string& name) { return name.starts_with("cpu"); };
  const auto cpus = std::ranges::count_if(names, on_cpu);
  if (cpus == std::ssize(names)) return dist::Backend::kGloo;
  if (cpus > 0) {
    fail(
        "ranks compute on different kinds of devices: {}: give --device cpu, or GPUs to all of "
        "them",
        fmt::join(names, ", "));
  }
  const std::set<std::string> different(names.begin(), names.end());
  if (different.size() == names.size()) return dist::Backend::kNccl;
  log("{} ranks share {} GPUs: what they exchange goes through host memory", names.size(),
      different.size());
  return dist::Backend::kGloo;
}

void meet(const config::RunConfig& run, config::Verb verb, const config::Launch& launch,
          Ranks& ranks) {
  const config::MeshSpec spec = mesh_of(run, launch);
  const dist::Timeouts timeouts{kMeeting, std::chrono::seconds(run.collective_timeout)};
  dist::Group control = dist::control_group(launch.ranks, launch.rank, *ranks.store, timeouts);
  check_same_on_all_ranks(run, verb, control);
  const std::vector<Place> places =
      gather_places(device::take_device(run, launch.local_rank), control);
  ranks.on_host = sharing(places[static_cast<size_t>(launch.rank)], places);
  ranks.mesh = {spec, std::move(control), *ranks.store, kUsedAxes, timeouts, backend_of(places)};
}

// No rank may exit with success before all have finished.
void wait_for_all(const dist::Group& control) {
  control.all_reduce(at::zeros({1}, at::kLong))->wait();
}

}  // namespace

int run_on_ranks(const config::RunConfig& run, config::Verb verb,
                 const std::function<int(const Ranks&)>& body) {
  const config::Launch launch = config::read_launch();
  mesh_of(run, launch);  // checks the degrees before waiting for other ranks
  if (launch.ranks == 1) return body({});
  only_warn(launch.rank != 0);
  Ranks ranks;
  // Until ranks have met, a question to the store may wait for ever for a process that hangs, and
  // nobody watches yet.
  auto deadline = std::make_unique<Deadline>(kTogether, [&] {
    std::_Exit(cli::end(cli::ending_for_another(fmt::format(
        "rank {} on {}: the ranks have not met within {} s: rank 0 at {}:{}, or a rank before this "
        "one, is there and hangs",
        launch.rank, dist::host_name(), kTogether.count(), launch.address, launch.port))));
  });
  ranks.store = dist::connect(launch, kMeeting);
  ranks.watch = std::make_unique<dist::Watch>(
      launch, ranks.store, dist::Pace{}, [](dist::Watch& watch, const std::string& sentence) {
        end_process(cli::end(for_another(watch, sentence)), watch);
      });
  watch_of_process = ranks.watch.get();
  std::set_terminate(terminated);
  try {
    meet(run, verb, launch, ranks);
    deadline.reset();
    const int status = body(ranks);
    wait_for_all(ranks.mesh.control());
    watch_of_process = nullptr;
    ranks.watch.reset();
    return status;
  } catch (...) {
    end_rank(std::current_exception(), launch.rank == 0, *ranks.watch);
  }
}

int64_t launched_ranks() {
  const config::Launch launch = config::read_launch();
  only_warn(launch.rank != 0);
  return launch.ranks;
}

device::Machine prepare_machine(const config::RunConfig& run, const Ranks& ranks) {
  device::Machine machine = device::prepare_machine(run, run, ranks.on_host);
  const dist::Group& group = ranks.mesh.control();
  const at::Tensor mine = at::empty({1, 3}, at::kLong),
                   all = at::empty({group.size(), 3}, at::kLong);
  // One maximum over ranks for all three: budgets are negated, since their minimum is wanted.
  auto* numbers = mine.mutable_data_ptr<int64_t>();
  numbers[0] = -machine.budget, numbers[1] = -machine.host_budget, numbers[2] = machine.program;
  group.all_gather(all, mine)->wait();
  const at::Tensor most = all.amax({0});
  const auto* agreed = most.const_data_ptr<int64_t>();
  machine.budget = -agreed[0], machine.host_budget = -agreed[1], machine.program = agreed[2];
  return machine;
}

}  // namespace trireme::run
