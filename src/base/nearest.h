// "Did you mean": the known name nearest to a mistyped one.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace trireme {

// Levenshtein distance in bytes; O(|a| |b|).
size_t edit_distance(std::string_view a, std::string_view b);

// The candidate at the least distance, if that is at most a third of the name's length (at least
// 2); else "".
std::string nearest(std::string_view name, std::span<const std::string> candidates);

// " (did you mean 'x'?)" or "".
std::string did_you_mean(std::string_view name, std::span<const std::string> candidates);

}  // namespace trireme
