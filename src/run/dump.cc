// trireme dump: one forward and backward through the training path on given documents, written to a
// safetensors file. Parity tests use it.
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "cli/outputs.h"
#include "data/batch_file.h"
#include "engine/executor.h"
#include "io/safetensors.h"
#include "io/temporary.h"
#include "model/model_io.h"
#include "run/deepspeed.h"
#include "run/prepare.h"
#include "run/ranks.h"
#include "run/verbs.h"
#include "state/host_memory.h"
#include "train/memory_report.h"

namespace trireme::run {
namespace {

using config::Json;

config::RunConfig parse(cli::Arguments arguments) {
  config::RunConfig run = cli::parse_options(config::kDump, arguments);
  cli::require(run.model, "model", "give a Hugging Face model folder");
  cli::require(
      run.batch, "batch",
      "give a JSON file {\"documents\": [[ids...], ...], \"labels\": [[ids or -100...], ...]}");
  cli::require(run.out, "out", "give a safetensors file to write");
  return run;
}

io::TensorSource source(std::string name, io::DType dtype, at::Tensor tensor) {
  tensor = tensor.to(at::kCPU).contiguous();
  return {std::move(name), dtype, tensor.sizes().vec(), [tensor] {
            return std::span(static_cast<const std::byte*>(tensor.const_data_ptr()),
                             tensor.nbytes());
          }};
}

// Only what a dump wrote is replaced.
void check_target(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::symlink_status(path, error);
  if (!std::filesystem::exists(status) || io::is_dump(path)) return;
  fail("--out {}: exists, and no dump wrote it: choose another", path);
}

void write(const std::string& path, const std::vector<io::TensorSource>& tensors) {
  check_target(path);
  const std::filesystem::path file = path;
  io::FileSystem& files = io::posix();
  io::sweep(files, file.has_parent_path() ? file.parent_path().string() : ".", file.filename());
  io::replace_file(files, path, [&](const std::string& temporary) {
    io::write_dump(files, temporary, tensors);
  });
}

void dump(const config::RunConfig& run, const model::ModelFolder& model,
          const device::Machine& machine, const plan::MemoryPlan& plan,
          const data::PackedBatch& batch, device::Phases& phases, const Ranks& ranks) {
  state::HostMemory host(plan, machine.device);
  const state::Zero zero(ranks.mesh, run.zero_stage);
  const auto weights = load_weights(run, model, machine,
                                    host.homes(plan, machine, /*training=*/false), phases, zero);
  engine::Executor executor(model, *weights, machine.device, plan.execution, host.activations,
                            phases, ranks.mesh);

  std::vector<io::TensorSource> tensors;
  std::vector<at::Tensor> blocks;
  at::Tensor logits;
  at::Tensor* wanted_logits = run.logits ? &logits : nullptr;
  engine::LossSum loss;
  if (run.grads) {
    const auto grads = engine::make_grads(model, machine.device, zero);
    grads->clear();
    loss = executor.forward_backward(batch, 1.0 / static_cast<double>(batch.trained_tokens), *grads,
                                     static_cast<uint64_t>(run.seed), wanted_logits);
    const std::vector<at::Tensor>& sums = grads->sums();
    for (size_t b = 0; b < sums.size(); ++b) {
      blocks.push_back(zero.whole(sums[b], model.trained_layout().blocks[b].numel));
    }
    for (io::TensorSource& gradient : model::tensor_sources(
             model.trained_layout(), model::held_blocks(blocks), io::DType::kF32)) {
      gradient.name = "grad." + gradient.name;
      tensors.push_back(std::move(gradient));
    }
  } else {
    loss = executor.forward(batch, wanted_logits);
  }
  if (run.logits) tensors.push_back(source("logits", io::DType::kF32, logits));
  if (model.spec.balanced()) {
    const at::Tensor term = loss.router.loss * *model.spec.moe->balance_coefficient;
    loss.sum = loss.sum + term * static_cast<double>(loss.tokens);  // the loss is loss_sum / tokens
    tensors.push_back(source("router_aux_loss", io::DType::kF32, loss.router.loss.to(at::kFloat)));
  }
  tensors.push_back(source("loss_sum", io::DType::kF32, loss.sum.to(at::kFloat)));
  tensors.push_back(source("tokens", io::DType::kI64, at::empty({}, at::kLong).fill_(loss.tokens)));
  if (ranks.first()) write(run.out, tensors);
}

int dump(const config::RunConfig& run, const Ranks& ranks) {
  if (ranks.mesh.spec().data > 1) {
    fail("{} ranks for one batch: give --sequence_parallel_size {}", ranks.mesh.spec().ranks(),
         ranks.mesh.spec().ranks());
  }
  if (ranks.first()) {
    cli::check_output(run, config::kDump, "out", run.out);
    check_target(run.out);
  }
  const model::ModelFolder model(run, run);
  const data::PackedBatch batch = data::read_batch(run.batch, model.spec.vocab);
  const device::Machine machine = prepare_machine(run, ranks);
  const int64_t tokens = std::ssize(batch.tokens);
  const plan::MemoryPlan plan = plan_run(
      run, model, machine, {tokens, tokens, std::ssize(batch.document_starts) - 1}, run.grads,
      /*optimizer=*/false, ranks.mesh);
  device::Phases phases(machine.device);
  const auto location = ranks.report_location([&] { return phases.where(); });
  train::explain_out_of_memory(plan, phases, machine,
                               [&] { dump(run, model, machine, plan, batch, phases, ranks); });
  return 0;
}

}  // namespace

int run_dump(cli::Arguments arguments) {
  if (cli::help_shown(config::kDump, arguments)) return 0;
  config::RunConfig run = parse(arguments);
  apply_deepspeed(run, config::kDump);
  return run_on_ranks(run, config::kDump, [&](const Ranks& ranks) { return dump(run, ranks); });
}

}  // namespace trireme::run
