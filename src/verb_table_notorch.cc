// The table of a build without torch (cmake -DTRIREME_TORCH=OFF).
#include "base/error.h"
#include "cli/verbs.h"
#include "verb_table.h"

namespace trireme {
namespace {

int run_absent(cli::Arguments) {
  fail(
      "this verb runs a model, and this program was built without torch: build again without "
      "-DTRIREME_TORCH=OFF, or with ./dev build");
}

}  // namespace

const std::vector<VerbEntry>& verb_table() {
  static const std::vector<VerbEntry> list = {
      {"data", cli::run_data, "count, measure and show the samples of a data file"},
      {"tokenize", cli::run_tokenize, "text to token ids and back, a line each"},
      {"inspect", cli::run_inspect,
       "what a model, adapter or checkpoint holds; whether it is whole"},
      {"train", run_absent, "not in this build"},
      {"generate", run_absent, "not in this build"},
      {"export", run_absent, "not in this build"},
      {"bench", run_absent, "not in this build"},
      {"dump", run_absent, "not in this build"},
  };
  return list;
}

const char* build_note() { return "\nThis program was built without torch.\n"; }

}  // namespace trireme
