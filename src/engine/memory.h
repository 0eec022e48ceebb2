// Memory as a table, before anything is allocated: what a run will hold, and which intermediates
// are kept for backward because there is room.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/json.h"
#include "engine/activations.h"
#include "engine/executor.h"
#include "engine/host_arena.h"
#include "engine/optimizer.h"
#include "ops/adamw.h"

namespace trireme::engine {

enum class Where { kDevice, kHost };

struct MemoryRow {
  std::string name;
  std::string what;  // shape or count, and dtype
  int64_t bytes = 0;
  Where where = Where::kDevice;
};

class MemoryTable {
 public:
  void add(std::string name, std::string what, int64_t bytes, Where where = Where::kDevice);
  int64_t total(Where where = Where::kDevice) const;
  const std::vector<MemoryRow>& rows() const { return rows_; }
  // A line a row and the sums of device and host, each beside its budget.
  std::string text(int64_t device_budget, int64_t host_budget) const;
  config::Json json() const;

 private:
  std::vector<MemoryRow> rows_;
};

struct MemoryRequest {
  ActivationRequest activations;
  bool optimizer = true;       // and not only gradients
  bool master_weights = true;  // beside bf16 weights that are trained
  ops::MomentFormat moments = ops::MomentFormat::kFloat32;
  UpdatePlace update = UpdatePlace::kDevice;  // of master weights and moments too
  bool fused = false;                         // --optimizer_in_backward
  bool layers_on_host = false;                // --offload_param
  layout::Sharding sharding = {};             // of this rank
  int64_t program = 0;                        // bytes that the process holds already
  int64_t budget = 0;  // bytes on the device; the host's are activations.host_room
};

struct MemoryPlan {
  MemoryRequest request;
  ExecutionPlan execution;
  MemoryTable table;
  ActivationPlan activations;
  int64_t optimizer_arena = 0;  // bytes of the optimizer's state on the host
  int64_t gradients_arena = 0;  // of gradients there, and of what AdamW there takes and gives
  int64_t layers_arena = 0;     // of the layers' weights

  std::string text() const { return table.text(request.budget, request.activations.host_room); }
};

// The host memory of a training run; what is copied is pinned, which begins at once.
struct HostMemory {
  HostArena activations, optimizer, gradients, layers;
  // Of the weights of such a run; `training`: with masters.
  WeightHomes homes(const config::RunConfig& run, const Machine& machine, bool training);
  HostMemory(const MemoryPlan& plan, const at::Device& device);
};

// What to do so that a run fits `budget` bytes, as the end of an error's line.
std::string what_fits(MemoryRequest request, int64_t budget);

// Throws UserError when a sum passes its budget, after logging the table; it names the longest
// batch that would fit.
MemoryPlan plan_memory(const MemoryRequest& request);

}  // namespace trireme::engine
