#include "train/memory_report.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <optional>
#include <regex>

#include "base/error.h"
#include "base/log.h"
#include "base/units.h"

namespace trireme::train {
namespace {

std::string phase_line(const device::Phases::Peak& peak, bool cuda) {
  const std::string host = fmt::format("{:>10} host", format_bytes(peak.host));
  if (!cuda) return fmt::format("  {:<20} {}\n", peak.phase, host);
  return fmt::format("  {:<20} {:>10} in tensors {:>10} taken from the driver {}\n", peak.phase,
                     format_bytes(peak.device), format_bytes(peak.reserved), host);
}

// libtorch's allocators report the requested size in their own words: "Tried to allocate 2.00 GiB",
// "you tried to allocate 8589934592 bytes".
std::optional<std::string> asked(const std::string& what) {
  static const std::regex pattern("ried to allocate ([0-9.]+) ?([KMGT]iB|bytes)");
  std::smatch match;
  if (!std::regex_search(what, match, pattern)) return std::nullopt;
  if (match[2] != "bytes") return match[1].str() + " " + match[2].str();
  return format_bytes(std::stoll(match[1]));
}

[[noreturn]] void out_of_memory(const plan::MemoryPlan& plan, const device::Phases& phases,
                                const device::Machine& machine, const std::string& wanted) {
  log("{}", memory_report(plan, phases, machine));
  const bool cuda = machine.device.is_cuda();
  // The work's memory is freed by now, so its peak is used.
  const device::Phases::Peak peak = phases.total();
  const int64_t there = cuda ? peak.reserved + machine.program : peak.host;
  // A twentieth less: the memory was not enough, or not in pieces of the requested sizes.
  const int64_t budget = std::min(there, plan.table.total()) / 20 * 19;
  fail("out of memory on the {} in {}: {} more was asked for beside {}: {}",
       cuda ? "device" : "host", phases.where(), wanted, format_bytes(there),
       plan::what_fits(plan.request, budget));
}

}  // namespace

std::string memory_report(const plan::MemoryPlan& plan, const device::Phases& phases,
                          const device::Machine& machine) {
  const bool cuda = machine.device.is_cuda();
  const device::Phases::Peak total = phases.total();
  // On the CPU, what is planned for the host is part of the same process's peak.
  const int64_t peak = total.bytes(machine.device);
  const int64_t planned =
      plan.table.total() + (cuda ? 0 : plan.table.total(plan::Residence::kHost));
  std::string text =
      fmt::format("memory of this run, as planned:\n{}\nits peak by phase:\n", plan.text());
  for (const device::Phases::Peak& phase : phases.peaks()) text += phase_line(phase, cuda);
  if (cuda) {
    const int64_t used = device::used_bytes(machine.device);
    text += fmt::format("  beside tensors: {} in fragments, {} in the context and libraries\n",
                        format_bytes(total.reserved - total.device),
                        format_bytes(std::max<int64_t>(0, used - total.reserved)));
  }
  return text + fmt::format("memory: peak {}, planned {} ({:.0f} %)", format_bytes(peak),
                            format_bytes(planned),
                            100.0 * static_cast<double>(peak) / static_cast<double>(planned));
}

config::Json peaks_json(const device::Phases& phases) {
  config::Json list = config::Json::array();
  for (const device::Phases::Peak& peak : phases.peaks()) {
    list.push_back({{"phase", peak.phase},
                    {"device", peak.device},
                    {"reserved", peak.reserved},
                    {"host", peak.host}});
  }
  return list;
}

void explain_out_of_memory(const plan::MemoryPlan& plan, const device::Phases& phases,
                           const device::Machine& machine, const std::function<void()>& work) {
  try {
    work();
  } catch (const std::bad_alloc&) {
    out_of_memory(plan, phases, machine, "memory");
  } catch (const c10::Error& error) {
    const auto wanted = asked(error.what_without_backtrace());
    if (!wanted) throw;
    out_of_memory(plan, phases, machine, *wanted);
  }
}

}  // namespace trireme::train
