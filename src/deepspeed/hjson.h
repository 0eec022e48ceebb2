// DeepSpeed reads its JSON with hjson, and people's files use a little of that: `#` comments and
// commas before a closing bracket.
#pragma once

#include <string>
#include <string_view>

namespace trireme::deepspeed {

// The text with `#`, `//` and `/* */` comments and trailing commas blanked out, which leaves every
// other character on its line and in its column: parse_json reads the result, and its positions are
// those of the file. What hjson allows beyond that (keys and strings without quotes) is left for
// parse_json to refuse.
std::string without_hjson(std::string_view original);

}  // namespace trireme::deepspeed
