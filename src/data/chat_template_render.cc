#include "data/chat_template_render.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "data/unicode.h"

namespace trireme::data {
namespace {

constexpr std::string_view kThink = "<think>", kEndThink = "</think>";

// Python's lstrip("\n") and rstrip("\n").
std::string_view left_strip(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of('\n'), text.size()));
}
std::string_view right_strip(std::string_view text) {
  return text.substr(0, text.find_last_not_of('\n') + 1);
}

std::string_view behind_last(std::string_view text, std::string_view mark) {
  const size_t at = text.rfind(mark);
  return at == std::string_view::npos ? text : text.substr(at + mark.size());
}

// An assistant's content taken apart, as Qwen3's template does it.
struct Answer {
  std::string_view reasoning, content;
};

Answer take_apart(std::string_view content) {
  const size_t end = content.find(kEndThink);
  if (end == std::string_view::npos) return {"", content};
  return {left_strip(behind_last(right_strip(content.substr(0, end)), kThink)),
          left_strip(behind_last(content, kEndThink))};
}

// Index of the last question: answers before it lose their thoughts.
size_t last_query(const std::vector<Turn>& messages) {
  for (size_t i = messages.size(); i-- > 0;) {
    const std::string& content = messages[i].content;
    const bool tool_result =
        content.starts_with("<tool_response>") && content.ends_with("</tool_response>");
    if (messages[i].role == "user" && !tool_result) return i;
  }
  return messages.size() - 1;
}

class Writer {
 public:
  explicit Writer(const ChatTraits& traits) : traits_(traits) {}

  void control(std::string_view token) {
    if (!token.empty()) pieces_.push_back({std::string(token), true});
  }
  // Text runs grow together, so that merges across role, newline and content are those of the whole
  // text.
  void text(std::string_view text) {
    if (text.empty()) return;
    if (pieces_.empty() || pieces_.back().control) pieces_.emplace_back();
    pieces_.back().text += text;
  }
  void open(std::string_view role) {
    control(traits_.open);
    text(role);
    control(traits_.close_role);
    text(traits_.after_role);
  }
  void close() {
    control(traits_.end);
    text(traits_.after_end);
  }
  void think(std::string_view reasoning) {
    control(kThink);
    text("\n");
    text(reasoning);
    text("\n");
    control(kEndThink);
    text("\n\n");
  }
  void content(std::string_view content) { text(traits_.trim ? strip(content) : content); }

  std::vector<ChatPiece> take() { return std::move(pieces_); }

 private:
  const ChatTraits& traits_;
  std::vector<ChatPiece> pieces_;
};

void check(const std::vector<Turn>& messages) {
  if (messages.empty()) fail("a chat needs at least one message");
  for (const Turn& turn : messages) {
    if (turn.role != "system" && turn.role != "user" && turn.role != "assistant") {
      fail("chat message with the role '{}': known are system, user, assistant", turn.role);
    }
  }
}

// The system turn that the template itself puts first; true where it has taken the first message
// in.
bool write_system(Writer& out, const ChatTraits& traits, const Turn& first) {
  const bool given = first.role == "system";
  if (!traits.preamble.empty()) {
    out.open("system");
    out.text(traits.preamble);
    if (given) out.content(first.content);
    out.close();
    return given;
  }
  if (given || traits.default_system.empty()) return false;
  out.open("system");
  out.text(traits.default_system);
  out.close();
  return false;
}

// Qwen3: an answer after the last question shows its thoughts (an empty block where it has none and
// is the last).
void write_answer(Writer& out, std::string_view content, bool recent, bool last) {
  const Answer answer = take_apart(content);
  if (!recent || !(last || !answer.reasoning.empty())) return out.text(answer.content);
  out.think(right_strip(answer.reasoning));
  out.text(left_strip(answer.content));
}

}  // namespace

std::vector<ChatPiece> render_chat(const ChatTraits& traits, const std::vector<Turn>& messages,
                                   const ChatRequest& request) {
  check(messages);
  Writer out(traits);
  if (traits.bos) out.control(request.bos);
  const size_t query = last_query(messages);
  const size_t begin = write_system(out, traits, messages[0]) ? 1 : 0;
  for (size_t i = begin; i < messages.size(); ++i) {
    out.open(messages[i].role);
    if (traits.hybrid_thinking && messages[i].role == "assistant") {
      write_answer(out, messages[i].content, i > query, i + 1 == messages.size());
    } else {
      out.content(messages[i].content);
    }
    out.close();
  }
  if (!request.add_generation_prompt && !traits.always_prompt) return out.take();
  out.open("assistant");
  if (traits.hybrid_thinking && !request.enable_thinking) out.think("");
  return out.take();
}

}  // namespace trireme::data
