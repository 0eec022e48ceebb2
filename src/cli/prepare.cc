#include "cli/prepare.h"

#include <algorithm>

#include "attention/block.h"
#include "base/error.h"
#include "base/host_memory.h"
#include "base/log.h"
#include "base/stopwatch.h"
#include "base/units.h"
#include "config/shapes.h"
#include "engine/optimizer.h"
#include "engine/rank_batch.h"

namespace trireme::cli {
namespace {

// The grouped product of experts in bf16 reads 16 bytes at a time.
void check_widths(const engine::Model& model, const engine::Machine& machine) {
  const config::ModelSpec& spec = model.spec;
  if (!spec.moe || !machine.device.is_cuda() || machine.dtype == at::kFloat) return;
  const auto of_experts = [](const model::BlockLayout& block) {
    return !block.params.empty() && block.params.back().name.find(".experts.") != std::string::npos;
  };
  if (model.adapters && model.adapters->lora.rank % 8 != 0 &&
      std::ranges::any_of(model.adapters->layout.blocks, of_experts)) {
    fail(
        "lora_r {}: must be a multiple of 8 for adapters of experts in bfloat16 on CUDA: use "
        "another, or --dtype float32",
        model.adapters->lora.rank);
  }
  if (spec.hidden % 8 == 0 && spec.moe->intermediate % 8 == 0) return;
  fail(
      "hidden_size {} and moe_intermediate_size {}: both must be multiples of 8 for bfloat16 on "
      "CUDA: use --dtype "
      "float32 or --device cpu",
      spec.hidden, spec.moe->intermediate);
}

}  // namespace

bool help_shown(config::Verb verb, Arguments arguments) {
  if (std::ranges::find(arguments, "--help") == arguments.end() &&
      std::ranges::find(arguments, "-h") == arguments.end()) {
    return false;
  }
  fmt::print("{}", config::help_text(verb));
  return true;
}

void require(const std::string& value, const std::string& flag, const std::string& remedy) {
  if (value.empty()) fail("--{} is missing: {}", flag, remedy);
}

std::string tokenizer_folder(const config::RunConfig& run) {
  return run.tokenizer.empty() ? run.model : run.tokenizer;
}

config::ModelSpec model_spec(const config::RunConfig& run) {
  return run.shape.empty() ? config::read_model_spec(run.model) : config::known_shape(run.shape);
}

engine::MemoryPlan plan_run(const config::RunConfig& run, const engine::Model& model,
                            const engine::Machine& machine, engine::BatchSize batch, bool training,
                            bool optimizer, const dist::Mesh& mesh) {
  check_widths(model, machine);
  if (run.offload_param == "cpu" && optimizer && !model.adapters) {
    fail(
        "--offload_param cpu: weights that are trained stay on the device: use --use_lora, or "
        "--offload_optimizer stream with --optimizer_in_backward");
  }
  if (machine.device.is_cuda()) {
    log("attention: {}", attention::kernel_names(/*cuda=*/true, machine.dtype));
    // As the executor pads them.
    batch.tokens = engine::bucket(batch.tokens);
    batch.longest = engine::bucket(batch.longest);
  }
  engine::MemoryPlan plan =
      engine::plan_memory({.activations = {.model = &model,
                                           .cuda = machine.device.is_cuda(),
                                           .dtype = machine.dtype,
                                           .training = training,
                                           .ring = mesh.spec().ring,
                                           .ulysses = mesh.spec().ulysses,
                                           .tokens = engine::most_rows(mesh.spec(), batch.tokens),
                                           .longest = batch.longest,
                                           .documents = batch.documents,
                                           .keep = run.keep,
                                           .tiles = {run.mlp_tile, run.loss_tile},
                                           .offload = run.offload_activations,
                                           .host_room = machine.host_budget,
                                           .number_checkpoints = run.number_checkpoints},
                           .optimizer = optimizer,
                           .master_weights = run.master_weights,
                           .moments = engine::moment_format(run.moments_dtype),
                           .update = engine::update_place(run, machine),
                           .fused = optimizer && run.optimizer_in_backward,
                           .layers_on_host = run.offload_param == "cpu",
                           .sharding = engine::Zero(mesh, run.zero_stage),
                           .program = machine.program,
                           .budget = machine.budget});
  plan.execution.ring_order = layout::order_of(run.ring_order);
  return plan;
}

std::unique_ptr<engine::Weights> load_weights(const config::RunConfig& run,
                                              const engine::ModelFolder& model,
                                              const engine::Machine& machine,
                                              const engine::WeightHomes& homes,
                                              engine::Phases& phases, const engine::Zero& zero) {
  const auto scope = phases.enter("load");
  const Stopwatch clock;
  auto weights = std::make_unique<engine::Weights>(model, machine, homes, zero);
  weights->load(model.checkpoint);
  engine::synchronize(machine.device);
  const double passed = clock.seconds();
  const double bytes = static_cast<double>(model.checkpoint.total_bytes());
  log("read {} in {} ({:.2f} GB/s)", format_bytes(model.checkpoint.total_bytes()),
      format_duration(passed), bytes / 1e9 / passed);
  if (model.adapters) {
    weights->fill_adapters([&](std::vector<at::Tensor>& blocks) {
      model.load_adapters(static_cast<uint64_t>(run.seed), blocks);
    });
  }
  return weights;
}

}  // namespace trireme::cli
