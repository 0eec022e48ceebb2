#include "train/trainer.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/stopwatch.h"
#include "train/memory_report.h"

namespace trireme::train {
namespace {

// Ends a pass of the executor between two layers.
struct Interrupted {
  int signal;
};

// Steps that take longer are given up when a signal comes: torchrun kills 30 seconds after SIGTERM,
// and the state is still to be written. Then ranks ask each other before each layer, an exchange of
// some bytes over the host (0.1 ms on one machine): nothing beside a layer of such a step.
constexpr double kLongStep = 5;

constexpr int64_t kMostSkipped = 3;  // steps in a row: more of them are no accident
constexpr const char* kWhatToDo = "try a lower --learning_rate or more --warmup_steps";

state::AdamWOptions adamw_options(const config::RunConfig& run, const device::Machine& machine) {
  return {run.adam_beta1,
          run.adam_beta2,
          run.adam_epsilon,
          run.weight_decay,
          run.max_grad_norm,
          run.moments_dtype,
          static_cast<uint64_t>(run.seed),
          state::optimizer_offload(run, machine),
          run.clip_in_backward == config::ClipInBackward::kLayer,
          state::host_grads(run, machine)};
}

std::unique_ptr<state::GradStore> make_step_grads(const config::RunConfig& run,
                                                  const layout::Model& model,
                                                  const device::Machine& machine,
                                                  state::AdamW& optimizer, device::HostArena& arena,
                                                  const state::Zero& zero) {
  const layout::ModelLayout& layout = model.trained_layout();
  const bool tied = model.spec.tied;
  if (run.optimizer_in_backward) {
    return std::make_unique<state::FusedGrads>(layout, tied, machine.device,
                                               engine::overwritten_blocks(model), optimizer, zero);
  }
  if (state::host_grads(run, machine)) {
    return std::make_unique<state::HostGrads>(layout, tied, machine.device,
                                              engine::overwritten_blocks(model), arena, zero);
  }
  return engine::make_grads(model, machine.device, zero);
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

int64_t planned_steps(const config::RunConfig& run, const TrainingSamples& samples,
                      data::DataRank rank) {
  if (run.max_steps > 0) return run.max_steps;
  return data::training_epoch(samples.train, run, run, 0, rank).steps() * run.max_epochs;
}

data::DataRank data_rank(const dist::Mesh& mesh) {
  const dist::Group& group = mesh.group(config::Axis::kData);
  return {group.index(), group.size()};
}

TrainStep::TrainStep(const config::RunConfig& run, const layout::Model& model,
                     const device::Machine& machine, state::Weights& weights,
                     const plan::ExecutionPlan& plan, state::HostMemory& host,
                     device::Phases& phases, const dist::Mesh& mesh, const state::Zero& zero)
    : phases_(phases),
      weights_(weights),
      seed_(static_cast<uint64_t>(run.seed)),
      rank_(data_rank(mesh)),
      executor_(model, weights, machine.device, plan, host.activations, phases, mesh),
      optimizer_(model.trained_layout(), weights.trained(), machine.device,
                 adamw_options(run, machine), {&host.optimizer, &host.gradients}, zero),
      grads_(make_step_grads(run, model, machine, optimizer_, host.gradients, zero)) {}

TrainStep::Outcome TrainStep::run(const data::StepBatches& batches, double learning_rate) {
  TRIREME_CHECK(batches.trained_tokens > 0);
  phases_.at_step(++steps_);
  const double scale = 1.0 / static_cast<double>(batches.trained_tokens);
  optimizer_.begin(learning_rate);
  grads_->clear();
  Outcome outcome;
  for (const data::PackedBatch& batch : batches.mine) {
    // The seed depends on the micro-batch's number in the run, not on the rank that computes it.
    const int64_t number = passes_++ * rank_.ranks + rank_.index;
    const uint64_t seed = Rng(seed_ + static_cast<uint64_t>(number)).next();
    grads_->begin_pass(&batch == &batches.mine.back());
    const engine::LossSum loss = executor_.forward_backward(batch, scale, *grads_, seed);
    outcome.losses.push_back(loss.sum);
    outcome.router.add(loss.router);
  }
  const auto scope = phases_.enter("optimizer");
  outcome.grad_norm = grads_->update(optimizer_);
  weights_.updated();
  return outcome;
}

at::Tensor TrainStep::Outcome::loss() const {
  at::Tensor sum = at::zeros_like(losses.front());
  for (const at::Tensor& loss : losses) sum += loss;
  return sum;
}

Trainer::Trainer(const config::RunConfig& run, const TrainingSamples& samples, TrainStep& step,
                 state::ResidentParams& params, const device::Machine& machine,
                 const plan::MemoryPlan& plan, const dist::Mesh& mesh, OutputFolder& output,
                 RunLog& log)
    : run_(run),
      samples_(samples),
      step_(step),
      params_(params),
      machine_(machine),
      plan_(plan),
      mesh_(mesh),
      rank_(data_rank(mesh)),
      output_(output),
      log_(log),
      schedule_{run.lr_scheduler_type, run.learning_rate, run.warmup_steps,
                planned_steps(run, samples, rank_), run.warmup_type},
      pacing_(machine.device),
      window_router_(step_.executor().model().spec, machine.device) {
  step_.executor().call_between_layers([this](bool in_backward) { between_layers(in_backward); });
}

TrainingResult Trainer::run() {
  evaluate();
  for (int64_t epoch = 0; !stopped_ && (run_.max_steps > 0 || epoch < run_.max_epochs); ++epoch) {
    train_epoch(epoch);
  }
  if (result_.interrupted_by != 0) return result_;
  if (skipped_steps_ == result_.steps) {
    fail("all {} steps were skipped, no weight was changed: there is no result: {}", result_.steps,
         kWhatToDo);
  }
  if (window_trained_ > 0) report();
  if (skipped_steps_ > 0) {
    warn("{} of {} steps were skipped, see metrics.jsonl", skipped_steps_, result_.steps);
  }
  if (evaluated_at_ != result_.steps) evaluate();
  if (result_.interrupted_by != 0) return result_;
  // Without validation samples the last weights are the result.
  if (!result_.loss_best) save_best();
  if (mesh_.rank() == 0) output_.finish();
  return result_;
}

void Trainer::save(const std::function<void(const model::BlockSource&)>& write) {
  device::synchronize(machine_.device);  // masters may be on their way to the host
  int64_t next = 0;
  const auto take = [&](int64_t block) {
    TRIREME_CHECK(block == next++, "blocks are gathered in their order");
    return params_.whole(block);
  };
  if (mesh_.rank() == 0) return write(take);
  while (next < std::ssize(params_.master())) take(next);
}

void Trainer::save_best() {
  save([&](const model::BlockSource& weights) { output_.save_best(weights); });
}

void Trainer::save_checkpoint(const char* why) {
  save([&](const model::BlockSource& weights) {
    log_.line(why + output_.save_checkpoint(result_.steps, weights));
  });
  saved_at_ = result_.steps;
}

void Trainer::train_epoch(int64_t epoch) {
  const data::Epoch epoch_batches = data::training_epoch(samples_.train, run_, run_, epoch, rank_);
  const int64_t steps = epoch_batches.steps();
  for (int64_t i = 0; i < steps && !stopped_; ++i) {
    try {
      train_step(epoch_batches.batches(i));
    } catch (const Interrupted& interrupted) {
      return stop_for_interrupt(interrupted.signal);  // the weights are those before the step
    }
    epoch_ = static_cast<double>(epoch) + static_cast<double>(i + 1) / static_cast<double>(steps);
    after_step(i + 1, steps);
  }
}

void Trainer::train_step(const data::StepBatches& batches) {
  const Stopwatch clock;
  learning_rate_ = schedule_.at(result_.steps);
  const TrainStep::Outcome outcome = step_.run(batches, learning_rate_);
  ++result_.steps;
  // The one wait for the device in a step: whether it was skipped is known before anything is
  // saved.
  const double norm = outcome.grad_norm.item<double>();
  step_seconds_ = clock.seconds();
  window_seconds_ += step_seconds_;
  double sum = 0;
  bad_micro_batch_ = 0;
  for (size_t i = 0; i < outcome.losses.size(); ++i) {
    const auto loss = outcome.losses[i].item<double>();
    sum += loss;
    if (std::isfinite(loss) || bad_micro_batch_ > 0) continue;
    bad_micro_batch_ = static_cast<int64_t>(i) * rank_.ranks + rank_.index + 1;
  }
  skipped_in_a_row_ = std::isfinite(norm) ? 0 : skipped_in_a_row_ + 1;
  if (skipped_in_a_row_ > 0) return;
  window_loss_ += sum;
  ++window_steps_;
  window_router_.add(outcome.router);
  window_trained_ += batches.trained_tokens;
  window_tokens_ += batches.tokens;
  last_grad_norm_ = norm;
}

void Trainer::skipped() {
  ++skipped_steps_;
  const dist::Group& group = mesh_.control();
  const at::Tensor bad = at::zeros({group.size()}, at::kLong);
  bad.mutable_data_ptr<int64_t>()[group.index()] = bad_micro_batch_;
  group.all_reduce(bad)->wait();
  int64_t first = 0;
  for (int64_t rank = 0; rank < group.size(); ++rank) {
    const int64_t number = bad.const_data_ptr<int64_t>()[rank];
    if (number > 0 && (first == 0 || number < first)) first = number;
  }
  const std::string where =
      first > 0
          ? fmt::format("the loss of its micro-batch {} is not finite", first)
          : std::string("its losses are finite, the gradient is not or is too large for fp32");
  log_.skipped({result_.steps, epoch_, "no update: " + where, first, skipped_steps_});
  if (skipped_in_a_row_ < kMostSkipped) return;
  fail("steps {} to {} were skipped, {}: training ends, earlier checkpoints stand: {}",
       result_.steps - kMostSkipped + 1, result_.steps, "in the last one " + where, kWhatToDo);
}

void Trainer::after_step(int64_t done, int64_t steps_in_epoch) {
  const double before = epoch_ - 1.0 / static_cast<double>(steps_in_epoch);
  if (result_.steps == 1 && run_.memory_report) {
    log_.line(memory_report(plan_, step_.phases(), machine_));
  }
  if (skipped_in_a_row_ > 0) skipped();
  if (result_.steps % run_.logging_steps == 0 && window_trained_ > 0) report();
  const Agreed agreed = this->agreed(step_seconds_);
  if (agreed.signal != 0) return stop_for_interrupt(agreed.signal);
  long_steps_ = agreed.seconds > kLongStep;
  if (crossed(before, epoch_, run_.eval_every)) evaluate();
  if (result_.interrupted_by != 0) return;  // its state is saved
  save_due_ |= run_.save_steps > 0 && result_.steps % run_.save_steps == 0;
  if (save_due_ && skipped_in_a_row_ == 0) {
    save_checkpoint("saved ");
    save_due_ = false;
  }
  if (run_.max_steps > 0 && result_.steps >= run_.max_steps) stopped_ = true;
}

Trainer::Agreed Trainer::agreed(double seconds) const {
  const dist::Group& group = mesh_.control();
  const at::Tensor all = at::zeros({group.size(), 2}, at::kDouble);
  auto* mine = all.mutable_data_ptr<double>() + 2 * group.index();
  mine[0] = interrupted(), mine[1] = seconds;
  group.all_reduce(all)->wait();
  const at::Tensor most = all.amax({0});
  const auto* values = most.const_data_ptr<double>();
  return {static_cast<int>(values[0]), values[1]};
}

void Trainer::between_layers(bool in_backward) {
  // An optimizer in backward has updated some weights already: the step is finished.
  if (!long_steps_ || (in_backward && run_.optimizer_in_backward)) return;
  pacing_.pace();
  if (const int signal = agreed().signal; signal != 0) throw Interrupted{signal};
}

double Trainer::checked_loss(const at::Tensor& sum, int64_t tokens) const {
  mesh_.group(config::Axis::kData).all_reduce(sum)->wait();
  const double loss = sum.item<double>() / static_cast<double>(tokens);
  if (std::isfinite(loss)) return loss;
  fail(
      "the loss is {} after step {} (learning rate {:.3g}): training ends, earlier checkpoints "
      "stand: {}",
      loss, result_.steps, learning_rate_, kWhatToDo);
}

void Trainer::report() {
  const at::TensorOptions options = at::TensorOptions(at::kDouble).device(machine_.device);
  double loss = checked_loss(at::full({}, window_loss_, options), window_trained_);
  const auto router = window_router_.take(mesh_.group(config::Axis::kData));
  // As transformers' Trainer: a step adds the term of each of its micro-batches.
  if (router) loss += router->term * router->micro_batches / static_cast<double>(window_steps_);
  log_.step({result_.steps, epoch_, loss, learning_rate_, last_grad_norm_, skipped_steps_,
             window_tokens_, window_seconds_, step_.phases().total().bytes(machine_.device),
             router});
  window_loss_ = window_seconds_ = 0;
  window_trained_ = window_tokens_ = window_steps_ = 0;
}

EvalReport Trainer::validation() {
  const data::Epoch epoch_batches =
      data::evaluation_epoch(samples_.validation, run_, run_.eval_batch_size, rank_);
  at::Tensor sum = at::zeros({}, at::TensorOptions(at::kFloat).device(machine_.device));
  int64_t tokens = 0;
  RouterMeter router(step_.executor().model().spec, machine_.device);
  for (int64_t i = 0; i < epoch_batches.steps(); ++i) {
    if (const int signal = agreed().signal; signal != 0) throw Interrupted{signal};
    const data::StepBatches batches = epoch_batches.batches(i);
    for (const data::PackedBatch& batch : batches.mine) {
      const engine::LossSum loss = step_.executor().forward(batch);
      sum.add_(loss.sum);
      router.add(loss.router);
    }
    tokens += batches.trained_tokens;
  }
  EvalReport found{.loss = checked_loss(sum, tokens), .tokens = tokens};
  found.router = router.take(mesh_.group(config::Axis::kData));
  if (found.router) found.loss += found.router->term;
  return found;
}

void Trainer::evaluate() {
  if (samples_.validation.empty()) return;
  const Stopwatch clock;
  const bool before = result_.steps == 0;
  EvalReport found;
  try {
    found = validation();
  } catch (const Interrupted& interrupted) {
    return stop_for_interrupt(interrupted.signal);
  }
  found.step = result_.steps;
  found.epoch = epoch_;
  found.seconds = clock.seconds();
  found.best = !before && (!result_.loss_best || found.loss < *result_.loss_best);
  log_.evaluation(found);
  evaluated_at_ = result_.steps;
  if (before) {
    result_.loss_before = found.loss;
  } else {
    keep_if_best(found.loss);
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
    save_best();
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
  // Its weights are these: writing them again would only take the launcher's patience.
  if (saved_at_ == result_.steps)
    return log_.line("interrupted: the last checkpoint is of this step");
  save_checkpoint("interrupted: saved ");
}

}  // namespace trireme::train
