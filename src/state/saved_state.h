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

// What this rank writes: its shards or, where every rank has all of the state, its share of the
// blocks. Tensors are copied to the host when their turn comes; the parameters and the optimizer
// must not change until then.
struct RankState {
  std::vector<io::TensorSource> tensors;
  std::vector<io::StatePiece> pieces;  // in the file `file`

  int64_t bytes() const;
};
RankState rank_state(const layout::ModelLayout& layout, const ResidentParams& params,
                     const AdamW& optimizer, const Zero& zero, const std::string& file);

// Sets weights and moments of this rank from what any ranks have written; all ranks call it
// together. On the topology that wrote it, and with the same formats, they have the same bits as
// then. UserError: an element is missing; a tensor has another shape.
void load_state(const io::StateFiles& files, const layout::ModelLayout& layout,
                ResidentParams& params, AdamW& optimizer);

}  // namespace trireme::state
