// The log of a run: a progress line on a terminal, plain lines elsewhere, and metrics.jsonl for
// programs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/stopwatch.h"

namespace trireme::train {

// Of a mixture of experts whose loss has a term that balances them.
struct RouterReport {
  double loss = 0;           // the mean over micro-batches, without its coefficient
  double term = 0;           // with it
  double micro_batches = 0;  // of all ranks
  // Tokens of the most and of the least used expert of any layer, where 1 is as many as each would
  // have in balance.
  double most = 0, least = 0;
};

// Values over the steps since the last report.
struct StepReport {
  int64_t step = 0;  // steps done
  double epoch = 0;
  double loss = 0;  // sum / trained tokens, and the term that balances experts
  double learning_rate = 0;
  double grad_norm = 0;
  int64_t skipped_steps = 0;  // since the start
  int64_t tokens = 0;
  double seconds = 0;
  int64_t memory = 0;  // peak bytes
  std::optional<RouterReport> router = {};
};

// A step without an update. JSON has no NaN: the reason is a text.
struct SkipReport {
  int64_t step = 0;
  double epoch = 0;
  std::string reason;
  int64_t micro_batch = 0;    // of the step, from 1, whose loss is not finite; 0: none's
  int64_t skipped_steps = 0;  // since the start
};

struct EvalReport {
  int64_t step = 0;
  double epoch = 0;
  double loss = 0;
  int64_t tokens = 0;  // trained tokens
  double seconds = 0;
  bool best = false;
  std::optional<RouterReport> router = {};
};

class RunLog {
 public:
  // total_steps, and those that were done before: for the remaining time. metrics_path "": logs
  // nothing (ranks other than the first).
  RunLog(std::string metrics_path, int64_t total_steps, int64_t done = 0);

  void step(const StepReport& report);
  void skipped(const SkipReport& report);
  void evaluation(const EvalReport& report);
  // Prints a line that the progress line does not overwrite.
  void line(const std::string& text);

 private:
  void clear_progress();
  // Lines for people are lost: programs that read metrics.jsonl learn of it, once.
  void note_lost_lines();

  std::string path_;
  int64_t total_steps_, done_;
  bool terminal_;
  bool progress_shown_ = false, loss_noted_ = false;
  int64_t step_ = 0;  // of the last report
  Stopwatch clock_;
};

}  // namespace trireme::train
