#include "device/profile.h"

#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <array>
#include <memory>

#include "io/temporary.h"

namespace trireme::device {
namespace {

namespace kineto = torch::autograd::profiler;

// The kind of a kernel follows from its name. Our kernels' names contain the operation, most of
// them in the type of their argument.
std::string kind_of(const std::string& kernel) {
  static constexpr std::pair<const char*, const char*> kKinds[] = {
      {"flash", "attention"},
      {"fmha", "attention"},
      {"sdpa", "attention"},
      {"RmsNorm", "norm"},
      {"__nv_bfloat16 const*, __nv_bfloat16*, int, float)", "norm"},  // its forward
      {"Heads", "rotation"},
      {"Swiglu", "swiglu"},
      {"CrossEntropy", "loss"},
      {"adamw", "optimizer"},
      {"squares", "optimizer"},
      {"Route", "routing"},
      {"SortByExpert", "routing"},
      {"GatherRows", "routing"},
      {"CombineRows", "routing"},
      {"Dropout", "dropout"},
      {"GroupProblem", "grouped product"},
      {"gemm", "product"},
      {"nvjet", "product"},
      {"Mem", "copy"},
      {"nccl", "exchange"},
  };
  for (const auto& [part, kind] : kKinds) {
    if (kernel.find(part) != std::string::npos) return kind;
  }
  return kernel.find("cutlass") != std::string::npos ? "product" : "other";
}

bool is_phase(const std::string& name) {
  static constexpr std::array kPhases = {"forward", "head and loss", "backward", "optimizer"};
  return std::ranges::find(kPhases, name) != kPhases.end();
}

// Seconds in which at least one kernel runs: copies and exchanges overlap with other kernels. The
// list is in the order of their beginnings.
double covered_seconds(const std::vector<Interval>& kernels) {
  double busy = 0;
  uint64_t reached = 0;
  for (const Interval& k : kernels) {
    const uint64_t from = std::max(k.begin, reached);
    if (k.end > from) busy += static_cast<double>(k.end - from) * 1e-9;
    reached = std::max(reached, k.end);
  }
  return busy;
}

}  // namespace

Profile summarise(std::vector<Interval> kernels, const std::vector<Interval>& phases) {
  Profile profile;
  if (kernels.empty()) return profile;
  std::ranges::sort(kernels, {}, &Interval::begin);
  std::vector<Interval> computing = kernels;
  std::erase_if(computing, [](const Interval& k) { return kind_of(k.name) == "exchange"; });
  const double busy = covered_seconds(kernels);
  profile.exposed = busy - covered_seconds(computing);
  const uint64_t end = std::ranges::max(kernels, {}, &Interval::end).end;
  profile.seconds = static_cast<double>(end - kernels.front().begin) * 1e-9;
  profile.idle = profile.seconds - busy;
  std::map<std::string, KernelTime> by_name;
  for (const Interval& k : kernels) {
    const double seconds = static_cast<double>(k.end - k.begin) * 1e-9;
    const auto phase = std::ranges::find_if(
        phases, [&](const Interval& p) { return p.begin <= k.begin && k.begin < p.end; });
    const std::string name = phase == phases.end() ? "between" : phase->name;
    profile.phases[name] += seconds;
    profile.kinds[name][kind_of(k.name)] += seconds;
    KernelTime& entry = by_name[k.name];
    entry.name = k.name;
    ++entry.calls;
    entry.seconds += seconds;
  }
  for (auto& [name, entry] : by_name) profile.kernels.push_back(std::move(entry));
  std::ranges::sort(profile.kernels, std::ranges::greater{}, &KernelTime::seconds);
  return profile;
}

namespace {

std::unique_ptr<kineto::ProfilerResult> record(const Machine& machine,
                                               const std::function<void()>& work) {
  using torch::profiler::impl::ActivityType;
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  std::set<ActivityType> activities = {ActivityType::CPU};
  if (machine.device.is_cuda()) activities.insert(ActivityType::CUDA);
  kineto::prepareProfiler(config, activities);
  kineto::enableProfiler(config, activities);
  work();
  synchronize(machine.device);
  return kineto::disableProfiler();
}

}  // namespace

Profile profile(const Machine& machine, const std::function<void()>& work) {
  if (!machine.device.is_cuda()) return {};
  const auto result = record(machine, work);
  std::vector<Interval> kernels, phases;
  for (const kineto::KinetoEvent& event : result->events()) {
    if (event.deviceType() != c10::DeviceType::CUDA || event.durationNs() == 0) continue;
    if (event.name().starts_with("nccl:")) continue;  // c10d's name of a kernel that is listed too
    (is_phase(event.name()) ? phases : kernels)
        .push_back({event.name(), event.startNs(), event.endNs()});
  }
  return summarise(std::move(kernels), phases);
}

void write_timeline(const Machine& machine, const std::string& path,
                    const std::function<void()>& work) {
  const auto result = record(machine, work);
  io::replace_text(io::posix(), path, "");  // says what is wrong with the path; Kineto does not
  result->save(path);
}

}  // namespace trireme::device
