#include "data/pretokenizer.h"

#include "base/error.h"
#include "config/model_spec_keys.h"

namespace trireme::data {
namespace {

using config::Json;
using config::Keys;

// ByteLevel with use_regex, from GPT-2.
constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

std::string split_pattern(const Keys& step) {
  const Json* pattern = step.find("pattern");
  const bool regex = pattern != nullptr && pattern->is_object() && pattern->contains("Regex") &&
                     (*pattern)["Regex"].is_string();
  if (!regex) {
    fail("{}: pre_tokenizer Split has a pattern {}: only a Regex is supported", step.name(),
         pattern == nullptr ? "null" : config::json_text(*pattern));
  }
  const std::string behavior = step.text_or("behavior", "(none)");
  const bool invert = step.flag_or("invert", false);
  if (behavior != "Isolated" || invert) {
    fail(
        "{}: pre_tokenizer Split has behavior {}, invert {}: only Isolated without invert is "
        "supported",
        step.name(), behavior, invert);
  }
  return (*pattern)["Regex"].get<std::string>();
}

Keys keys_of(const Json& step, const std::string& file) {
  if (!step.is_object()) {
    fail("{}: pre_tokenizer {} is not supported: an object with a type is expected", file,
         config::json_text(step));
  }
  return Keys(step, file, "pre_tokenizer.");
}

}  // namespace

PreTokenizer::PreTokenizer(const Json& json, const std::string& file) {
  const Keys keys = keys_of(json, file);
  if (keys.text_or("type", "") == "Sequence") {
    const Json* steps = keys.find("pretokenizers");
    if (steps == nullptr || !steps->is_array()) {
      fail("{}: pre_tokenizer Sequence has no list of pretokenizers", file);
    }
    for (const Json& step : *steps) add_step(step, file);
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
  const Keys step = keys_of(json, file);
  const std::string type = step.text_or("type", "(none)");
  if (byte_level_) fail("{}: pre_tokenizer {} after ByteLevel is not supported", file, type);
  if (type == "Split") {
    steps_.emplace_back(split_pattern(step), file);
  } else if (type == "Digits") {
    steps_.emplace_back(step.flag_or("individual_digits", false) ? "\\p{N}" : "\\p{N}+", file);
  } else if (type == "ByteLevel") {
    if (step.flag_or("add_prefix_space", true)) {
      fail("{}: pre_tokenizer ByteLevel with add_prefix_space is not supported", file);
    }
    if (step.flag_or("use_regex", true)) steps_.emplace_back(kGpt2Pattern, file);
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
