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
  bool lists_all = false;         // there is an added_tokens_decoder
  std::vector<AddedToken> named;  // bos_token, pad_token, ..., extra_special_tokens
};

// The object in a JSON file; an empty one where there is no file.
config::Json read_object_if_there(const std::string& path);

// `settings` is what folder/tokenizer_config.json says, `by_default` has tokens by name that count
// where a name is not in it. Files that do not exist add nothing. UserError naming file and key for
// what is invalid.
TokenizerConfig read_tokenizer_config(const std::string& folder, const config::Json& settings,
                                      const config::Json& by_default);

// A token of `content` and its flags. `path` and `prefix` are for messages.
AddedToken read_added_token(const config::Json& json, const std::string& path,
                            const std::string& prefix);

}  // namespace trireme::data
