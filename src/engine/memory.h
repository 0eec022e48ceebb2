// Memory as a table, before anything is allocated: what a run will hold, and which intermediates
// are kept for backward because there is room.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "config/json.h"
#include "config/model_spec.h"
#include "engine/executor.h"
#include "model/layout.h"

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
  at::ScalarType dtype = at::kFloat;  // of weights and activations
  bool training = true;               // gradients and optimizer, and not only a forward pass
  bool optimizer = true;
  int64_t tokens = 0;         // of the longest micro-batch
  std::string keep = "auto";  // auto: what fits; all; none
  model::Tiles tiles;         // 0: chosen
  int64_t program = 0;        // bytes that the process holds already
  int64_t budget = 0;         // bytes
};

struct MemoryPlan {
  ExecutionPlan execution;
  MemoryTable table;
};

// Throws UserError when the sum passes the budget, after logging the table.
MemoryPlan plan_memory(const config::ModelSpec& spec, const model::ModelLayout& layout,
                       const MemoryRequest& request);

}  // namespace trireme::engine
