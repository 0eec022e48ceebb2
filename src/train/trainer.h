// The training loop: epochs of optimizer steps, evaluations, checkpoints, early stopping.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/stopwatch.h"
#include "config/run_config.h"
#include "data/loader.h"
#include "data/sample.h"
#include "device/machine.h"
#include "device/pacing.h"
#include "engine/executor.h"
#include "layout/model.h"
#include "plan/memory.h"
#include "state/fused_grads.h"
#include "state/grads.h"
#include "state/host_grads.h"
#include "state/host_memory.h"
#include "state/optimizer.h"
#include "state/params.h"
#include "train/checkpoint.h"
#include "train/output_folder.h"
#include "train/router_meter.h"
#include "train/run_log.h"
#include "train/schedule.h"

namespace trireme::train {

struct TrainingSamples {
  std::vector<data::TokenizedSample> train;
  std::vector<data::TokenizedSample> validation;
};

struct TrainingResult {
  int64_t steps = 0;
  std::optional<double> loss_before, loss_best;  // on the validation samples, if there are any
  int interrupted_by = 0;                        // signal
};

// Optimizer steps of the whole run: max_steps, or those of the first epoch times max_epochs
// (packing may vary the later epochs by a few).
int64_t planned_steps(const config::RunConfig& run, const TrainingSamples& samples,
                      data::DataRank rank);

// Packed sequences of a step, of all ranks.
int64_t step_size(const config::TrainingOptions& training, data::DataRank rank);

// Which micro-batches this rank computes. Ranks that share sequences compute the same ones.
data::DataRank data_rank(const dist::Mesh& mesh);

// UserError if --optimizer_in_backward is combined with gradient accumulation.
void check_optimizer_in_backward(const config::RunConfig& run);

// One optimizer step on micro-batches: gradients of the sum of losses over all ranks, divided by
// all their trained tokens; clipping; AdamW.
class TrainStep {
 public:
  // `weights` are sharded as `zero` says. All references outlive the step.
  TrainStep(const config::RunConfig& run, const layout::Model& model,
            const device::Machine& machine, state::Weights& weights,
            const plan::ExecutionPlan& plan, state::HostMemory& host, device::Phases& phases,
            const dist::Mesh& mesh, const state::Zero& zero);

  struct Outcome {
    std::vector<at::Tensor> losses;  // sums over this rank's micro-batches, one each; on the device
    // Before clipping, of all ranks; on the device. Not finite: the step was skipped, see AdamW.
    at::Tensor grad_norm;
    model::RouterLoad router;  // sums over the micro-batches

    at::Tensor loss() const;  // their sum, which is another tensor
  };
  Outcome run(const data::StepBatches& batches, double learning_rate);
  // Goes on after that progress; the optimizer's moments are set in place.
  void resume(const io::Progress& progress);
  int64_t micro_batches() const { return micro_batches_; }  // so far, of all ranks
  engine::Executor& executor() { return executor_; }
  state::AdamW& optimizer() { return optimizer_; }
  const state::AdamW& optimizer() const { return optimizer_; }
  const device::Phases& phases() const { return phases_; }

 private:
  device::Phases& phases_;
  state::Weights& weights_;
  uint64_t seed_;
  data::DataRank rank_;
  int64_t steps_ = 0;
  int64_t micro_batches_ = 0;  // of all ranks so far: each has dropout masks of its own
  engine::Executor executor_;
  state::AdamW optimizer_;
  std::unique_ptr<state::GradStore> grads_;
};

class Trainer {
 public:
  // `record` says what checkpoints are of. All references outlive the trainer.
  Trainer(const config::RunConfig& run, const TrainingSamples& samples, TrainStep& step,
          const device::Machine& machine, const plan::MemoryPlan& plan, const dist::Mesh& mesh,
          OutputFolder& output, CheckpointWriter& writer, RunLog& log, io::Record record);

  // Goes on from there. Weights and moments have been set. saved_here: a checkpoint of it is in the
  // output folder.
  void resume(const io::Progress& progress, bool saved_here);
  TrainingResult run();

 private:
  bool ended() const;
  // Returns whether it was saved.
  bool save_best();
  void save_checkpoint(const char* why);
  // Counts a save that failed, on all ranks. UserError: too many in a row. Returns whether it was
  // saved.
  bool saved(const CheckpointWriter::Outcome& outcome);
  void checkpoint_ended(const CheckpointWriter::Outcome& outcome, const std::string& why);
  // The next stage of a checkpoint in the background, and all that are left.
  void advance_saving();
  void finish_saving();
  io::Window window() const;
  std::vector<io::Window> all_windows() const;
  void next_epoch();
  void train_epoch();
  void train_step(const data::StepBatches& batches);
  void after_step();
  // What is due after a step, or before the first: evaluation and checkpoint.
  void settle();
  // Counts and reports the step that was skipped. UserError after too many in a row.
  void skipped();
  // The sum of `sum` over all ranks, divided by `tokens`. UserError if it is not finite.
  double checked_loss(const at::Tensor& sum, int64_t tokens) const;
  // What any rank has met, the same on all.
  struct Agreed {
    int signal = 0;        // that a rank was sent; 0: none
    double seconds = 0;    // the longest of the given
    double unsaved = 0;    // the longest time since the last checkpoint
    bool writing = false;  // a rank has not done what a checkpoint in the background waits for
  };
  Agreed agreed(double seconds = 0) const;
  // Throws Interrupted on all ranks if one was sent a signal and the step may be given up.
  void between_layers(bool in_backward);
  void report();
  void evaluate();          // before the first step: only reported
  EvalReport validation();  // over all ranks: what they have found
  void keep_if_best(double loss);
  void stop_for_interrupt(int signal);

  const config::RunConfig& run_;
  const TrainingSamples& samples_;
  TrainStep& step_;
  const device::Machine& machine_;
  const plan::MemoryPlan& plan_;
  const dist::Mesh& mesh_;
  data::DataRank rank_;
  OutputFolder& output_;
  CheckpointWriter& writer_;
  RunLog& log_;
  io::Record record_;
  io::Progress& progress_;  // in the record
  Schedule schedule_;
  int interrupted_by_ = 0;  // signal
  // So that a signal does not wait for their end; of the first it is not known.
  bool long_steps_ = true;
  double step_seconds_ = 0;  // of the last step
  device::Pacing pacing_;
  int64_t saved_at_ = -1;  // step of the last checkpoint
  Stopwatch since_save_;
  double save_seconds_ = 0;      // that training waited for the checkpoint in the background
  int64_t failed_saves_ = 0;     // in a row
  int64_t bad_micro_batch_ = 0;  // of the last step, this rank's first: its number over all, from 1
  double window_loss_ = 0;       // this rank's, since the last report
  RouterMeter window_router_;
};

}  // namespace trireme::train
