// The optimizer's state and the weights that it updates, to and from a checkpoint
// (io/state_files.h).
#pragma once

#include <string>
#include <vector>

#include "io/state_files.h"
#include "layout/parameters.h"
#include "state/optimizer.h"
#include "state/params.h"
#include "state/zero.h"

namespace trireme::state {

// Weights and moments of neighbouring elements of a block.
struct StatePart {
  size_t block;
  int64_t first, count;  // elements [first, first + count)
  at::Tensor weight;
  ops::Moments moments;
};

// What this rank writes: its shards or, where every rank has all of the state, its share of the
// blocks. Views: they change with the next update.
std::vector<StatePart> state_parts(const ResidentParams& params, const AdamW& optimizer,
                                   const Zero& zero);

// The bytes of their tensors.
uint64_t byte_count(const std::vector<StatePart>& parts);

// The same as a file. Tensors are copied to the host when their turn comes; the parts must not
// change until then.
struct RankState {
  std::vector<io::TensorSource> tensors;
  std::vector<io::StatePiece> pieces;  // in the file `file`
};
RankState rank_state(const layout::ModelLayout& layout, const std::vector<StatePart>& parts,
                     const std::string& file);

// Sets weights and moments of this rank from what any ranks have written; all ranks call it
// together. On the topology that wrote it, and with the same formats, they have the same bits as
// then. UserError: an element is missing; a tensor has another shape.
void load_state(const io::StateFiles& files, const layout::ModelLayout& layout,
                ResidentParams& params, AdamW& optimizer);

}  // namespace trireme::state
