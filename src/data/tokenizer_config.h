// What the files beside tokenizer.json add to it, as transformers' fast tokenizers read them.
// add_bos_token and add_eos_token do nothing: beside a tokenizer.json transformers 5 drops them,
// and the post-processor alone counts.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/json.h"
#include "data/tokenizer_added.h"

namespace trireme::data {

struct TokenizerConfig {
  std::string path;  // of tokenizer_config.json, or of what stands in for it
  // Tokens with the ids that they are listed with: tokenizer_config.json's added_tokens_decoder, or
  // in older folders added_tokens.json.
  std::map<int64_t, AddedToken> listed;
  std::vector<AddedToken> named;  // bos_token, pad_token, ..., extra_special_tokens
};

// Files that do not exist add nothing. UserError naming file and key for what is invalid.
TokenizerConfig read_tokenizer_config(const std::string& folder);

// A token of `content` and its flags. `path` and `prefix` are for messages.
AddedToken read_added_token(const config::Json& json, const std::string& path,
                            const std::string& prefix);

}  // namespace trireme::data
