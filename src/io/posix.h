// What the files of this folder share about the operating system: opening, and errors that say what
// to do. Not for other folders.
#pragma once

#include <string>
#include <string_view>

#include "io/fd.h"

namespace trireme::io {

// Opens for reading. Throws UserError: missing, a folder, not permitted.
Fd open_for_reading(const std::string& path);

// What a path leads to, links followed. Throws UserError when that cannot be found out (not
// permitted).
enum class Kind { kNothing, kFile, kFolder, kOther };
Kind kind_of(const std::string& path);

// Throws UserError "path: cannot <action>: <reason>: <what to do>" for an errno value.
[[noreturn]] void fail_errno(const std::string& path, std::string_view action, int error);

}  // namespace trireme::io
