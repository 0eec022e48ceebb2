#include "data/post_processor.h"

#include <limits>

#include "base/error.h"
#include "config/model_spec_keys.h"
#include "data/json_types.h"

namespace trireme::data {
namespace {

using config::Json;
using Ids = std::vector<int32_t>;

[[noreturn]] void refuse(const Json& json, const TokenizerFile& file) {
  fail("{}: post_processor {} is not supported", file.path, config::json_text(json));
}

// Ids of {"SpecialToken": {"id": "<s>"}} by the template's special_tokens.
Ids special_ids(const Json& item, const Json& special, const TokenizerFile& file) {
  const Json name = item.is_object() ? item.value("id", Json()) : Json();
  if (!name.is_string() || !special.is_object()) refuse(item, file);
  const Json entry = special.value(name.get<std::string>(), Json());
  if (!entry.is_object()) refuse(item, file);
  Ids ids;
  for (const int64_t id : config::Keys(entry, file.path, "post_processor.").ids("ids")) {
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

// `tokenizers` takes what a first step has added for the second text of a pair.
void wrap(const Ids& before, const Ids& behind, TokenizerFile& file) {
  if (!file.before.empty() || !file.behind.empty()) {
    fail("{}: post_processor with two steps that add tokens is not supported", file.path);
  }
  file.before = before;
  file.behind = behind;
}

void add_template(const Json& json, TokenizerFile& file) {
  const Json special = json.value("special_tokens", Json());
  Ids before, behind;
  bool seen = false;  // the text
  for (const Json& item : list_of(json, "single", file.path, "post_processor")) {
    if (!item.is_object()) refuse(item, file);
    if (item.contains("Sequence")) {
      if (seen) refuse(json["single"], file);
      seen = true;
      continue;
    }
    const Ids ids = special_ids(item.value("SpecialToken", Json()), special, file);
    Ids& place = seen ? behind : before;
    place.insert(place.end(), ids.begin(), ids.end());
  }
  if (!seen) refuse(json["single"], file);
  wrap(before, behind, file);
}

// ["<s>", 0]
Ids pair_id(const Json& json, const char* key, const TokenizerFile& file) {
  const Json pair = json.value(key, Json());
  if (!pair.is_array() || pair.size() != 2) refuse(json, file);
  const auto id = config::whole_number(pair[1], 0, std::numeric_limits<int32_t>::max());
  if (!id) refuse(json, file);
  return {static_cast<int32_t>(*id)};
}

void add_step(const Json& json, TokenizerFile& file) {
  const std::string type = type_of(json);
  if (type == "Sequence") {
    for (const Json& step : list_of(json, "processors", file.path, "post_processor")) {
      add_step(step, file);
    }
  } else if (type == "TemplateProcessing") {
    add_template(json, file);
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    wrap(pair_id(json, "cls", file), pair_id(json, "sep", file), file);
  } else if (type != "ByteLevel") {  // which changes offsets only
    fail(
        "{}: post_processor '{}' is not supported: known are BertProcessing, ByteLevel, "
        "RobertaProcessing, Sequence, TemplateProcessing",
        file.path, type);
  }
}

}  // namespace

void set_special_tokens(TokenizerFile& file) {
  if (!file.post_processor.is_null()) add_step(file.post_processor, file);
}

}  // namespace trireme::data
