// BPE of tokenizer.json, over bytes (Qwen, Llama-3, GPT-2) or characters (Llama-2, Mistral, Gemma,
// Phi-3), identical in ids to the `tokenizers` package.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/authored_text.h"
#include "data/tokenizer_added.h"

namespace trireme::data {

class Tokenizer {
 public:
  // Reads folder/tokenizer.json and what the files beside it add (tokenizer_config.json,
  // special_tokens_map.json, added_tokens.json). UserError for what is missing or not supported, by
  // name.
  explicit Tokenizer(const std::string& folder);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  // With added tokens ("<|im_end|>") recognised, as `tokenizers` does with
  // add_special_tokens=False. Thread-safe.
  std::vector<int32_t> encode(std::string_view text) const;
  // The same, with only those added tokens that the authors of a text may write: a token whose
  // characters come from several runs must be allowed to all of them. Between added tokens the runs
  // are one text. `control`: see tokens_of_template.
  std::vector<int32_t> encode(std::span<const TextRun> runs, const ControlIds& control) const;
  // Ids of the added tokens that stand in a chat template's source; white space steers nothing, and
  // is none of them.
  ControlIds tokens_of_template(std::string_view source) const;
  // With what the tokenizer puts before and behind a text (bos, eos): add_special_tokens=True.
  std::vector<int32_t> with_special_tokens(std::vector<int32_t> ids) const;
  // Invalid UTF-8 becomes U+FFFD, as in the reference. skip_special: leaves special added tokens
  // out.
  std::string decode(const std::vector<int32_t>& ids, bool skip_special = false) const;

  std::optional<int32_t> token_id(std::string_view token) const;
  int64_t size() const;  // one more than the largest id
  const std::string& folder() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme::data
