// The keys of a folder's generation_config.json and tokenizer_config.json that transformers 5.17
// reads, writes or once wrote, and what becomes of them here. docs/models.md is made from these
// rows.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/json.h"
#include "config/model_spec_table.h"

namespace trireme::config {

// A row with kNeutral is of what `generate` has not: the log names it unless its value is null,
// false, 0, empty or the neutral one.
std::span<const ModelKey> generation_keys();

// A row with kNeutral is refused unless null, empty or neutral.
std::span<const ModelKey> tokenizer_keys();

// nullptr where there is none.
const ModelKey* find_key(std::span<const ModelKey> rows, std::string_view path);

// Judges each key of a tokenizer_config.json by its row. Returns the line for the log that names
// the unknown ones, or "". Throws UserError "file: key is VALUE: ...".
std::string judge_tokenizer_keys(const Json& settings, const std::string& name);

}  // namespace trireme::config
