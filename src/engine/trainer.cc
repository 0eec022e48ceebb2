#include "engine/trainer.h"

#include <ATen/ops/zeros.h>

#include <cmath>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/rng.h"
#include "base/stopwatch.h"
#include "engine/memory_report.h"

namespace trireme::engine {
namespace {

AdamWOptions adamw_options(const config::RunConfig& run, const Machine& machine) {
  return {run.adam_beta1,
          run.adam_beta2,
          run.adam_epsilon,
          run.weight_decay,
          run.max_grad_norm,
          moment_format(run.moments_dtype),
          static_cast<uint64_t>(run.seed),
          update_place(run, machine),
          run.clip_in_backward == "layer"};
}

// Whether `progress` crossed a multiple of `every` on its way from `before`.
bool crossed(double before, double progress, double every) {
  constexpr double kRounding = 1e-9;
  return every > 0 &&
         std::floor(progress / every + kRounding) > std::floor(before / every + kRounding);
}

}  // namespace

void check_optimizer_in_backward(const config::RunConfig& run) {
  if (!run.optimizer_in_backward || run.gradient_accumulation_steps == 1) return;
  fail(
      "--optimizer_in_backward: gradients are gone after each micro-batch, but "
      "--gradient_accumulation_steps is {}: use 1, and a larger --batch_size",
      run.gradient_accumulation_steps);
}

int64_t planned_steps(const config::RunConfig& run, const TrainingSamples& samples) {
  if (run.max_steps > 0) return run.max_steps;
  return training_epoch(samples.train, run, 0).steps() * run.max_epochs;
}

TrainStep::TrainStep(const config::RunConfig& run, const Model& model, const Machine& machine,
                     Weights& weights, const ExecutionPlan& plan, HostMemory& host, Phases& phases,
                     const dist::Mesh& mesh)
    : phases_(phases),
      seed_(static_cast<uint64_t>(run.seed)),
      executor_(model, weights, machine.device, plan, host.activations, phases, mesh),
      optimizer_(model.trained_layout(), weights.trained(), machine.device,
                 adamw_options(run, machine), &host.optimizer) {
  const model::ModelLayout& layout = model.trained_layout();
  if (run.optimizer_in_backward) {
    fused_.emplace(layout, model.spec.tied, machine.device, overwritten_blocks(model), optimizer_);
  } else {
    grads_.emplace(layout, machine.device, overwritten_blocks(model));
  }
}

TrainStep::Outcome TrainStep::run(std::span<const data::PackedBatch> batches,
                                  double learning_rate) {
  int64_t trained = 0;
  for (const data::PackedBatch& batch : batches) trained += batch.trained_tokens;
  TRIREME_CHECK(trained > 0);
  if (fused_) optimizer_.begin(learning_rate);
  GradStore& grads = fused_ ? static_cast<GradStore&>(*fused_) : *grads_;
  grads.clear();
  Outcome outcome;
  for (const data::PackedBatch& batch : batches) {
    const uint64_t seed = Rng(seed_ + static_cast<uint64_t>(passes_++)).next();
    LossSum loss =
        executor_.forward_backward(batch, 1.0 / static_cast<double>(trained), grads, seed);
    outcome.loss.sum = outcome.loss.sum.defined() ? outcome.loss.sum + loss.sum : loss.sum;
    outcome.loss.tokens += loss.tokens;
  }
  const auto scope = phases_.enter("optimizer");
  if (fused_) {
    fused_->clear();  // the next forward comes after the updates
    outcome.grad_norm = optimizer_.end();
  } else {
    outcome.grad_norm = optimizer_.step(grads_->blocks(), learning_rate);
  }
  return outcome;
}

Trainer::Trainer(const config::RunConfig& run, const TrainingSamples& samples, TrainStep& step,
                 ResidentParams& params, const Machine& machine, const MemoryPlan& plan,
                 OutputFolder& output, RunLog& log)
    : run_(run),
      samples_(samples),
      step_(step),
      params_(params),
      machine_(machine),
      plan_(plan),
      output_(output),
      log_(log),
      schedule_{run.lr_scheduler_type, run.learning_rate, run.warmup_steps,
                planned_steps(run, samples)} {}

TrainingResult Trainer::run() {
  evaluate();
  for (int64_t epoch = 0; !stopped_ && (run_.max_steps > 0 || epoch < run_.max_epochs); ++epoch) {
    train_epoch(epoch);
  }
  if (result_.interrupted_by != 0) return result_;
  if (window_trained_ > 0) report();
  if (evaluated_at_ != result_.steps) evaluate();
  if (!result_.loss_best)
    output_.save_best(trained());  // no validation samples: the last is the result
  output_.finish();
  return result_;
}

const std::vector<at::Tensor>& Trainer::trained() {
  synchronize(machine_.device);
  return params_.master();
}

void Trainer::train_epoch(int64_t epoch) {
  const Epoch plan = training_epoch(samples_.train, run_, epoch);
  const int64_t steps = plan.steps();
  for (int64_t i = 0; i < steps && !stopped_; ++i) {
    train_step(plan.batches(i));
    epoch_ = static_cast<double>(epoch) + static_cast<double>(i + 1) / static_cast<double>(steps);
    after_step(i + 1, steps);
  }
}

void Trainer::train_step(const std::vector<data::PackedBatch>& batches) {
  const Stopwatch clock;
  learning_rate_ = schedule_.at(result_.steps);
  const TrainStep::Outcome outcome = step_.run(batches, learning_rate_);
  window_loss_ = window_loss_.defined() ? window_loss_ + outcome.loss.sum : outcome.loss.sum;
  window_trained_ += outcome.loss.tokens;
  last_grad_norm_ = outcome.grad_norm;
  for (const data::PackedBatch& batch : batches) {
    window_tokens_ += static_cast<int64_t>(batch.tokens.size());
  }
  ++result_.steps;
  if (result_.steps % run_.logging_steps == 0) synchronize(machine_.device);
  window_seconds_ += clock.seconds();
}

void Trainer::after_step(int64_t done, int64_t steps_in_epoch) {
  const double before = epoch_ - 1.0 / static_cast<double>(steps_in_epoch);
  if (result_.steps == 1 && run_.memory_report) {
    log_.line(memory_report(plan_, step_.phases(), machine_));
  }
  if (result_.steps % run_.logging_steps == 0) report();
  if (const int signal = interrupted(); signal != 0) return stop_for_interrupt(signal);
  if (crossed(before, epoch_, run_.eval_every)) evaluate();
  if (run_.save_steps > 0 && result_.steps % run_.save_steps == 0) {
    log_.line("saved " + output_.save_checkpoint(result_.steps, trained()));
  }
  if (run_.max_steps > 0 && result_.steps >= run_.max_steps) stopped_ = true;
}

double Trainer::checked_loss(const at::Tensor& sum, int64_t tokens) const {
  const double loss = sum.item<double>() / static_cast<double>(tokens);
  if (std::isfinite(loss)) return loss;
  fail(
      "the loss is {} after step {} (learning rate {:.3g}): training ends, earlier checkpoints "
      "stand; try a lower "
      "--learning_rate or more --warmup_steps",
      loss, result_.steps, learning_rate_);
}

void Trainer::report() {
  const double loss = checked_loss(window_loss_, window_trained_);
  log_.step({result_.steps, epoch_, loss, learning_rate_, last_grad_norm_.item<double>(),
             window_tokens_, window_seconds_, step_.phases().total().bytes(machine_.device)});
  window_loss_.reset();
  window_trained_ = window_tokens_ = 0;
  window_seconds_ = 0;
}

void Trainer::evaluate() {
  if (samples_.validation.empty()) return;
  const Stopwatch clock;
  const Epoch plan = evaluation_epoch(samples_.validation, run_);
  at::Tensor sum = at::zeros({}, at::TensorOptions(at::kFloat).device(machine_.device));
  int64_t tokens = 0;
  for (int64_t i = 0; i < plan.steps(); ++i) {
    for (const data::PackedBatch& batch : plan.batches(i)) {
      const LossSum loss = step_.executor().forward(batch);
      sum.add_(loss.sum);
      tokens += loss.tokens;
    }
  }
  const double loss = checked_loss(sum, tokens);
  const bool before = result_.steps == 0;
  const bool best = !before && (!result_.loss_best || loss < *result_.loss_best);
  log_.evaluation({result_.steps, epoch_, loss, tokens, clock.seconds(), best});
  evaluated_at_ = result_.steps;
  if (before) {
    result_.loss_before = loss;
  } else {
    keep_if_best(loss);
  }
}

void Trainer::keep_if_best(double loss) {
  // As transformers' EarlyStoppingCallback: only an improvement by the threshold resets the
  // patience.
  const bool improved =
      !result_.loss_best || loss < *result_.loss_best - run_.early_stopping_threshold;
  evaluations_since_best_ = improved ? 0 : evaluations_since_best_ + 1;
  if (!result_.loss_best || loss < *result_.loss_best) {
    result_.loss_best = loss;
    output_.save_best(trained());
  }
  if (run_.early_stopping_patience > 0 && evaluations_since_best_ >= run_.early_stopping_patience) {
    log_.line(fmt::format("stopping early: no improvement of {} in {} evaluations",
                          run_.early_stopping_threshold, evaluations_since_best_));
    stopped_ = true;
  }
}

void Trainer::stop_for_interrupt(int signal) {
  result_.interrupted_by = signal;
  stopped_ = true;
  log_.line("interrupted: saved " + output_.save_checkpoint(result_.steps, trained()));
}

}  // namespace trireme::engine
