// The JSON header of a safetensors file. Not for other folders.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "io/fd.h"
#include "io/safetensors.h"

namespace trireme::io {

// A header may not be longer; the limit of the reference implementation.
constexpr uint64_t kLongestHeader = 100'000'000;

// The header's text, its length checked against the file's. Read, not mapped: touching a mapping of
// a file that another process shortens just now ends the program. Throws UserError.
std::string read_header(const Fd& fd, uint64_t file_bytes, const std::string& path);

// Parses and checks a header, given the bytes that follow it in the file. Offsets of the entries
// count from the end of the header. Throws UserError with the path and the tensor.
std::map<std::string, TensorEntry> parse_header(std::string_view header, uint64_t data_bytes,
                                                const std::string& path);

}  // namespace trireme::io
