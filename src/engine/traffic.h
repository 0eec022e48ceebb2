// What ranks exchange in training, foreseen by arithmetic: as dist::Group counts it.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "config/mesh_spec.h"
#include "dist/mesh.h"
#include "engine/executor.h"
#include "engine/model_folder.h"
#include "layout/shards.h"

namespace trireme::engine {

struct TrafficRequest {
  const Model* model = nullptr;
  at::ScalarType dtype = at::kFloat;  // of weights and activations
  const ExecutionPlan* plan = nullptr;
  bool fused = false;  // --optimizer_in_backward
  config::MeshSpec mesh;
  layout::Sharding sharding;
  int64_t ring_index = 0, ulysses_index = 0;  // of this rank in its groups
  // Offsets of the documents of each micro-batch of a step: 0, ..., T.
  std::vector<std::vector<int64_t>> batches;
  int64_t steps = 1;  // from the first on
};

using TrafficTable = std::map<std::pair<config::Span, dist::Collective>, dist::Traffic>;

// Of this rank, in all steps. Not: what is exchanged only for logs, evaluation and checkpoints.
TrafficTable foresee_traffic(const TrafficRequest& request);
// What this rank's groups of these spans have counted so far.
TrafficTable counted_traffic(const dist::Mesh& mesh, std::span<const config::Span> spans);
TrafficTable since(const TrafficTable& before, TrafficTable now);

// The same as the papers count it, in bytes: of ZeRO-3 every weight to who lacks it in the forward
// and in the backward pass, and every gradient to its shard (Rajbhandari et al. 2020, section 7);
// of Ulysses queries, keys, values and outputs once, and their gradients once (Jacobs et al. 2023).
int64_t paper_bytes(const TrafficRequest& request, config::Span span);

}  // namespace trireme::engine
