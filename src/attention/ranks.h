// Attention of one of the ranks that share a sequence, whatever they exchange for it.
#pragma once

#include <memory>
#include <vector>

#include "attention/attention.h"
#include "dist/group.h"
#include "layout/sequence.h"

namespace trireme::attention {

// Of the rank's rows of `share`, which is layout::share()'s of its places in the two groups. They
// outlive the result.
std::unique_ptr<Attention> of_ranks(const std::vector<int64_t>& starts, const layout::Share& share,
                                    const dist::Group& ring, const dist::Group& ulysses,
                                    const at::Device& device, double scale);

}  // namespace trireme::attention
