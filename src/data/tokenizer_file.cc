#include "data/tokenizer_file.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/log.h"
#include "config/folder_keys.h"
#include "config/model_spec_keys.h"
#include "data/json_types.h"
#include "data/post_processor.h"
#include "data/tokenizer_class.h"
#include "data/tokenizer_config.h"
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
  file.ignore_merges = Keys(model, file.path, "model.").flag_or("ignore_merges", false);
  read_vocabulary(model.contains("vocab") ? model["vocab"] : Json::object(), file);
  read_merges(model.contains("merges") ? model["merges"] : Json::array(), file);
  if (file.vocabulary.empty()) fail("{}: model.vocab is empty", file.path);
  const Keys keys(model, file.path, "model.");
  file.byte_fallback = keys.flag_or("byte_fallback", false);
  file.fuse_unknown = keys.flag_or("fuse_unk", false);
  const std::string unknown = keys.text_or("unk_token", "");
  if (unknown.empty()) return;
  const auto entry = file.vocabulary.find(unknown);
  if (entry == file.vocabulary.end()) {
    fail("{}: model.unk_token is '{}', which model.vocab lacks", file.path, unknown);
  }
  file.unknown = entry->second;
}

void read_added(const Json& added, TokenizerFile& file) {
  if (added.is_null()) return;
  if (!added.is_array()) fail("{}: added_tokens is no list", file.path);
  for (size_t i = 0; i < added.size(); ++i) {
    const std::string place = fmt::format("added_tokens[{}]", i);
    if (!added[i].is_object()) {
      fail("{}: {} is {}: an object is expected", file.path, place, config::json_text(added[i]));
    }
    const int64_t id = Keys(added[i], file.path, place + ".").integer("id", 0, kLargestId);
    add_token(file, read_added_token(added[i], file.path, place + "."), id, file.path);
  }
}

TokenizerFile read_tokenizer_json(const std::string& path) {
  TokenizerFile file;
  file.path = path;
  const Json json = config::parse_json(io::read_text(path, kLongestFile), path);
  if (!json.is_object()) fail("{}: not a tokenizer.json: no object", path);
  read_model(json.value("model", Json()), file);
  file.normalizer = json.value("normalizer", Json());
  file.pre_tokenizer = json.value("pre_tokenizer", Json());
  file.decoder = json.value("decoder", Json());
  file.post_processor = json.value("post_processor", Json());
  read_added(json.value("added_tokens", Json()), file);
  return file;
}

}  // namespace

void add_token(TokenizerFile& file, AddedToken token, int64_t id, const std::string& where) {
  const auto known = std::ranges::find(file.added, token.content, &AddedToken::content);
  const auto entry = file.vocabulary.find(token.content);
  if (known != file.added.end()) {
    token.id = known->id;
  } else if (entry != file.vocabulary.end()) {
    token.id = entry->second;
  } else {
    token.id = static_cast<int32_t>(file.vocabulary.size());
    for (const AddedToken& other : file.added) token.id = std::max(token.id, other.id + 1);
  }
  if (id >= 0 && id != token.id) {
    file.renumbered.push_back(
        fmt::format("{}: the id of added token '{}' is {}, not {}, as `tokenizers` numbers it",
                    where, token.content, token.id, id));
  }
  if (known != file.added.end()) {
    *known = std::move(token);
  } else {
    file.added.push_back(std::move(token));
  }
}

TokenizerFile read_tokenizer_files(const std::string& folder) {
  TokenizerFile file = read_tokenizer_json(folder + "/tokenizer.json");
  const std::string path = folder + "/tokenizer_config.json";
  const Json settings = read_object_if_there(path);
  if (const std::string note = config::judge_tokenizer_keys(settings, path); !note.empty()) {
    log("{}", note);
  }
  const std::string name = chosen_class(settings, read_object_if_there(folder + "/config.json"));
  const std::optional<ClassParts> parts = parts_for(file, name, settings, path);
  const TokenizerConfig config =
      read_tokenizer_config(folder, settings, parts ? parts->tokens : Json::object());
  // What the class builds has none of the tokens that only tokenizer.json lists.
  if (parts && config.lists_all) file.added.clear(), file.renumbered.clear();
  for (const auto& [id, token] : config.listed) add_token(file, token, id, config.path);
  for (const AddedToken& token : config.named) {
    const auto known = std::ranges::find(file.added, token.content, &AddedToken::content);
    if (known == file.added.end()) {
      add_token(file, token, -1, config.path);
    } else {
      known->special = true;
    }
  }
  set_special_tokens(file);
  if (parts) take_parts(*parts, name, path, file);
  if (!file.renumbered.empty()) {
    const size_t more = file.renumbered.size() - 1;
    log("{}{}", file.renumbered.front(), more == 0 ? "" : fmt::format(" ({} more)", more));
  }
  return file;
}

}  // namespace trireme::data
