// The small files beside a model's weights that are copied with it.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "io/file.h"

namespace trireme::io {

// Names of the tokenizer's and generation's files: tokenizer.json, tokenizer_config.json,
// tokenizer.model, tekken.json, tiktoken.model, special_tokens_map.json, vocab.json, merges.txt,
// added_tokens.json, chat_template.jinja, generation_config.json.
std::span<const std::string_view> tokenizer_files();

// Copies those that exist in `from`, a model's folder, or where there is one in `over`, a
// tokenizer's: files of two tokenizers would make a third. generation_config.json is the model's.
void copy_tokenizer_files(FileSystem& files, const std::string& from, const std::string& over,
                          const std::string& to);

}  // namespace trireme::io
