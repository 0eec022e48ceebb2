// A chat as pieces, by a template's traits.
#pragma once

#include <string>
#include <vector>

#include "data/chat_template.h"
#include "data/chat_template_known.h"

namespace trireme::data {

struct ChatRequest {
  bool add_generation_prompt = false;
  bool enable_thinking = false;
  std::string bos;  // for templates that begin with it
};

// UserError for no messages or an unknown role.
std::vector<ChatPiece> render_chat(const ChatTraits& traits, const std::vector<Turn>& messages,
                                   const ChatRequest& request);

}  // namespace trireme::data
