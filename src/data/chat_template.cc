#include "data/chat_template.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/error.h"
#include "base/log.h"
#include "data/unicode.h"

namespace trireme::data {
namespace {

using jinja::Mark;
using jinja::Value;

constexpr const char* kProbe = "question";
constexpr const char* kProbeAnswer = "answer";

constexpr Mark kAuthorBits = 3;
constexpr Mark mark_of(Author author) { return static_cast<Mark>(author); }
Author author_at(const jinja::Text& text, size_t at) {
  return static_cast<Author>(text.marks[at] & kAuthorBits);
}

// A template may make a token of a role ('<|' + role + '|>'): of those that chats have, not of what
// a data file invents.
Value role_value(const std::string& role) {
  static constexpr std::array<std::string_view, 5> kRoles = {"system", "user", "assistant",
                                                             "developer", "tool"};
  return jinja::Text(
      role, mark_of(std::ranges::count(kRoles, role) > 0 ? Author::kTemplate : Author::kUser));
}

Value messages_value(const std::vector<Turn>& messages) {
  jinja::Sequence list;
  for (const Turn& message : messages) {
    const Author author = message.role == "assistant" ? Author::kAssistant : Author::kUser;
    jinja::Dict turn;
    turn.items.emplace_back(jinja::text("role"), role_value(message.role));
    turn.items.emplace_back(jinja::text("content"),
                            jinja::Text(to_valid_utf8(message.content), mark_of(author)));
    list.items.emplace_back(std::move(turn));
  }
  return list;
}

std::vector<TextRun> runs_of(const jinja::Text& text, size_t from, size_t to) {
  std::vector<TextRun> runs;
  for (size_t next = from; from < to; from = next) {
    const Author author = author_at(text, from);
    while (next < to && author_at(text, next) == author) ++next;
    runs.push_back({text.bytes.substr(from, next - from), author});
  }
  return runs;
}

bool written_by(const jinja::Text& text, Author author) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (author_at(text, i) == author) return true;
  }
  return false;
}

// The bytes that the assistant wrote, first and one behind the last; both text.size() without any.
std::pair<size_t, size_t> assistant_span(const jinja::Text& text) {
  size_t first = text.size(), end = text.size();
  for (size_t i = 0; i < text.size(); ++i) {
    if (author_at(text, i) != Author::kAssistant) continue;
    first = std::min(first, i);
    end = i + 1;
  }
  return {first, end};
}

}  // namespace

ChatTemplate::ChatTemplate(const std::string& folder, const Tokenizer& tokenizer,
                           const std::string& which)
    : ChatTemplate(find_chat_template(folder, which), special_tokens(folder), tokenizer) {}

ChatTemplate::ChatTemplate(const ChatTemplateSource& source, SpecialTokens special,
                           const Tokenizer& tokenizer)
    : tokenizer_(&tokenizer),
      name_(source.name),
      template_(source.text, source.file),
      now_(std::time(nullptr)),
      special_(std::move(special)),
      control_(tokenizer.tokens_of_template(template_.source())) {
  if (template_.names("strftime_now")) {
    log("{}: the chat template writes the date into each prompt, this run's is its start",
        template_.name());
  }
  if (!takes_prompt_as("system")) {
    prompt_role_ = "user";
    log("{}: the chat template takes no system message alone: the prompt is a user's message",
        template_.name());
  }
  find_end_of_turn();
}

// The template writes the prompt and an answer to it, and does not raise.
bool ChatTemplate::takes_prompt_as(const std::string& role) {
  prompt_role_ = role;
  try {
    const jinja::Text prompt = rendered({{role, kProbe}}, true, false);
    return written_by(prompt, Author::kUser) &&
           written_by(rendered(probe(kProbeAnswer), false, false), Author::kAssistant);
  } catch (const UserError&) {
    return false;
  }
}

std::vector<Turn> ChatTemplate::probe(const std::string& answer) const {
  return {{prompt_role_, kProbe}, {"assistant", answer}};
}

