// How much of a matrix DoRA looks at in one go (model/dora.h).
#pragma once

#include <cstdint>

namespace trireme::plan {

// Elements of a tile; as many as kLengthTiles exist at once.
constexpr int64_t kLengthTile = 4 << 20;
constexpr int64_t kLengthTiles = 3;

}  // namespace trireme::plan
