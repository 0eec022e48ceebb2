// progress.json of a checkpoint: how far its run had come, all of the trainer's state but the
// weights and the optimizer's. It is kept as it is, so that a run that resumes does what the other
// would have done. Beside it stands what the run trained on what.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/json.h"
#include "io/manifest.h"

namespace trireme::io {

// What one rank has summed over its micro-batches since the last report, without skipped steps.
struct Window {
  double loss = 0;
  double router_loss = 0;  // where experts are balanced; see model::RouterLoad
  int64_t router_micro_batches = 0;
  std::vector<double> router_choices;  // [layers, E], or nothing
};

struct Progress {
  int64_t steps = 0;          // optimizer steps, skipped ones included
  int64_t epoch = 0;          // of the next step, from 0
  int64_t sequences = 0;      // packed ones of that epoch that its steps have had
  int64_t micro_batches = 0;  // of all ranks: each has dropout masks of its own
  int64_t tokens = 0;         // of all ranks, padding not counted
  double epochs = 0;          // done, with the part of the current one

  std::optional<double> loss_before, loss_best;  // on the validation samples, if there are any
  int64_t evaluated_at = -1;                     // step of the last evaluation
  int64_t evaluations_since_best = 0;            // as patience counts
  bool evaluation_due = true;                    // the first one is before the first step
  bool save_due = false;                         // after the next step that is not skipped
  bool stopped_early = false;
  int64_t skipped_steps = 0, skipped_in_a_row = 0;

  // The last step that was not skipped had these. Clipping in backward goes by the norm, once there
  // is one.
  double learning_rate = 0;
  std::optional<double> norm;

  // Since the last report, without skipped steps.
  int64_t window_trained = 0, window_tokens = 0, window_steps = 0;
  double window_seconds = 0;
  std::vector<Window> windows;  // one a rank

  // Where another topology has other steps: sequences of a step, the steps of the
  // whole run, and the ranks that have sequences of their own.
  int64_t step_size = 0, planned_steps = 0, data_ranks = 0;
};

config::Json to_json(const Progress& progress);
// UserError naming `where` and the key.
Progress progress_of(const config::Json& json, const std::string& where);

// What a run trains, on what: {"--max_length": "2048", "the training samples": "29 with hash ..."}.
// A checkpoint of another is not resumed.
using Identity = std::map<std::string, std::string>;

// The differences of two, in words: "--max_length is 512 there and 2048 here".
std::vector<std::string> differences(const Identity& there, const Identity& here);

// progress.json.
inline constexpr const char* kProgressFile = "progress.json";
struct Record {
  Progress progress;
  Identity identity;
  config::Json options;  // as run.json has them
  // The length of metrics.jsonl by then: what follows is of steps that are done again.
  uint64_t metrics_bytes = 0;
};
std::string record_text(const Record& record, const Manifest& manifest);
// UserError naming the file and the key.
Record read_record(const std::string& folder);

}  // namespace trireme::io
