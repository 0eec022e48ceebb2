// Decoders of tokenizer.json: from the entries of tokens to their text.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/json.h"

namespace trireme::data {

class TokenDecoder {
 public:
  TokenDecoder() = default;
  // `json` is the file's "decoder"; UserError for what is not supported, by name.
  TokenDecoder(const config::Json& json, const std::string& file);

  // Invalid UTF-8 becomes U+FFFD. Without a decoder entries are joined by spaces, as in the
  // reference.
  std::string operator()(std::vector<std::string> entries) const;

 private:
  using Step = std::function<void(std::vector<std::string>&)>;
  void add(const config::Json& json, const std::string& file);

  std::vector<Step> steps_;
};

}  // namespace trireme::data
