// One rank's part of a batch that several ranks compute together: its rows, and the attention that
// reaches the others'.
// Only attention, the sum of the loss and the count that balances experts know that other ranks
// have the batch's other rows.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "attention/attention.h"
#include "data/packing.h"
#include "dist/mesh.h"
#include "layout/sequence.h"
#include "model/head.h"

namespace trireme::engine {

struct RankBatch {
  layout::Rows rows;     // of the batch
  at::Tensor tokens;     // [S]
  at::Tensor positions;  // [S], from the beginning of each document
  model::TrainedRows trained;
  std::unique_ptr<attention::Attention> attention;
  std::string uneven;  // as layout::Dealt's
};

// The rows come from layout::share(). All ranks of the mesh's `sequence` group pass the same batch.
// The mesh outlives the result.
RankBatch rank_batch(const data::PackedBatch& batch, const dist::Mesh& mesh,
                     config::RingOrder order, const at::Device& device, double scale);

// The length of each row's document, for documents that start at `starts`, the last of which is
// their end. Rows behind it are padding, as if of the last document.
std::vector<int64_t> document_lengths(const std::vector<int64_t>& starts, const layout::Rows& rows);

}  // namespace trireme::engine
