// tokenizer.json is mostly two long lists, model.vocab and model.merges. They are taken out while
// the text is parsed, so that only the short rest becomes a JSON tree (config::Json would look up
// each of 150,000 keys one by one).
#include "data/tokenizer_file.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "io/file.h"

namespace trireme::data {
namespace {

using config::Json;
using Event = Json::parse_event_t;

class Reader {
 public:
  Reader(TokenizerFile& file, std::string_view text) : file_(file), text_(text) {}

  Json run() {
    try {
      return Json::parse(text_, [this](int depth, Event event, Json& parsed) {
        return keep(depth, event, parsed);
      });
    } catch (const Json::parse_error& error) {
      const std::string_view before = text_.substr(0, error.byte > 0 ? error.byte - 1 : 0);
      const auto line = std::ranges::count(before, '\n') + 1;
      const size_t column = before.size() - (before.rfind('\n') + 1) + 1;
      std::string reason = error.what();
      if (const size_t colon = reason.find(": "); colon != std::string::npos) {
        reason = reason.substr(colon + 2);
      }
      fail("{}:{}:{}: not valid JSON: {}", file_.path, line, column, reason);
    }
  }

 private:
  // Depths: 1 the keys of the file, 2 those of model, 3 entries of vocab and merges, 4 the two
  // halves of a merge.
  bool keep(int depth, Event event, Json& parsed) {
    if (event == Event::key && depth == 1) section_ = parsed.get<std::string>();
    if (event == Event::key && depth == 2) list_ = parsed.get<std::string>();
    if (section_ != "model" || depth < 3) return true;
    if (list_ == "vocab") {
      vocabulary_entry(event, parsed);
      return false;
    }
    if (list_ == "merges") {
      merge(depth, event, parsed);
      return event == Event::array_start;  // or its values would not be shown
    }
    return true;
  }

  void vocabulary_entry(Event event, const Json& parsed) {
    if (event == Event::key) {
      entry_ = parsed.get<std::string>();
      return;
    }
    if (!parsed.is_number_integer() || parsed < 0 || parsed > std::numeric_limits<int32_t>::max()) {
      fail("{}: model.vocab: '{}' has the id {}: ids are integers from 0", file_.path, entry_,
           parsed.dump());
    }
    if (!file_.vocabulary.emplace(entry_, parsed.get<int32_t>()).second) {
      fail("{}: model.vocab: '{}' is there twice", file_.path, entry_);
    }
  }

  // Either ["a", "b"] or, in older files, "a b".
  void merge(int depth, Event event, const Json& parsed) {
    if (event == Event::object_start) bad_merge("is an object");
    if (event == Event::array_start) halves_.clear();
    if (event == Event::array_end) {
      if (halves_.size() != 2) bad_merge(fmt::format("has {} parts", halves_.size()));
      file_.merges.emplace_back(std::move(halves_[0]), std::move(halves_[1]));
    }
    if (event != Event::value) return;
    if (!parsed.is_string()) bad_merge(parsed.dump());
    const auto& text = parsed.get_ref<const std::string&>();
    if (depth == 4) {
      halves_.push_back(text);
      return;
    }
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      bad_merge("'" + text + "'");
    }
    file_.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }

  [[noreturn]] void bad_merge(const std::string& what) const {
    fail("{}: model.merges: entry {} {}: expected two strings", file_.path, file_.merges.size(),
         what);
  }

  TokenizerFile& file_;
  std::string_view text_;
  std::string section_, list_, entry_;
  std::vector<std::string> halves_;
};

// A value's own type is not trusted: "" for what is absent or no string.
std::string type_of(const Json& json) {
  if (!json.is_object() || !json.contains("type") || !json["type"].is_string()) return "";
  return json["type"].get<std::string>();
}

bool set_and_not(const Json& json, const char* key, const Json& harmless) {
  return json.contains(key) && !json[key].is_null() && json[key] != harmless;
}

void check_model(const Json& model, const TokenizerFile& file) {
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

AddedToken added_token(const Json& json, const TokenizerFile& file) {
  AddedToken token;
  try {
    token.id = json.at("id").get<int32_t>();
    token.content = json.at("content").get<std::string>();
    token.lstrip = json.value("lstrip", false);
    token.rstrip = json.value("rstrip", false);
    token.normalized = json.value("normalized", true);
    token.special = json.value("special", false);
    if (json.value("single_word", false)) {
      fail("{}: added token '{}' is single_word, which is not supported", file.path, token.content);
    }
  } catch (const Json::exception&) {
    fail("{}: added_tokens has an invalid entry {}", file.path, json.dump());
  }
  const auto entry = file.vocabulary.find(token.content);
  if (token.id < 0 || (entry != file.vocabulary.end() && entry->second != token.id)) {
    fail("{}: added token '{}' has the id {}, in model.vocab {}", file.path, token.content,
         token.id, entry == file.vocabulary.end() ? -1 : entry->second);
  }
  return token;
}

}  // namespace

TokenizerFile read_tokenizer_file(const std::string& path) {
  TokenizerFile file;
  file.path = path;
  const std::string text = io::read_text(path);
  Json json = Reader(file, text).run();
  if (!json.is_object()) fail("{}: not a tokenizer.json: no object", path);
  check_model(json.value("model", Json()), file);
  file.ignore_merges = json["model"].value("ignore_merges", Json(false)) == true;
  file.nfc = is_nfc(json.value("normalizer", Json()), path);
  file.pre_tokenizer = json.value("pre_tokenizer", Json());
  const std::string decoder = type_of(json.value("decoder", Json()));
  if (decoder != "ByteLevel")
    fail("{}: decoder '{}' is not supported: only ByteLevel is", path, decoder);
  const Json added = json.value("added_tokens", Json::array());
  for (const Json& entry : added) file.added.push_back(added_token(entry, file));
  return file;
}

}  // namespace trireme::data
