#include "data/pretokenizer.h"

#include "base/error.h"

namespace trireme::data {
namespace {

using config::Json;

// ByteLevel with use_regex, from GPT-2.
constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

std::string split_pattern(const Json& json, const std::string& file) {
  const Json pattern = json.value("pattern", Json());
  if (!pattern.is_object() || !pattern.contains("Regex") || !pattern["Regex"].is_string()) {
    fail("{}: pre_tokenizer Split has a pattern {}: only a Regex is supported", file,
         config::json_text(pattern));
  }
  if (json.value("behavior", "") != "Isolated" || json.value("invert", false)) {
    fail(
        "{}: pre_tokenizer Split has behavior {}, invert {}: only Isolated without invert is "
        "supported",
        file, json.value("behavior", "(none)"), json.value("invert", false));
  }
  return pattern["Regex"].get<std::string>();
}

}  // namespace

PreTokenizer::PreTokenizer(const Json& json, const std::string& file) {
  if (json.is_object() && json.value("type", "") == "Sequence") {
    const Json steps = json.value("pretokenizers", Json::array());
    for (const Json& step : steps) add_step(step, file);
  } else {
    add_step(json, file);
  }
  if (!byte_level_) {
    fail(
        "{}: pre_tokenizer has no ByteLevel step: only byte-level BPE is supported (Qwen, Llama-3, "
        "GPT-2)",
        file);
  }
}

void PreTokenizer::add_step(const Json& json, const std::string& file) {
  const std::string type = json.is_object() ? json.value("type", "(none)") : "null";
  if (byte_level_) fail("{}: pre_tokenizer {} after ByteLevel is not supported", file, type);
  if (type == "Split") {
    steps_.emplace_back(split_pattern(json, file), file);
  } else if (type == "Digits") {
    steps_.emplace_back(json.value("individual_digits", false) ? "\\p{N}" : "\\p{N}+", file);
  } else if (type == "ByteLevel") {
    if (json.value("add_prefix_space", true)) {
      fail("{}: pre_tokenizer ByteLevel with add_prefix_space is not supported", file);
    }
    if (json.value("use_regex", true)) steps_.emplace_back(kGpt2Pattern, file);
    byte_level_ = true;
  } else {
    fail("{}: pre_tokenizer {} is not supported: known are Split, Digits, ByteLevel, Sequence",
         file, type);
  }
}

void PreTokenizer::split(std::string_view text, std::vector<std::string_view>& pieces,
                         PieceRegex::Scratch& scratch) const {
  pieces.clear();
  if (text.empty()) return;
  pieces.push_back(text);
  std::vector<std::string_view> finer;
  for (const PieceRegex& step : steps_) {
    finer.clear();
    for (std::string_view piece : pieces) step.split(piece, finer, scratch);
    pieces.swap(finer);
  }
}

}  // namespace trireme::data
