// Which chat template is used: the folder's, one that it names, a file, or one that is built in.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace trireme::data {

struct ChatTemplateSource {
  std::string name;  // "default", the name in the folder's list, "chatml", "none", or the file
  std::string file;  // where the text stands, for messages
  std::string text;  // Jinja
};

// `which`: "" is the folder's own: chat_template.jinja, or else chat_template of
// tokenizer_config.json, a string or the entry "default" of a list; a name of that list or of a
// file NAME.jinja in additional_chat_templates/; "chatml", the usual template of instruct models;
// "none", the contents one after another; a file. UserError where there is none, with the names.
ChatTemplateSource find_chat_template(const std::string& folder, const std::string& which);

// bos_token, eos_token and their like, as transformers gives them to templates, from
// tokenizer_config.json or else special_tokens_map.json.
std::vector<std::pair<std::string, std::string>> special_tokens(const std::string& folder);

}  // namespace trireme::data
