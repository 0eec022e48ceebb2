// Steps with which several verbs begin.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema.h"
#include "data/loader.h"
#include "device/machine.h"
#include "device/phases.h"
#include "model/model_folder.h"
#include "plan/memory.h"
#include "state/weights.h"

namespace trireme::run {

// The sizes of --model, or of bench's --shape.
config::ModelSpec model_spec(const config::RunConfig& run);

// One warning where `what`, a document of `length` tokens, is longer than the model's rope covers.
void warn_of_length(const config::ModelSpec& spec, int64_t length, std::string_view what);

// A memory plan for batches of which each rank has its rows. training: with gradients and, if
// `optimizer`, the optimizer's state.
plan::MemoryPlan plan_run(const config::RunConfig& run, const layout::Model& model,
                          const device::Machine& machine, data::BatchSize batch, bool training,
                          bool optimizer, const dist::Mesh& mesh = {});

// Allocates the weights, reads the model's files and the adapter into them, and logs the time.
// trained_later: what is trained is set by the caller.
std::unique_ptr<state::Weights> load_weights(const config::RunConfig& run,
                                             const model::ModelFolder& model,
                                             const device::Machine& machine,
                                             const state::WeightHomes& homes,
                                             device::Phases& phases, const state::Zero& zero = {},
                                             bool trained_later = false);

}  // namespace trireme::run
