// Chat templates known by name: what the folder's Jinja text renders, without a Jinja interpreter. At load the folder's
// template must be one of the known ones; others are refused by name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/review.h"
#include "data/tokenizer.h"

namespace trireme::data {

class ChatTemplate {
 public:
  // Reads chat_template from folder/chat_template.jinja or tokenizer_config.json and recognises it.
  ChatTemplate(const std::string& folder, const Tokenizer& tokenizer);

  const std::string& name() const { return name_; }

  // Text as apply_chat_template(messages, tokenize=False, add_generation_prompt, enable_thinking) renders it.
  std::string render(const std::vector<Turn>& messages, bool add_generation_prompt,
                     bool enable_thinking = false) const;

  // The prompt as ids with the generation prompt at its end; contents are encoded plain, so that users' text never
  // becomes a control token.
  std::vector<int32_t> encode_prompt(const std::vector<Turn>& messages,
                                     bool enable_thinking = false) const;
  // The answer and its end-of-turn token: what is trained on.
  std::vector<int32_t> encode_answer(const std::string& answer) const;
  int32_t end_of_turn() const;

 private:
  const Tokenizer* tokenizer_;
  std::string name_;
};

}  // namespace trireme::data
