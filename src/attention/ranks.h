// Attention on one of the ranks that share a sequence: Ulysses, a ring, or both.
#pragma once

#include <memory>
#include <vector>

#include "attention/attention.h"
#include "dist/group.h"
#include "layout/sequence.h"

namespace trireme::attention {

// The attention of this rank's rows. `share` is what layout::share() gives for its places in the
// two groups. All references outlive the result.
std::unique_ptr<Attention> of_ranks(const std::vector<int64_t>& starts, const layout::Share& share,
                                    const dist::Group& ring, const dist::Group& ulysses,
                                    const at::Device& device, double scale);

}  // namespace trireme::attention
