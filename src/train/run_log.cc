#include "train/run_log.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/log.h"
#include "base/units.h"
#include "config/json.h"
#include "io/file.h"

namespace trireme::train {
namespace {

void add_router(config::Json& json, const std::optional<RouterReport>& router) {
  if (!router) return;
  json["router_aux_loss"] = router->loss;
  json["expert_load_max"] = router->most;
  json["expert_load_min"] = router->least;
}

}  // namespace

RunLog::RunLog(std::string metrics_path, int64_t total_steps, int64_t done)
    : path_(std::move(metrics_path)),
      total_steps_(total_steps),
      done_(done),
      terminal_(isatty(STDERR_FILENO) != 0) {}

void RunLog::step(const StepReport& r) {
  if (path_.empty()) return;
  const double rate = static_cast<double>(r.tokens) / std::max(r.seconds, 1e-9);
  config::Json json = {{"step", r.step},
                       {"epoch", r.epoch},
                       {"loss", r.loss},
                       {"learning_rate", r.learning_rate},
                       {"grad_norm", r.grad_norm},
                       {"skipped_steps", r.skipped_steps},
                       {"tokens", r.tokens},
                       {"seconds", r.seconds},
                       {"tokens_per_second", rate},
                       {"memory", r.memory}};
  add_router(json, r.router);
  io::append_line(path_, json.dump());
  const int64_t left = std::max<int64_t>(0, total_steps_ - r.step);
  const double eta = clock_.seconds() / static_cast<double>(std::max<int64_t>(r.step - done_, 1)) *
                     static_cast<double>(left);
  const std::string text = fmt::format(
      "step {}/{}  epoch {:.2f}  loss {:.4f}  {:.0f} tok/s  left {}  memory {}", r.step,
      total_steps_, r.epoch, r.loss, rate, format_duration(eta), format_bytes(r.memory));
  step_ = r.step;
  if (!terminal_) return line(text);
  log_text(fmt::format("\r\033[K{}", text));
  progress_shown_ = true;
  note_lost_lines();
}

void RunLog::skipped(const SkipReport& r) {
  if (path_.empty()) return;
  config::Json json = {{"step", r.step},
                       {"epoch", r.epoch},
                       {"skipped", r.reason},
                       {"skipped_steps", r.skipped_steps}};
  if (r.micro_batch > 0) json["micro_batch"] = r.micro_batch;
  io::append_line(path_, json.dump());
  line(fmt::format("step {}  epoch {:.2f}  skipped, {}", r.step, r.epoch, r.reason));
}

void RunLog::evaluation(const EvalReport& r) {
  if (path_.empty()) return;
  config::Json json = {{"step", r.step},          {"epoch", r.epoch},     {"eval_loss", r.loss},
                       {"eval_tokens", r.tokens}, {"seconds", r.seconds}, {"best", r.best}};
  add_router(json, r.router);
  io::append_line(path_, json.dump());
  line(fmt::format("step {}  epoch {:.2f}  validation loss {:.4f}{}", r.step, r.epoch, r.loss,
                   r.best ? "  (best so far)" : ""));
}

void RunLog::line(const std::string& text) {
  if (path_.empty()) return;
  clear_progress();
  log_line(text);
  note_lost_lines();
}

void RunLog::note_lost_lines() {
  const std::string why = log_lost();
  if (why.empty() || loss_noted_) return;
  loss_noted_ = true;
  io::append_line(
      path_, config::Json{{"event", "stderr takes no more lines: " + why}, {"step", step_}}.dump());
}

void RunLog::clear_progress() {
  if (progress_shown_) log_text("\n");
  progress_shown_ = false;
}

}  // namespace trireme::train
