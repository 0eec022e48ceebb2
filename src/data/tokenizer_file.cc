#include "data/tokenizer_file.h"

#include <limits>

#include "base/error.h"
#include "config/model_spec_keys.h"
#include "io/file.h"

namespace trireme::data {
namespace {

using config::Json;
using config::Keys;

// The largest that are published have 40 MB.
constexpr uint64_t kLongestFile = uint64_t{256} << 20;
constexpr int64_t kLargestId = std::numeric_limits<int32_t>::max();

void read_vocabulary(const Json& vocabulary, TokenizerFile& file) {
  if (!vocabulary.is_object()) fail("{}: model.vocab is no object", file.path);
  file.vocabulary.reserve(vocabulary.size());
  for (const auto& [entry, value] : vocabulary.items()) {
    const auto id = config::whole_number(value, 0, kLargestId);
    if (!id) {
      fail("{}: model.vocab: '{}' has the id {}: ids are integers from 0", file.path, entry,
           config::json_text(value));
    }
    file.vocabulary.emplace(entry, static_cast<int32_t>(*id));
  }
}

// Either ["a", "b"] or, in older files, "a b".
void read_merge(const Json& merge, TokenizerFile& file) {
  const auto refuse = [&](const std::string& what) {
    fail("{}: model.merges: entry {} {}: expected two strings", file.path, file.merges.size(),
         what);
  };
  if (merge.is_array()) {
    if (merge.size() != 2) refuse(fmt::format("has {} parts", merge.size()));
    if (!merge[0].is_string() || !merge[1].is_string()) refuse(config::json_text(merge));
    file.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    return;
  }
  if (!merge.is_string()) refuse(config::json_text(merge));
  const auto& text = merge.get_ref<const std::string&>();
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
    refuse("'" + text + "'");
  }
  file.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
}

void read_merges(const Json& merges, TokenizerFile& file) {
  if (!merges.is_array()) fail("{}: model.merges is no list", file.path);
  file.merges.reserve(merges.size());
  for (const Json& merge : merges) read_merge(merge, file);
}

// A value's own type is not trusted: "" for what is absent or no string.
std::string type_of(const Json& json) {
  if (!json.is_object() || !json.contains("type") || !json["type"].is_string()) return "";
  return json["type"].get<std::string>();
}

bool set_and_not(const Json& json, const char* key, const Json& harmless) {
  return json.contains(key) && !json[key].is_null() && json[key] != harmless;
}

void read_model(const Json& model, TokenizerFile& file) {
  if (!model.is_object()) fail("{}: no \"model\": not a tokenizer.json", file.path);
  const std::string type = type_of(model);
  if (type != "BPE" && !(type.empty() && model.contains("merges"))) {
    fail("{}: model type '{}' is not supported: only BPE is", file.path, type);
  }
  if (set_and_not(model, "continuing_subword_prefix", "") ||
      set_and_not(model, "end_of_word_suffix", "")) {
    fail("{}: model has a subword prefix or suffix, which is not supported", file.path);
  }
  if (set_and_not(model, "dropout", 0.0)) fail("{}: model.dropout is not supported", file.path);
  if (set_and_not(model, "byte_fallback", false)) {
    fail("{}: model.byte_fallback is not supported: only byte-level BPE is", file.path);
  }
  file.ignore_merges = Keys(model, file.path, "model.").flag_or("ignore_merges", false);
  read_vocabulary(model.contains("vocab") ? model["vocab"] : Json::object(), file);
  read_merges(model.contains("merges") ? model["merges"] : Json::array(), file);
  if (file.vocabulary.empty()) fail("{}: model.vocab is empty", file.path);
  if (!set_and_not(model, "unk_token", "")) return;
  for (int byte = 0; byte < 256; ++byte) {
    const char one = static_cast<char>(byte);
    if (file.vocabulary.contains(bytes_to_entry({&one, 1}))) continue;
    fail("{}: model.unk_token with a vocabulary that lacks byte {} is not supported", file.path,
         byte);
  }
}

bool is_nfc(const Json& normalizer, const std::string& path) {
  if (normalizer.is_null()) return false;
  const std::string type = type_of(normalizer);
  if (type == "NFC") return true;
  const Json steps = type == "Sequence" ? normalizer.value("normalizers", Json()) : Json();
  if (!steps.is_array()) fail("{}: normalizer '{}' is not supported: only NFC is", path, type);
  bool any = false;
  for (const Json& step : steps) any |= is_nfc(step, path);
  return any;
}

AddedToken added_token(const Json& json, size_t index, const TokenizerFile& file) {
  if (!json.is_object()) {
    fail("{}: added_tokens[{}] is {}: an object is expected", file.path, index,
         config::json_text(json));
  }
  const Keys keys(json, file.path, fmt::format("added_tokens[{}].", index));
  AddedToken token;
  token.id = static_cast<int32_t>(keys.integer("id", 0, kLargestId));
  token.content = keys.text("content");
  token.lstrip = keys.flag_or("lstrip", false);
  token.rstrip = keys.flag_or("rstrip", false);
  token.normalized = keys.flag_or("normalized", true);
  token.special = keys.flag_or("special", false);
  if (keys.flag_or("single_word", false)) {
    fail("{}: added token '{}' is single_word, which is not supported", file.path, token.content);
  }
  const auto entry = file.vocabulary.find(token.content);
  if (entry != file.vocabulary.end() && entry->second != token.id) {
    fail("{}: added token '{}' has the id {}, in model.vocab {}", file.path, token.content,
         token.id, entry->second);
  }
  return token;
}

void read_added(const Json& added, TokenizerFile& file) {
  if (added.is_null()) return;
  if (!added.is_array()) fail("{}: added_tokens is no list", file.path);
  for (size_t i = 0; i < added.size(); ++i) {
    file.added.push_back(added_token(added[i], i, file));
  }
}

}  // namespace

TokenizerFile read_tokenizer_file(const std::string& path) {
  TokenizerFile file;
  file.path = path;
  const Json json = config::parse_json(io::read_text(path, kLongestFile), path);
  if (!json.is_object()) fail("{}: not a tokenizer.json: no object", path);
  read_model(json.value("model", Json()), file);
  file.nfc = is_nfc(json.value("normalizer", Json()), path);
  file.pre_tokenizer = json.value("pre_tokenizer", Json());
  const std::string decoder = type_of(json.value("decoder", Json()));
  if (decoder != "ByteLevel")
    fail("{}: decoder '{}' is not supported: only ByteLevel is", path, decoder);
  read_added(json.value("added_tokens", Json()), file);
  return file;
}

}  // namespace trireme::data
