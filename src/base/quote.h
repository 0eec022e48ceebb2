// Text from outside (values and names of files, arguments, what a library says) in a message of one
// line. fail() sends every text through this: no call of it needs to.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace trireme {

// Control characters, what else breaks or turns a line (U+0085, U+2028, U+202E), and bytes that are
// not UTF-8 are written as \x0a or \u2028; everything else is left alone.
std::string escaped(std::string_view text);

// At most `most` bytes: of a longer text the beginning and the end, with " ... " between. A message
// begins with the place and ends with the remedy.
std::string shortened(std::string_view text, size_t most);

}  // namespace trireme
