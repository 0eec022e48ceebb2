// The memory plan: a table of what a run will hold, made before anything is allocated. It decides
// which intermediates are kept for backward because there is room.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/number_format.h"
#include "config/json.h"
#include "layout/shards.h"
#include "plan/activations.h"
#include "plan/execution.h"

namespace trireme::plan {

// What a row of the table is about. A kind may have a row on the device and one on the host.
enum class RowKind {
  kProgram,
  kWeights,
  kVisitingWeights,
  kLayerWeights,
  kAdapters,
  kFoldedWeights,
  kGradients,
  kPassingGradients,
  kMasterWeights,
  kMoments,
  kHostPieces,
  kOptimizerPieces,
  kLibraries,
  kBatch,
  kWorkspace,
  kSavedActivations,
  kKeptIntermediates,
  kOffloaded,
  kSnapshot,
};

struct MemoryRow {
  RowKind kind;
  std::string what;  // shape or count, and dtype
  int64_t bytes = 0;
  Residence where = Residence::kDevice;

  const char* name() const;  // "master weights"
};

class MemoryTable {
 public:
  void add(RowKind kind, std::string what, int64_t bytes, Residence where = Residence::kDevice);
  int64_t total(Residence where = Residence::kDevice) const;
  const std::vector<MemoryRow>& rows() const { return rows_; }
  // One line for each row, then the sums of device and host, each with its budget.
  std::string text(int64_t device_budget, int64_t host_budget) const;
  config::Json json() const;

 private:
  std::vector<MemoryRow> rows_;
};

struct MemoryRequest {
  ActivationRequest activations;
  bool optimizer = true;       // false: gradients only
  bool master_weights = true;  // beside bf16 weights that are trained
  MomentFormat moments = MomentFormat::kFloat32;
  config::OptimizerOffload update = config::OptimizerOffload::kNone;
  bool fused = false;              // --optimizer_in_backward
  bool layers_on_host = false;     // --offload_param
  int64_t snapshot = 0;            // bytes of a weight in the model's files; 0: no --async_save
  layout::Sharding sharding = {};  // of this rank
  int64_t program = 0;             // bytes that the process holds already
  int64_t budget = 0;              // bytes on the device; the host's are activations.host_room
};

struct MemoryPlan {
  MemoryRequest request;
  ExecutionPlan execution;
  MemoryTable table;
  ActivationPlan activations;
  int64_t optimizer_arena = 0;  // bytes of the optimizer's state on the host
  int64_t gradients_arena = 0;  // bytes of gradients on the host, and of AdamW's pieces there
  int64_t layers_arena = 0;     // bytes of the layers' weights on the host
  int64_t snapshot_arena = 0;   // bytes of a checkpoint on its way to the disk; 0: there is no room

  std::string text() const { return table.text(request.budget, request.activations.host_room); }
};

// The end of an error's line: which option makes the run fit `budget` bytes.
std::string what_fits(MemoryRequest request, int64_t budget);

// Throws UserError when a sum exceeds its budget, after logging the table. The error names the
// longest batch that would fit.
MemoryPlan plan_memory(const MemoryRequest& request);

}  // namespace trireme::plan
