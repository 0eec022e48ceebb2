#include "run/prepare.h"

#include <algorithm>

#include "attention/block.h"
#include "attention/flash3.h"
#include "base/error.h"
#include "base/host_memory.h"
#include "base/log.h"
#include "base/stopwatch.h"
#include "base/units.h"
#include "config/shapes.h"
#include "layout/sequence.h"
#include "model/adapter_views.h"
#include "state/optimizer.h"

namespace trireme::run {
namespace {

void check_heads(const config::ModelSpec& spec, const device::Machine& machine) {
  const bool cuda = machine.device.is_cuda();
  const int64_t multiple = attention::head_multiple(cuda, machine.dtype);
  if (spec.head_dim % multiple == 0) return;
  const bool as_float = spec.head_dim % attention::head_multiple(cuda, at::kFloat) == 0;
  fail("head_dim {}: must be a multiple of {} for {} on CUDA: use {}--device cpu", spec.head_dim,
       multiple, machine.dtype == at::kFloat ? "float32" : "bfloat16",
       as_float ? "--dtype float32 or " : "");
}

// The grouped product of experts in bf16 reads 16 bytes at a time.
void check_widths(const layout::Model& model, const device::Machine& machine) {
  const config::ModelSpec& spec = model.spec;
  if (!spec.moe || !machine.device.is_cuda() || machine.dtype == at::kFloat) return;
  for (const auto& [name, size] :
       model.adapters ? model.adapters->linears : layout::AdapterSizes()) {
    if (size.rank % 8 == 0 || name.find(".experts.") == std::string::npos) continue;
    fail(
        "lora_r {} of {}: must be a multiple of 8 for adapters of experts in bfloat16 on CUDA: use "
        "another, or --dtype float32",
        size.rank, name);
  }
  if (spec.hidden % 8 == 0 && spec.moe->intermediate % 8 == 0) return;
  fail(
      "hidden_size {} and moe_intermediate_size {}: both must be multiples of 8 for bfloat16 on "
      "CUDA: use --dtype "
      "float32 or --device cpu",
      spec.hidden, spec.moe->intermediate);
}

// Bytes of a weight in a checkpoint's model; 0: none is written beside training.
int64_t snapshot_bytes_of(const config::RunConfig& run, const layout::Model& model) {
  const bool saves = run.save_steps > 0 || run.save_every_minutes > 0;
  if (!saves || !run.async_save || run.save_only_model) return 0;
  return !model.adapters && model.spec.dtype == "bfloat16" ? 2 : 4;
}

}  // namespace

config::ModelSpec model_spec(const config::RunConfig& run) {
  return run.shape.empty() ? config::read_model_spec(run.model, run.rope_scaling)
                           : config::known_shape(run.shape, run.rope_scaling);
}

plan::Hardware hardware_of(const device::Machine& machine) {
  return {.cuda = machine.device.is_cuda(), .flash_attention_3 = attention::flash3::available()};
}

void warn_of_length(const config::ModelSpec& spec, int64_t length, std::string_view what) {
  const std::string text = config::length_warning(spec.rope, spec.max_position, length, what);
  if (!text.empty()) warn("{}", text);
}

plan::MemoryPlan plan_run(const config::RunConfig& run, const layout::Model& model,
                          const device::Machine& machine, data::BatchSize batch, bool training,
                          bool optimizer, const dist::Mesh& mesh) {
  check_heads(model.spec, machine);
  check_widths(model, machine);
  if (run.offload_param == config::ParamOffload::kCpu && optimizer && !model.adapters) {
    fail(
        "--offload_param cpu: weights that are trained stay on the device: use --use_lora, or "
        "--offload_optimizer stream with --optimizer_in_backward");
  }
  if (machine.device.is_cuda()) {
    log("attention: {}", attention::kernel_names(/*cuda=*/true, machine.dtype));
    // Padded as the executor does.
    batch.tokens = plan::bucket(batch.tokens);
    batch.longest = plan::bucket(batch.longest);
  }
  plan::MemoryPlan plan =
      plan::plan_memory({.activations = {.model = &model,
                                         .hardware = hardware_of(machine),
                                         .format = machine.format(),
                                         .training = training,
                                         .ring = mesh.spec().ring,
                                         .ulysses = mesh.spec().ulysses,
                                         .tokens = layout::most_rows(mesh.spec(), batch.tokens),
                                         .longest = batch.longest,
                                         .documents = batch.documents,
                                         .keep = run.keep,
                                         .tiles = {run.mlp_tile, run.loss_tile},
                                         .offload = run.offload_activations,
                                         .host_room = machine.host_budget,
                                         .number_checkpoints = run.number_checkpoints},
                         .optimizer = optimizer,
                         .master_weights = run.master_weights,
                         .moments = run.moments_dtype,
                         .update = state::optimizer_offload(run, machine),
                         .fused = optimizer && run.optimizer_in_backward,
                         .layers_on_host = run.offload_param == config::ParamOffload::kCpu,
                         .snapshot = optimizer ? snapshot_bytes_of(run, model) : 0,
                         .sharding = state::Zero(mesh, run.zero_stage),
                         .program = machine.program,
                         .budget = machine.budget});
  plan.execution.ring_order = run.ring_order;
  return plan;
}

std::unique_ptr<state::Weights> load_weights(const config::RunConfig& run,
                                             const model::ModelFolder& model,
                                             const device::Machine& machine,
                                             const state::WeightHomes& homes,
                                             device::Phases& phases, const state::Zero& zero,
                                             bool trained_later) {
  const auto scope = phases.enter("load");
  const Stopwatch clock;
  auto weights = std::make_unique<state::Weights>(model, machine, homes, zero);
  if (trained_later && !model.adapters) return weights;
  weights->load(model.weights);
  device::synchronize(machine.device);
  const double passed = clock.seconds();
  const double bytes = static_cast<double>(model.weights.total_bytes());
  log("read {} in {} ({:.2f} GB/s)", format_bytes(model.weights.total_bytes()),
      format_duration(passed), bytes / 1e9 / passed);
  if (model.adapters && !trained_later) {
    weights->fill_adapters([&](std::vector<at::Tensor>& blocks) {
      model.load_adapters(static_cast<uint64_t>(run.seed), blocks);
    });
  }
  return weights;
}

}  // namespace trireme::run
