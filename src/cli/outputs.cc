#include "cli/outputs.h"

#include <algorithm>
#include <filesystem>

#include "base/env.h"
#include "base/error.h"

namespace trireme::cli {
namespace {

namespace fs = std::filesystem;

fs::path resolved(const std::string& what, const std::string& path) {
  std::error_code error;
  fs::path found = fs::absolute(path, error);
  if (!error) found = fs::weakly_canonical(found, error);
  if (error) fail("{} {}: cannot resolve its path: {}", what, path, error.message());
  return found.has_filename() ? found : found.parent_path();  // without a slash at the end
}

// Whether `inner` is `outer` or lies in it.
bool holds(const fs::path& outer, const fs::path& inner) {
  return std::ranges::mismatch(outer, inner).in1 == outer.end();
}

// What a verb reads is what all ranks must have the same of; and the run config, from which each
// rank has its options.
bool is_input(const config::Option& option, config::Verb verb) {
  return (option.verbs & verb) != 0 &&
         (option.must_match == config::MustMatch::kContent || option.name == "config");
}

void check_places(const std::string& what, const std::string& path, const fs::path& output) {
  const auto home = env("HOME");
  if (home && holds(output, resolved("the home folder", *home))) {
    fail("{} {}: is or holds the home folder: choose a folder inside it", what, path);
  }
  const fs::path current = resolved("the current folder", ".");
  if (output == output.root_path() || (output != current && holds(output, current))) {
    fail("{} {}: holds the current folder, {}: choose another", what, path, current.string());
  }
}

}  // namespace

void check_output(const config::RunConfig& run, config::Verb verb, const std::string& flag,
                  const std::string& path) {
  const std::string what = "--" + flag;
  const fs::path output = resolved(what, path);
  for (const config::Option& option : config::schema()) {
    if (!is_input(option, verb)) continue;
    const std::string source = config::option_text(run, option);
    if (source.empty()) continue;
    const fs::path input = resolved("--" + option.name, source);
    if (holds(output, input)) {
      fail("{} {}: is or holds what is read, --{} {}: choose another", what, path, option.name,
           source);
    }
    if (holds(input, output)) {
      fail("{} {}: lies in what is read, --{} {}: choose another", what, path, option.name, source);
    }
  }
  check_places(what, path, output);
}

}  // namespace trireme::cli
