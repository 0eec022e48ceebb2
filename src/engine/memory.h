// Memory as a table, before anything is allocated: what a run will hold, and which intermediates
// are kept for backward because there is room.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/json.h"
#include "engine/activations.h"
#include "engine/executor.h"
#include "ops/adamw.h"

namespace trireme::engine {

struct MemoryRow {
  std::string name;
  std::string what;  // shape or count, and dtype
  int64_t bytes = 0;
};

class MemoryTable {
 public:
  void add(std::string name, std::string what, int64_t bytes);
  int64_t total() const;
  const std::vector<MemoryRow>& rows() const { return rows_; }
  std::string text() const;  // a line a row and the sum
  config::Json json() const;

 private:
  std::vector<MemoryRow> rows_;
};

struct MemoryRequest {
  ActivationRequest activations;
  bool optimizer = true;       // and not only gradients
  bool master_weights = true;  // beside bf16 weights that are trained
  ops::MomentFormat moments = ops::MomentFormat::kFloat32;
  bool optimizer_on_host = false;  // master weights and moments; the device's budget is not theirs
  int64_t program = 0;             // bytes that the process holds already
  int64_t budget = 0;              // bytes
};

struct MemoryPlan {
  ExecutionPlan execution;
  MemoryTable table;
  ActivationPlan activations;
};

// Throws UserError when the sum passes the budget, after logging the table; it names the longest
// batch that would fit.
MemoryPlan plan_memory(const MemoryRequest& request);

}  // namespace trireme::engine
