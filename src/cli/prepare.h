// Steps that several verbs begin with.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/verbs.h"
#include "config/schema.h"
#include "engine/device.h"
#include "engine/loader.h"
#include "engine/memory.h"
#include "engine/model_folder.h"
#include "engine/weights.h"

namespace trireme::cli {

// True when --help was asked for, and printed.
bool help_shown(config::Verb verb, Arguments arguments);

// UserError that names the flag when `value` is empty.
void require(const std::string& value, const std::string& flag, const std::string& remedy);

std::string tokenizer_folder(const config::RunConfig& run);

// Of --model, or of bench's --shape.
config::ModelSpec model_spec(const config::RunConfig& run);

// A memory plan for batches of which each rank has its rows; training: with gradients, and
// optimizer state if asked for.
engine::MemoryPlan plan_run(const config::RunConfig& run, const engine::Model& model,
                            const engine::Machine& machine, engine::BatchSize batch, bool training,
                            bool optimizer, const dist::Mesh& mesh = {});

// Allocates the weights and reads the checkpoint and the adapter into them; logs the time.
std::unique_ptr<engine::Weights> load_weights(
    const config::RunConfig& run, const engine::ModelFolder& model, const engine::Machine& machine,
    const engine::WeightHomes& homes, engine::Phases& phases, const engine::Zero& zero = {});

}  // namespace trireme::cli
