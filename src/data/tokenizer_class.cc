// From models/auto/tokenization_auto.py of transformers 5.17.
#include "data/tokenizer_class.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/quote.h"
#include "data/json_types.h"

namespace trireme::data {
namespace {

using config::Json;

constexpr std::string_view kPlain[] = {"",
                                       "PreTrainedTokenizer",
                                       "PreTrainedTokenizerFast",
                                       "TokenizersBackend",
                                       "PythonBackend",
                                       "BloomTokenizer"};

// Kinds of models whose folders name a class that is not theirs, or that have no other.
constexpr std::string_view kPlainModels[] = {
    "mistral",    "mistral3", "mixtral",     "ministral",   "ministral3", "phi3",
    "phimoe",     "nemotron", "deepseek_v2", "deepseek_v3", "internlm2",  "minicpm3",
    "minimax_m2", "granite",  "granitemoe",  "olmo2",       "olmo3",      "glm",
    "glm4",       "glm4_moe", "stablelm"};

std::string without_fast(std::string name) {
  if (name.ends_with("Fast") && name != "PreTrainedTokenizerFast") name.resize(name.size() - 4);
  return name;
}

std::string text_of(const Json& json, const char* key) {
  const Json value = json.value(key, Json());
  return value.is_string() ? value.get<std::string>() : "";
}

bool is_plain_class(const std::string& name) {
  return std::ranges::find(kPlain, name) != std::end(kPlain);
}

// Without what changes no ids; a decoder of bytes has no options.
Json essential(const Json& json) {
  if (!json.is_structured()) return json;
  Json out = json;
  if (out.is_object()) out.erase("trim_offsets");
  for (Json& part : out) part = essential(part);
  return out;
}

}  // namespace

std::string chosen_class(const Json& settings, const Json& model) {
  const std::string type = text_of(model, "model_type");
  if (std::ranges::find(kPlainModels, type) != std::end(kPlainModels)) return "TokenizersBackend";
  std::string named = text_of(settings, "tokenizer_class");
  if (named.empty()) named = text_of(model, "tokenizer_class");
  const bool qwen = type == "qwen2" || type == "qwen3" || type == "qwen3_moe";
  // Many folders of qwen2 name a wrong class.
  const bool wrong = type == "qwen2" && !settings.contains("auto_map");
  if (wrong || (qwen && named.empty())) return "Qwen2Tokenizer";
  return without_fast(std::move(named));
}

std::optional<ClassParts> parts_for(const TokenizerFile& file, const std::string& name,
                                    const Json& settings, const std::string& path) {
  std::optional<ClassParts> parts = parts_of_class(name, settings, path);
  if (!parts) {
    if (!is_plain_class(name)) {
      log("{}: tokenizer_class {} is not known: tokenizer.json counts", path,
          escaped(shortened(name, 60)));
    }
    return std::nullopt;
  }
  const bool bytes =
      config::json_text(file.pre_tokenizer).find(R"("ByteLevel")") != std::string::npos;
  if (bytes != parts->byte_fallback) return parts;
  log("{}: tokenizer_class {} is of {}, and tokenizer.json of {}: tokenizer.json counts, and the "
      "ids of transformers 5 are others",
      path, name, bytes ? "characters" : "bytes", bytes ? "bytes" : "characters");
  return std::nullopt;
}

void take_parts(const ClassParts& parts, const std::string& name, const std::string& path,
                TokenizerFile& file) {
  std::vector<std::string> changed;
  const auto take = [&](Json& own, const Json& built, const char* what) {
    if (essential(own) != essential(built)) changed.emplace_back(what);
    own = built;
  };
  take(file.normalizer, parts.normalizer, "normalizer");
  take(file.pre_tokenizer, parts.pre_tokenizer, "pre_tokenizer");
  if (parts.byte_fallback || type_of(file.decoder) != "ByteLevel") {
    take(file.decoder, parts.decoder, "decoder");
  }
  if (file.ignore_merges || file.byte_fallback != parts.byte_fallback)
    changed.emplace_back("model");
  file.ignore_merges = false;
  file.byte_fallback = parts.byte_fallback;
  file.fuse_unknown = parts.fuse_unknown;
  const auto unknown = file.vocabulary.find(parts.unknown);
  file.unknown = unknown == file.vocabulary.end() ? -1 : unknown->second;
  if (parts.drops_post_processor && !(file.before.empty() && file.behind.empty())) {
    changed.emplace_back("post_processor");
    file.before.clear();
    file.behind.clear();
  }
  if (changed.empty()) return;
  log("{}: as in transformers 5, tokenizer_class {} has its own {} in place of tokenizer.json's",
      path, name, fmt::join(changed, ", "));
}

}  // namespace trireme::data
