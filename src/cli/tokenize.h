// One line of `trireme tokenize`.
#pragma once

#include <string>

#include "config/run_config.h"
#include "data/tokenizer.h"

namespace trireme::cli {

// A JSON string to the JSON array of its ids, or with `decode` the other way. `where` ("stdin:3")
// goes into messages. UserError: not such JSON, or an id that the tokenizer does not have.
std::string tokenize_line(const data::Tokenizer& tokenizer, const std::string& line,
                          const config::TextOptions& options, const std::string& where);

}  // namespace trireme::cli
