#include "data/chat_template.h"

#include <filesystem>

#include "base/error.h"
#include "config/json.h"
#include "data/chat_template_known.h"
#include "data/chat_template_render.h"
#include "data/unicode.h"
#include "io/file.h"

namespace trireme::data {
namespace {

using config::Json;

struct TemplateText {
  std::string file;
  std::string text;
};

// A string, or in older folders a list of {name, template} of which "default" counts.
std::string template_field(const Json& field, const std::string& file) {
  if (field.is_string()) return field.get<std::string>();
  if (field.is_array()) {
    for (const Json& entry : field) {
      if (!entry.is_object() || entry.value("name", Json()) != "default") continue;
      const Json text = entry.value("template", Json());
      if (text.is_string()) return text.get<std::string>();
    }
  }
  fail(
      "{}: no chat_template: take the folder of an instruct model, or add one of the known "
      "templates ({})",
      file, known_templates());
}

Json tokenizer_config(const std::string& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) return Json::object();
  Json json = config::read_json(file);
  if (!json.is_object()) fail("{}: expected an object, found {}", file, json.type_name());
  return json;
}

TemplateText read_template(const std::string& folder, const Json& config, const std::string& file) {
  const std::string own = folder + "/chat_template.jinja";
  std::error_code error;
  if (std::filesystem::exists(own, error)) return {own, io::read_text(own, config::kLongestByHand)};
  return {file, template_field(config.value("chat_template", Json()), file)};
}

// A string, or {"content": ...}.
std::string bos_token(const Json& config, const std::string& file) {
  Json token = config.value("bos_token", Json());
  if (token.is_object()) token = token.value("content", Json());
  if (!token.is_string()) fail("{}: no bos_token, which the chat template begins with", file);
  return token.get<std::string>();
}

}  // namespace

ChatTemplate::ChatTemplate(const std::string& folder, const Tokenizer& tokenizer)
    : tokenizer_(&tokenizer) {
  const std::string config_file = folder + "/tokenizer_config.json";
  const Json config = tokenizer_config(config_file);
  const auto [file, text] = read_template(folder, config, config_file);
  const uint64_t hash = template_hash(text);
  traits_ = find_template(hash);
  if (traits_ == nullptr) {
    fail("{}: chat template not known (hash {:016x}): known are {}", file, hash, known_templates());
  }
  name_ = traits_->name;
  if (traits_->bos) {
    bos_ = bos_token(config, config_file);
    require_token(bos_, config_file);
  }
  for (std::string_view token : {traits_->open, traits_->close_role}) {
    if (!token.empty()) require_token(token, file);
  }
  end_of_turn_ = require_token(traits_->end, file);
  control_ = tokenizer.tokens_of_template(text);
}

int32_t ChatTemplate::require_token(std::string_view token, const std::string& file) {
  const auto id = tokenizer_->token_id(token);
  if (!id) {
    fail("{}: the chat template needs the token '{}', which {}/tokenizer.json lacks", file, token,
         tokenizer_->folder());
  }
  return *id;
}

std::vector<ChatPiece> ChatTemplate::pieces(const std::vector<Turn>& messages,
                                            bool add_generation_prompt,
                                            bool enable_thinking) const {
  return render_chat(*traits_, messages,
                     {.add_generation_prompt = add_generation_prompt,
                      .enable_thinking = enable_thinking,
                      .bos = bos_});
}

std::string ChatTemplate::render(const std::vector<Turn>& messages, bool add_generation_prompt,
                                 bool enable_thinking) const {
  std::string text;
  for (const ChatPiece& piece : pieces(messages, add_generation_prompt, enable_thinking)) {
    text += piece.text;
  }
  return text;
}

std::vector<int32_t> ChatTemplate::encode_prompt(const std::vector<Turn>& messages,
                                                 bool enable_thinking) const {
  std::vector<TextRun> runs;
  for (ChatPiece& piece : pieces(messages, true, enable_thinking)) {
    runs.push_back({std::move(piece.text), piece.control ? Author::kTemplate : Author::kUser});
  }
  return tokenizer_->encode(runs, control_);
}

std::vector<int32_t> ChatTemplate::encode_answer(const std::string& answer) const {
  const TextRun run{std::string(traits_->trim ? strip(answer) : std::string_view(answer)),
                    Author::kAssistant};
  std::vector<int32_t> ids = tokenizer_->encode({&run, 1}, control_);
  ids.push_back(end_of_turn());
  return ids;
}

int32_t ChatTemplate::end_of_turn() const { return end_of_turn_; }

}  // namespace trireme::data
