// What a tokenizer.json says, checked for being one that is supported.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/json.h"
#include "data/bpe.h"
#include "data/tokenizer_added.h"

namespace trireme::data {

struct TokenizerFile {
  std::string path;
  Vocabulary vocabulary;
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  std::vector<AddedToken> added;
  config::Json pre_tokenizer;
  bool nfc = false;  // the normalizer
  bool ignore_merges = false;
};

// UserError naming the file (and line and column) for what is missing, invalid or not supported.
TokenizerFile read_tokenizer_file(const std::string& path);

}  // namespace trireme::data
