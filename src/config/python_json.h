// JSON as Python's json module writes it.
#pragma once

#include <string>
#include <string_view>

namespace trireme::config {

// Python writes numbers that are not finite as NaN, Infinity and -Infinity, which JSON does not
// have. The text with each of them, outside of strings, replaced by a string of the same length in
// the text, so that places stay: "" for NaN, which stands for a missing value; "inf" and "-inf".
std::string without_python_numbers(std::string_view text);

}  // namespace trireme::config
