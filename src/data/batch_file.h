// The documents of `trireme dump --batch`: {"documents": [[ids...], ...], "labels": [[ids or
// -100...], ...]}.
#pragma once

#include <cstdint>
#include <string>

#include "data/packing.h"

namespace trireme::data {

// The documents side by side. Without "labels" they are the documents themselves. UserError:
// another shape, an id outside of [0, vocab), no label that is trained on.
PackedBatch read_batch(const std::string& path, int64_t vocab);

}  // namespace trireme::data
