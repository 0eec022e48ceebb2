#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/nearest.h"
#include "base/openmp.h"
#include "base/version.h"
#include "cli/ending.h"
#include "cli/verbs.h"
#include "dist/launch.h"

namespace {

struct VerbEntry {
  std::string name;
  int (*run)(trireme::cli::Arguments);
  const char* help;
};

const std::vector<VerbEntry>& verbs() {
  static const std::vector<VerbEntry> list = {
      {"train", trireme::cli::run_train, "fine-tune a Hugging Face model on reviews"},
      {"data", trireme::cli::run_data, "count, measure and show the samples of a data file"},
      {"tokenize", trireme::cli::run_tokenize, "text to token ids and back, a line each"},
      {"generate", trireme::cli::run_generate, "write a review, or continue a prompt"},
      {"export", trireme::cli::run_export, "merge an adapter into its model, or rewrite it"},
      {"bench", trireme::cli::run_bench, "time the training step of a model on random tokens"},
      {"dump", trireme::cli::run_dump,
       "one forward and backward: loss, logits, gradients to a file"},
  };
  return list;
}

int usage(std::FILE* stream) {
  fmt::print(stream,
             "usage: trireme VERB [options]   (trireme VERB --help lists them)\n"
             "       trireme --version\n\n");
  for (const VerbEntry& verb : verbs()) fmt::print(stream, "  {:<10} {}\n", verb.name, verb.help);
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
  for (const VerbEntry& verb : verbs()) {
    if (verb.name == arguments[0]) {
      return verb.run(trireme::cli::Arguments(arguments).subspan(1));
    }
    names.push_back(verb.name);
  }
  trireme::fail("unknown verb '{}'{}: run trireme --help for the list", arguments[0],
                trireme::did_you_mean(arguments[0], names));
}

// Of ranks that find the same mistake before they meet, the first says it plainly.
std::string speaker() {
  try {
    const int64_t rank = trireme::dist::read_launch().rank;
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
    return run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception&) {
    trireme::cli::Ending ending = trireme::cli::ending_of(std::current_exception());
    ending.words = speaker() + ending.words;
    return trireme::cli::end(ending);
  }
}