void ChatTemplate::find_end_of_turn() {
  const jinja::Text prompt = rendered({{prompt_role_, kProbe}}, true, false);
  if (!written_by(prompt, Author::kUser)) {
    fail("{}: the chat template leaves the prompt out", template_.name());
  }
  const jinja::Text chat = rendered(probe(kProbeAnswer), false, false);
  if (!written_by(chat, Author::kAssistant)) {
    fail("{}: the chat template leaves the answer out", template_.name());
  }
  const std::string tail = chat.bytes.substr(assistant_span(chat).second);
  const ControlIds in_tail = tokenizer_->tokens_of_template(tail);
  const std::vector<int32_t> ids = tokenizer_->encode(tail);
  const auto found = std::ranges::find_if(ids, [&](int32_t id) { return in_tail.contains(id); });
  if (found != ids.end()) {
    end_of_turn_ = *found;
    end_text_ = tokenizer_->decode({*found});
    return;
  }
  if (!strip(tail).empty()) {
    fail(
        "{}: the chat template ends an answer with '{}', of which {}/tokenizer.json makes no "
        "token: use another template (--chat_template none writes plain text)",
        template_.name(), tail, tokenizer_->folder());
  }
  end_text_ = special("eos_token");
  const auto id = tokenizer_->token_id(end_text_);
  if (end_text_.empty() || !id) {
    fail("{}: the chat template ends no answer, and {} has no eos_token that could",
         template_.name(), tokenizer_->folder());
  }
  end_of_turn_ = *id;
  writes_end_ = false;
}

std::string ChatTemplate::special(std::string_view name) const {
  const auto found =
      std::ranges::find_if(special_, [&](const auto& token) { return token.first == name; });
  return found == special_.end() ? "" : found->second;
}

jinja::Text ChatTemplate::rendered(const std::vector<Turn>& messages, bool add_generation_prompt,
                                   bool enable_thinking) const {
  jinja::Template::Variables variables = {{"messages", messages_value(messages)},
                                          {"tools", Value()},
                                          {"documents", Value()},
                                          {"add_generation_prompt", add_generation_prompt},
                                          {"enable_thinking", enable_thinking}};
  for (const auto& [name, token] : special_) variables.emplace_back(name, jinja::text(token));
  return template_.render(variables, now_);
}

std::string ChatTemplate::render(const std::vector<Turn>& messages, bool add_generation_prompt,
                                 bool enable_thinking) const {
  return rendered(messages, add_generation_prompt, enable_thinking).bytes;
}

std::vector<int32_t> ChatTemplate::encode_prompt(const std::vector<Turn>& messages,
                                                 bool enable_thinking) const {
  const jinja::Text text = rendered(messages, true, enable_thinking);
  return tokenizer_->encode(runs_of(text, 0, text.size()), control_);
}

std::pair<size_t, size_t> ChatTemplate::answer_span(const jinja::Text& text,
                                                    bool enable_thinking) const {
  const jinja::Text prompt = rendered({{prompt_role_, kProbe}}, true, enable_thinking);
  auto [begin, end] = assistant_span(text);
  if (begin == text.size()) {  // an empty answer stands where another would
    const jinja::Text other = rendered(probe(kProbeAnswer), false, enable_thinking);
    begin = end = std::min(assistant_span(other).first, text.size());
  }
  if (text.bytes.starts_with(prompt.bytes)) begin = std::min(begin, prompt.size());
  if (template_.marks_generation()) {
    while (end < text.size() && (text.marks[end] & jinja::kGenerated) != 0) ++end;
  } else if (writes_end_) {
    const size_t at = text.bytes.find(end_text_, end);
    if (at == std::string::npos) {
      fail("{}: the chat template does not end an answer with '{}'", template_.name(), end_text_);
    }
    end = at + end_text_.size();
  }
  return {begin, end};
}

std::vector<int32_t> ChatTemplate::encode_answer(const std::string& answer,
                                                 bool enable_thinking) const {
  const jinja::Text text = rendered(probe(answer), false, enable_thinking);
  const auto [begin, end] = answer_span(text, enable_thinking);
  std::vector<TextRun> runs = runs_of(text, begin, end);
  if (!writes_end_) runs.push_back({end_text_, Author::kTemplate});
  return tokenizer_->encode(runs, control_);
}

}  // namespace trireme::data
