#include "base/host_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace trireme {
namespace {

constexpr int64_t kUnknown = std::numeric_limits<int64_t>::max();

// The number behind `key` in a /proc file of "Key:   123 kB" lines.
int64_t proc_bytes(const char* path, const std::string& key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with(key)) return std::stoll(line.substr(key.size())) * 1024;
  }
  return kUnknown;
}

// One number, or kUnknown for "max" and for a missing file.
int64_t file_number(const char* path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? value : kUnknown;
}

}  // namespace

int64_t host_available_bytes() {
  const int64_t machine = proc_bytes("/proc/meminfo", "MemAvailable:");
  const int64_t limit = file_number("/sys/fs/cgroup/memory.max");
  const int64_t used = file_number("/sys/fs/cgroup/memory.current");
  if (limit == kUnknown || used == kUnknown) return machine;
  return std::min(machine, std::max<int64_t>(0, limit - used));
}

int64_t host_resident_bytes() { return proc_bytes("/proc/self/status", "VmRSS:"); }

int64_t host_peak_bytes() { return proc_bytes("/proc/self/status", "VmHWM:"); }

void reset_host_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace trireme
