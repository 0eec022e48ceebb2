// The table of known chat templates. A template is identified by the hash of its text, white space
// included, so that a small edit is never taken for the original.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace trireme::data {

// How a template writes a turn: open role close_role after_role CONTENT end after_end; open,
// close_role and end are control tokens, the others text.
struct ChatTraits {
  std::string_view name = "";
  std::string_view open = "";
  std::string_view close_role = "";  // may be ""
  std::string_view after_role = "";
  std::string_view end = "";
  std::string_view after_end = "";
  std::string_view default_system =
      "";  // of the system turn put first where messages have none; "" = no such turn
  std::string_view preamble = "";  // begins the system turn, which then always is there
  bool bos = false;                // bos_token first
  bool trim = false;               // contents without white space at their ends
  bool always_prompt = false;      // the generation prompt even where it is not asked for
  bool hybrid_thinking = false;    // Qwen3: <think> blocks, left out of earlier answers
};

// FNV-1a, 64 bits, of the text without one newline at its end (which Jinja ignores).
uint64_t template_hash(std::string_view text);

// nullptr when not known.
const ChatTraits* find_template(uint64_t hash);

// The known names, comma-separated.
std::string known_templates();

}  // namespace trireme::data
