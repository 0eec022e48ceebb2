#include <exception>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/exit_status.h"
#include "base/log.h"
#include "base/nearest.h"
#include "base/openmp.h"
#include "base/result.h"
#include "base/standard_streams.h"
#include "base/version.h"
#include "cli/ending.h"
#include "config/launch.h"
#include "verb_table.h"

namespace {

using trireme::VerbEntry;

std::string usage() {
  std::string text =
      "usage: trireme VERB [options]   (trireme help VERB lists them)\n"
      "       trireme --version\n\n";
  for (const VerbEntry& verb : trireme::verb_table()) {
    text += fmt::format("  {:<10} {}\n", verb.name, verb.help);
  }
  return text + trireme::build_note();
}

int print_version() {
  trireme::print_result("trireme {} (commit {}, CUDA {}, torch {})\n", trireme::version(),
                        trireme::commit(), trireme::cuda_architectures(), trireme::torch_version());
  return trireme::kSuccess;
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    trireme::log_text(usage());
    return trireme::kUserError;
  }
  // `trireme help VERB` is `trireme VERB --help`.
  if (arguments[0] == "help" && arguments.size() > 1) return run({arguments[1], "--help"});
  if (arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help") {
    trireme::print_result_text(usage());
    return trireme::kSuccess;
  }
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

// What runs before the constructors of libraries, which may open files.
void prepare(int argc, char** argv, char** envp) {
  trireme::keep_standard_streams();
  trireme::shorten_openmp_spins(argc, argv, envp);
}
using Start = void (*)(int, char**, char**);
[[gnu::section(".preinit_array"), gnu::used]] const Start start = prepare;

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
