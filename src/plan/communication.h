// Predicts the communication volume of training by arithmetic, in the units in which groups count
// it.
// It follows from the plan; tests compare every number with what groups counted.
#pragma once

#include <cstdint>
#include <vector>

#include "base/number_format.h"
#include "config/mesh_spec.h"
#include "layout/communication.h"
#include "layout/model.h"
#include "layout/shards.h"
#include "plan/execution.h"

namespace trireme::plan {

struct CommunicationRequest {
  const layout::Model* model = nullptr;
  NumberFormat format = NumberFormat::kFloat32;  // of weights and activations
  const ExecutionPlan* plan = nullptr;
  bool fused = false;  // --optimizer_in_backward
  config::MeshSpec mesh;
  layout::Sharding sharding;
  int64_t ring_index = 0, ulysses_index = 0;  // this rank's place in its groups
  // Offsets of the documents of each micro-batch of a step: 0, ..., T.
  std::vector<std::vector<int64_t>> batches;
  int64_t steps = 1;  // from the first step on
};

// The volume of this rank in all steps, without what is exchanged only for logs, evaluation and
// checkpoints.
layout::CommunicationTable predict_communication(const CommunicationRequest& request);

// The same volume as the papers count it, in bytes. ZeRO-3 (Rajbhandari et al. 2020, section 7):
// every weight goes to each rank that lacks it, in forward and in backward, and every gradient to
// its shard. Ulysses (Jacobs et al. 2023): queries, keys, values and outputs are exchanged once,
// and their gradients once.
int64_t paper_bytes(const CommunicationRequest& request, config::Axis axis);

}  // namespace trireme::plan
