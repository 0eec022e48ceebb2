// Bytes and durations for people.
#pragma once

#include <cstdint>
#include <string>

namespace trireme {

std::string format_bytes(int64_t bytes);      // "512 B", "3.20 MiB", "61.0 GiB"
std::string format_duration(double seconds);  // "0.8 s", "3 min 20 s", "2 h 5 min"

}  // namespace trireme
