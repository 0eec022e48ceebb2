// replay FOLDER: reads every file of FOLDER/<target>/ with its target. Exit status 1 with findings,
// or where a target has no inputs or a folder no target. The input that is read is printed first:
// where a reader ends the process, it is the last line.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "targets.h"

namespace {

namespace fs = std::filesystem;
using trireme::fuzz::Target;

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> entries(fs::directory_iterator(folder), fs::directory_iterator{});
  std::ranges::sort(entries);
  return entries;
}

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

int replay(const Target& target, const fs::path& folder) {
  int findings = 0;
  for (const fs::path& path : sorted_entries(folder)) {
    fmt::print("{}\n", path.string());
    std::fflush(stdout);
    const std::string wrong = trireme::fuzz::finding(target, content(path));
    if (!wrong.empty()) fmt::print("FINDING: {}\n", wrong);
    findings += wrong.empty() ? 0 : 1;
  }
  return findings;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto targets = trireme::fuzz::targets();
  int findings = 0;
  for (const fs::path& folder : sorted_entries(argv[1])) {
    const std::string name = folder.filename().string();
    if (std::ranges::find(targets, name, &Target::name) != targets.end()) continue;
    fmt::print("FINDING: {}: no target of this name\n", folder.string());
    ++findings;
  }
  for (const Target& target : targets) {
    const fs::path folder = fs::path(argv[1]) / target.name;
    if (fs::is_directory(folder)) {
      findings += replay(target, folder);
    } else {
      fmt::print("FINDING: {}: no inputs for this target\n", folder.string());
      ++findings;
    }
  }
  return findings == 0 ? 0 : 1;
}
