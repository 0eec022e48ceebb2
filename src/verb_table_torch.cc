#include "cli/verbs.h"
#include "run/verbs.h"
#include "verb_table.h"

namespace trireme {

const std::vector<VerbEntry>& verb_table() {
  static const std::vector<VerbEntry> list = {
      {"train", run::run_train, "fine-tune a Hugging Face model on reviews"},
      {"data", cli::run_data, "count, measure and show the samples of a data file"},
      {"tokenize", cli::run_tokenize, "text to token ids and back, a line each"},
      {"inspect", cli::run_inspect,
       "what a model, adapter or checkpoint holds; whether it is whole"},
      {"generate", run::run_generate, "write a review, or continue a prompt"},
      {"export", run::run_export, "merge an adapter into its model, or rewrite it"},
      {"bench", run::run_bench, "time the training step of a model on random tokens"},
      {"dump", run::run_dump, "one forward and backward: loss, logits, gradients to a file"},
  };
  return list;
}

const char* build_note() { return ""; }

}  // namespace trireme
