// Chat templates known by name: what the folder's Jinja text renders, without a Jinja interpreter.
// At load the folder's template must be one of the known ones; others are refused by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/review.h"
#include "data/tokenizer.h"

namespace trireme::data {

struct ChatTraits;  // chat_template_known.h

// A rendered chat as runs of text and control tokens in turn. Only the template makes control
// tokens: contents are text even where they look like one.
struct ChatPiece {
  std::string text;
  bool control = false;
};

class ChatTemplate {
 public:
  // Reads chat_template from folder/chat_template.jinja or tokenizer_config.json and recognises it.
  // UserError: no template, one that is not known, a token of it that the tokenizer lacks. The
  // tokenizer must outlive this.
  ChatTemplate(const std::string& folder, const Tokenizer& tokenizer);

  const std::string& name() const { return name_; }

  // Text as apply_chat_template(messages, tokenize=False, add_generation_prompt, enable_thinking)
  // renders it. Roles are system, user and assistant; UserError for others and for no messages.
  std::string render(const std::vector<Turn>& messages, bool add_generation_prompt,
                     bool enable_thinking = false) const;

  // The prompt as ids with the generation prompt at its end. Contents never become a special token
  // or one of the template.
  std::vector<int32_t> encode_prompt(const std::vector<Turn>& messages,
                                     bool enable_thinking = false) const;
  // The answer and its end-of-turn token: what is trained on. Templates that trim contents trim the
  // answer too. What the template writes behind the end of turn (a newline in ChatML) is not part
  // of it.
  std::vector<int32_t> encode_answer(const std::string& answer) const;
  int32_t end_of_turn() const;

 private:
  std::vector<ChatPiece> pieces(const std::vector<Turn>& messages, bool add_generation_prompt,
                                bool enable_thinking) const;
  int32_t require_token(std::string_view token, const std::string& file);

  const Tokenizer* tokenizer_;
  std::string name_;
  const ChatTraits* traits_ = nullptr;
  std::string bos_;
  int32_t end_of_turn_ = -1;
  ControlIds control_;
};

}  // namespace trireme::data
