// A model's chat template around messages: the prompt as token ids, and the answer that is trained.
//
// The template is rendered by an engine of our own (jinja.h), which marks who wrote which bytes of
// the output. Only the template's own become its control tokens.
#pragma once

#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/chat_template_source.h"
#include "data/jinja.h"
#include "data/review.h"
#include "data/tokenizer.h"

namespace trireme::data {

class ChatTemplate {
 public:
  // `which` as in find_chat_template. UserError: no template, one that does not render a prompt and
  // its answer, or does not end the answer with a token. The tokenizer must outlive this.
  ChatTemplate(const std::string& folder, const Tokenizer& tokenizer,
               const std::string& which = "");

  const std::string& name() const { return name_; }

  // The role of a prompt that is one message: "system", or "user" with a template that does not
  // take a system message alone.
  const std::string& prompt_role() const { return prompt_role_; }

  // Text as apply_chat_template(messages, tokenize=False, add_generation_prompt, enable_thinking)
  // renders it. UserError where the template refuses.
  std::string render(const std::vector<Turn>& messages, bool add_generation_prompt,
                     bool enable_thinking = false) const;

  // The prompt as ids with the generation prompt at its end. Contents never become a special token
  // or one of the template.
  std::vector<int32_t> encode_prompt(const std::vector<Turn>& messages,
                                     bool enable_thinking = false) const;
  // What is trained on: what the template writes for the answer behind a generation prompt, up to
  // its end-of-turn token, or as far as its {% generation %} marks go. Templates that trim contents
  // trim the answer too; what the template writes behind the end of turn (a newline in ChatML) is
  // not part of it. With a template that ends no turn (none) the tokenizer's eos_token ends it.
  std::vector<int32_t> encode_answer(const std::string& answer, bool enable_thinking = false) const;
  int32_t end_of_turn() const { return end_of_turn_; }

 private:
  using SpecialTokens = std::vector<std::pair<std::string, std::string>>;
  ChatTemplate(const ChatTemplateSource& source, SpecialTokens special, const Tokenizer& tokenizer);

  jinja::Text rendered(const std::vector<Turn>& messages, bool add_generation_prompt,
                       bool enable_thinking) const;
  // Where the answer begins and ends in the rendering of probe(answer).
  std::pair<size_t, size_t> answer_span(const jinja::Text& text, bool enable_thinking) const;
  std::vector<Turn> probe(const std::string& answer) const;
  bool takes_prompt_as(const std::string& role);
  void find_end_of_turn();
  std::string special(std::string_view name) const;  // "" without

  const Tokenizer* tokenizer_;
  std::string name_;
  jinja::Template template_;
  std::time_t now_;  // one for all renderings
  SpecialTokens special_;
  ControlIds control_;
  std::string prompt_role_;
  int32_t end_of_turn_ = -1;
  std::string end_text_;    // of the end of turn
  bool writes_end_ = true;  // the template does; else encode_answer adds it
};

}  // namespace trireme::data
