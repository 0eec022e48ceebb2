#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/nearest.h"
#include "base/openmp.h"
#include "base/result.h"
#include "base/version.h"
#include "cli/ending.h"
#include "config/launch.h"
#include "verb_table.h"

namespace {

using trireme::VerbEntry;

int usage(std::FILE* stream) {
  fmt::print(stream,
             "usage: trireme VERB [options]   (trireme VERB --help lists them)\n"
             "       trireme --version\n\n");
  for (const VerbEntry& verb : trireme::verb_table()) {
    fmt::print(stream, "  {:<10} {}\n", verb.name, verb.help);
  }
  fmt::print(stream, "{}", trireme::build_note());
  return stream == stdout ? 0 : 2;
}

int print_version() {
  fmt::print("trireme {} (commit {}, CUDA {}, torch {})\n", trireme::version(), trireme::commit(),
             trireme::cuda_architectures(), trireme::torch_version());
  return 0;
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.empty()) return usage(stderr);
  if (arguments[0] == "--help" || arguments[0] == "-h") return usage(stdout);
  if (arguments[0] == "--version") return print_version();
  std::vector<std::string> names;
  for (const VerbEntry& verb : trireme::verb_table()) {
    if (verb.name == arguments[0]) {
      return verb.run(trireme::cli::Arguments(arguments).subspan(1));
    }
    names.push_back(verb.name);
  }
  trireme::fail("unknown verb '{}'{}: run trireme --help for the list", arguments[0],
                trireme::did_you_mean(arguments[0], names));
}

// When ranks find the same mistake before they meet, the first reports it plainly.
std::string speaker() {
  try {
    const int64_t rank = trireme::config::read_launch().rank;
    return rank == 0 ? "" : fmt::format("rank {}: ", rank);
  } catch (const trireme::UserError&) {
    return "";  // what the launcher says of ranks is the mistake
  }
}

// What runs before the constructors of libraries.
using Start = void (*)(int, char**, char**);
[[gnu::section(".preinit_array"), gnu::used]] const Start start = trireme::shorten_openmp_spins;

}  // namespace

int main(int argc, char** argv) {
  try {
    const int status = run(std::vector<std::string>(argv + 1, argv + argc));
    trireme::flush_results();
    return status;
  } catch (const std::exception&) {
    trireme::cli::Ending ending = trireme::cli::ending_of(std::current_exception());
    ending.words = speaker() + ending.words;
    return trireme::cli::end(ending);
  }
}
