// From models/*/tokenization_*.py and models/auto/tokenization_auto.py of transformers 5.17.
#include "data/tokenizer_class_table.h"

#include <algorithm>
#include <string_view>

#include "config/model_spec_keys.h"

namespace trireme::data {
namespace {

using config::Json;
using config::Keys;

constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen35Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|)"
    R"( ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Json sequence(const char* list, std::initializer_list<Json> steps) {
  return {{"type", "Sequence"}, {list, Json(Json::array_t(steps))}};
}

Json byte_level(const Keys& settings, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", settings.flag_or("add_prefix_space", false)},
          {"use_regex", use_regex}};
}

Json replace(const char* what, const char* content) {
  return {{"type", "Replace"}, {"pattern", {{"String", what}}}, {"content", content}};
}

// Of SentencePiece: characters, with bytes for those that the vocabulary lacks.
ClassParts of_characters(bool strip) {
  ClassParts parts;
  std::initializer_list<Json> steps = {
      replace("▁", " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
  parts.decoder = sequence("decoders", steps);
  if (strip) {
    parts.decoder["decoders"].push_back(
        {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  parts.byte_fallback = parts.fuse_unknown = true;
  return parts;
}

Json metaspace(const char* scheme) {
  return {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", scheme}, {"split", false}};
}

ClassParts llama(const Keys& settings) {
  const bool prefix = settings.flag_or("add_prefix_space", true);
  const bool legacy = settings.flag_or("legacy", false);
  ClassParts parts = of_characters(/*strip=*/prefix);
  parts.pre_tokenizer = metaspace(!prefix ? "never" : legacy ? "always" : "first");
  parts.tokens = {{"unk_token", "<unk>"}, {"bos_token", "<s>"}, {"eos_token", "</s>"}};
  return parts;
}

ClassParts gemma(const Keys& settings) {
  ClassParts parts = of_characters(/*strip=*/false);
  parts.normalizer = replace(" ", "▁");
  parts.pre_tokenizer = {{"type", "Split"},
                         {"pattern", {{"String", " "}}},
                         {"behavior", "MergedWithPrevious"},
                         {"invert", false}};
  parts.unknown = settings.text_or("unk_token", "<unk>");
  parts.tokens = {{"unk_token", "<unk>"},
                  {"bos_token", "<bos>"},
                  {"eos_token", "<eos>"},
                  {"pad_token", "<pad>"},
                  {"mask_token", "<mask>"}};
  return parts;
}

ClassParts of_bytes(Json normalizer, Json pre_tokenizer) {
  ClassParts parts;
  parts.normalizer = std::move(normalizer);
  parts.pre_tokenizer = std::move(pre_tokenizer);
  parts.decoder = {{"type", "ByteLevel"}};
  return parts;
}

ClassParts qwen(const Keys& settings, const char* pattern) {
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", pattern}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  ClassParts parts =
      of_bytes({{"type", "NFC"}},
               sequence("pretokenizers", {split, byte_level(settings, /*use_regex=*/false)}));
  for (const char* key : {"unk_token", "eos_token", "pad_token"})
    parts.tokens[key] = "<|endoftext|>";
  return parts;
}

ClassParts gpt2(const Keys& settings, Json normalizer) {
  ClassParts parts = of_bytes(std::move(normalizer), byte_level(settings, /*use_regex=*/true));
  for (const char* key : {"unk_token", "bos_token", "eos_token"})
    parts.tokens[key] = "<|endoftext|>";
  return parts;
}

ClassParts gpt_neox(const Keys& settings) {
  ClassParts parts = gpt2(settings, {{"type", "NFC"}});
  parts.tokens["pad_token"] = "<|padding|>";
  parts.drops_post_processor = true;
  return parts;
}

struct Row {
  std::string_view name;
  ClassParts (*parts)(const Keys& settings);
};

constexpr Row kRows[] = {
    {"LlamaTokenizer", llama},
    {"GemmaTokenizer", gemma},
    {"Qwen2Tokenizer", [](const Keys& settings) { return qwen(settings, kQwen2Pattern); }},
    {"Qwen3_5Tokenizer", [](const Keys& settings) { return qwen(settings, kQwen35Pattern); }},
    {"GPT2Tokenizer", [](const Keys& settings) { return gpt2(settings, nullptr); }},
    {"CodeGenTokenizer", [](const Keys& settings) { return gpt2(settings, nullptr); }},
    {"GPTNeoXTokenizer", gpt_neox},
};

}  // namespace

std::optional<ClassParts> parts_of_class(const std::string& name, const Json& settings,
                                         const std::string& path) {
  const auto row = std::ranges::find(kRows, name, &Row::name);
  if (row == std::end(kRows)) return std::nullopt;
  return row->parts(Keys(settings, path));
}

}  // namespace trireme::data
