// What the tokenizer's files of a folder say, checked for being what is supported.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/json.h"
#include "data/bpe.h"
#include "data/tokenizer_added.h"

namespace trireme::data {

struct TokenizerFile {
  std::string path;  // of tokenizer.json
  Vocabulary vocabulary;
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  std::vector<AddedToken> added;
  std::vector<std::string> renumbered;  // lines for the log: added tokens under another id
  config::Json normalizer, pre_tokenizer, decoder, post_processor;
  bool ignore_merges = false;
  bool byte_fallback = false;
  bool fuse_unknown = false;
  int32_t unknown = -1;
  // What add_special_tokens puts before and behind a text.
  std::vector<int32_t> before, behind;
};

// Adds the token, or gives the one of its content its flags. Its id is the one that `tokenizers`
// gives it: the vocabulary's, or the next behind all. Where `id` (-1: any) is another, that is
// noted in file.renumbered; `where` names the place.
void add_token(TokenizerFile& file, AddedToken token, int64_t id, const std::string& where);

// Reads folder/tokenizer.json, and what tokenizer_config.json, special_tokens_map.json and
// added_tokens.json add to it. UserError naming the file (and line and column) for what is missing,
// invalid or not supported.
TokenizerFile read_tokenizer_files(const std::string& folder);

}  // namespace trireme::data
