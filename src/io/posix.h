// What the files of this folder share about the operating system: opening, and errors that say what
// to do. Not for other folders.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "io/fd.h"

namespace trireme::io {

// Opens a regular file for reading, and never waits for a pipe. Throws UserError: missing, a
// folder, a pipe or a device, not permitted.
Fd open_for_reading(const std::string& path);

// Fills `into` with the bytes of the file from `at` on. Throws UserError when the disk fails or the
// file ends before.
void read_at(const Fd& fd, const std::string& path, uint64_t at, std::span<std::byte> into);

// What a path leads to, links followed. Throws UserError when that cannot be found out (not
// permitted).
enum class Kind { kNothing, kFile, kFolder, kOther };
Kind kind_of(const std::string& path);

// Throws UserError "path: cannot <action>: <reason>: <what to do>" for an errno value.
[[noreturn]] void fail_errno(const std::string& path, std::string_view action, int error);

}  // namespace trireme::io
