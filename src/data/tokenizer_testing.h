// A small tokenizer folder for unit tests: all bytes, a few merges, added tokens.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "config/json.h"
#include "data/bpe.h"

namespace trireme::data::testing_tools {

// The pieces of Qwen's and Llama-3's tokenizers.
inline constexpr const char* kQwenPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

using Merges = std::vector<std::pair<std::string, std::string>>;  // in bytes, not in stand-ins

inline config::Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", false},
          {"use_regex", use_regex}};
}

inline config::Json split_step(const std::string& pattern) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", pattern}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

inline config::Json added_token(int id, const std::string& content, bool special = true) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

// tokenizer.json in Qwen's manner; ids 0-255 are the bytes, 256 + i the i-th merge, then the added
// tokens.
inline config::Json small_tokenizer(const Merges& merges, const std::vector<std::string>& added) {
  using config::Json;
  Json vocabulary = Json::object(), list = Json::array(), tokens = Json::array();
  for (int byte = 0; byte < 256; ++byte) {
    const char one = static_cast<char>(byte);
    vocabulary[bytes_to_entry({&one, 1})] = byte;
  }
  int next = 256;
  for (const auto& [left, right] : merges) {
    list.push_back(Json::array({bytes_to_entry(left), bytes_to_entry(right)}));
    vocabulary[bytes_to_entry(left + right)] = next++;
  }
  for (const std::string& content : added) tokens.push_back(added_token(next++, content));
  Json model = {{"type", "BPE"}, {"ignore_merges", false}, {"vocab", vocabulary}, {"merges", list}};
  return {{"version", "1.0"},
          {"added_tokens", tokens},
          {"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers", Json::array({split_step(kQwenPattern), byte_level(false)})}}},
          {"decoder", byte_level(false)},
          {"model", model}};
}

inline void write_file(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace trireme::data::testing_tools
