// What a path must lead to before it is opened for reading.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

namespace trireme {

constexpr uint64_t kAnyLength = std::numeric_limits<uint64_t>::max();

// Throws UserError that names the file where it is no regular one (a pipe would be waited for, a
// device may never end), or has more than `most` bytes. A folder and what is missing pass: opening
// them says what is wrong.
void require_regular_file(const std::string& path, uint64_t most = kAnyLength);

// Throws UserError where `bytes`, the length of what `name` names, are more than `most`.
void require_length(uint64_t bytes, uint64_t most, const std::string& name);

}  // namespace trireme
