#include "cli/ranks.h"

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

#include "base/error.h"
#include "base/log.h"
#include "cli/alike.h"
#include "cli/ending.h"
#include "cli/prepare.h"
#include "config/sequence_parallel.h"
#include "dist/gather_texts.h"

namespace trireme::cli {
namespace {

using config::Span;

constexpr Span kSpans[] = {Span::kData, Span::kRing, Span::kUlysses, Span::kSequence,
                           Span::kShards};
constexpr std::chrono::seconds kMeeting{60};  // ranks that a launcher starts together

config::MeshSpec mesh_of(const config::RunConfig& run, const dist::Launch& launch) {
  if (run.sequence_parallel_size == 1) return config::fill_mesh({}, launch.ranks);
  const config::SequenceDegrees degrees =
      config::sequence_degrees(run, model_spec(run), launch.local_ranks);
  return config::fill_mesh({.ring = degrees.ring, .ulysses = degrees.ulysses}, launch.ranks);
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

// NCCL's errors come on a thread of c10d's, which throws them to nobody.
dist::Watch* watch_of_process = nullptr;

[[noreturn]] void terminated() {
  const std::exception_ptr error = std::current_exception();
  if (!error || watch_of_process == nullptr) std::abort();
  try {
    std::rethrow_exception(error);
  } catch (const c10::DistError& failure) {
    const std::string text = failure.what_without_backtrace();
    std::vector<int64_t> all(static_cast<size_t>(dist::read_launch().ranks));
    std::iota(all.begin(), all.end(), 0);
    end_rank(std::make_exception_ptr(dist::PeerFailure(text.substr(0, text.find('\n')), all)),
             /*first=*/true, *watch_of_process);
  } catch (...) {
    end_rank(error, /*first=*/true, *watch_of_process);
  }
}

// Where a rank computes.
struct Seat {
  std::string device, computer;
  bool operator==(const Seat&) const = default;
};

std::vector<Seat> gather_seats(const at::Device& device, const dist::Group& control) {
  const std::vector<std::string> devices = dist::gather_texts(device.str(), control);
  const std::vector<std::string> computers = dist::gather_texts(dist::host_name(), control);
  std::vector<Seat> seats;
  for (size_t r = 0; r < devices.size(); ++r) seats.push_back({devices[r], computers[r]});
  return seats;
}

engine::Neighbours neighbours_of(const Seat& mine, const std::vector<Seat>& seats) {
  return {std::ranges::count(seats, mine.computer, &Seat::computer),
          std::ranges::count(seats, mine)};
}

// NCCL refuses ranks that share a device.
dist::Wire wire_of(const std::vector<Seat>& seats) {
  std::vector<std::string> places;
  for (const Seat& seat : seats) places.push_back(seat.device + " of " + seat.computer);
  const auto on_cpu = [](const std::string& place) { return place.starts_with("cpu"); };
  const auto cpus = std::ranges::count_if(places, on_cpu);
  if (cpus == std::ssize(places)) return dist::Wire::kGloo;
  if (cpus > 0) {
    fail(
        "ranks compute on different kinds of devices: {}: give --device cpu, or GPUs to all of "
        "them",
        fmt::join(places, ", "));
  }
  const std::set<std::string> different(places.begin(), places.end());
  if (different.size() == places.size()) return dist::Wire::kNccl;
  log("{} ranks share {} GPUs: what they exchange goes through host memory", places.size(),
      different.size());
  return dist::Wire::kGloo;
}

void meet(const config::RunConfig& run, config::Verb verb, const dist::Launch& launch,
          Ranks& ranks) {
  const config::MeshSpec spec = mesh_of(run, launch);
  const dist::Timeouts timeouts{kMeeting, std::chrono::seconds(run.collective_timeout)};
  dist::Group control = dist::control_group(launch.ranks, launch.rank, *ranks.store, timeouts);
  check_alike(run, verb, control);
  const std::vector<Seat> seats =
      gather_seats(engine::take_device(run, launch.local_rank), control);
  ranks.neighbours = neighbours_of(seats[static_cast<size_t>(launch.rank)], seats);
  ranks.mesh = {spec, std::move(control), *ranks.store, kSpans, timeouts, wire_of(seats)};
}

// Nobody ends well before all have.
void wait_for_all(const dist::Group& control) {
  control.all_reduce(at::zeros({1}, at::kLong))->wait();
}

}  // namespace

int run_on_ranks(const config::RunConfig& run, config::Verb verb,
                 const std::function<int(const Ranks&)>& body) {
  const dist::Launch launch = dist::read_launch();
  mesh_of(run, launch);  // before anybody is waited for
  if (launch.ranks == 1) return body({});
  only_warn(launch.rank != 0);
  Ranks ranks;
  ranks.store = dist::connect(launch, kMeeting);
  ranks.watch = std::make_unique<dist::Watch>(
      launch, ranks.store, dist::Pace{}, [](dist::Watch& watch, const std::string& sentence) {
        end_process(end(for_another(watch, sentence)), watch);
      });
  watch_of_process = ranks.watch.get();
  std::set_terminate(terminated);
  try {
    meet(run, verb, launch, ranks);
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
  const dist::Launch launch = dist::read_launch();
  only_warn(launch.rank != 0);
  return launch.ranks;
}

engine::Machine prepare_machine(const config::RunConfig& run, const Ranks& ranks) {
  engine::Machine machine = engine::prepare_machine(run, ranks.neighbours);
  const dist::Group& group = ranks.mesh.control();
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
