#include "data/token_decoder.h"

#include <cctype>
#include <string_view>

#include "base/error.h"
#include "config/model_spec_keys.h"
#include "data/bpe.h"
#include "data/json_types.h"
#include "data/unicode.h"

namespace trireme::data {
namespace {

using config::Json;
using config::Keys;
using Entries = std::vector<std::string>;

void replace_all(std::string& text, std::string_view what, std::string_view content) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += content.size()) {
    text.replace(at, what.size(), content);
  }
}

void fuse(Entries& entries) {
  std::string all;
  for (const std::string& entry : entries) all += entry;
  entries = {all};
}

void byte_level(Entries& entries) {
  std::string bytes;
  for (const std::string& entry : entries) bytes += entry_to_bytes(entry);
  entries = {to_valid_utf8(bytes)};
}

// The byte of "<0x0A>", or -1.
int byte_of(const std::string& entry) {
  if (entry.size() != 6 || !entry.starts_with("<0x") || entry[5] != '>') return -1;
  if (std::isxdigit(entry[3]) == 0 || std::isxdigit(entry[4]) == 0) return -1;
  return std::stoi(entry.substr(3, 2), nullptr, 16);
}

// A run of bytes that is no UTF-8 becomes a U+FFFD for each byte.
void byte_fallback(Entries& entries) {
  Entries out;
  std::string bytes;
  const auto flush = [&] {
    if (valid_utf8_prefix(bytes) == bytes.size()) {
      if (!bytes.empty()) out.push_back(bytes);
    } else {
      std::string replacement;
      append_utf8(replacement, kReplacement);
      out.insert(out.end(), bytes.size(), replacement);
    }
    bytes.clear();
  };
  for (std::string& entry : entries) {
    if (const int byte = byte_of(entry); byte >= 0) {
      bytes += static_cast<char>(byte);
      continue;
    }
    flush();
    out.push_back(std::move(entry));
  }
  flush();
  entries = std::move(out);
}

// Takes `content` off the start of each entry up to `start` times, and off its end.
void strip_entries(Entries& entries, const std::string& content, int64_t start, int64_t stop) {
  for (std::string& entry : entries) {
    std::string_view rest = entry;
    for (int64_t i = 0; i < start && rest.starts_with(content); ++i) {
      rest.remove_prefix(content.size());
    }
    for (int64_t i = 0; i < stop && rest.ends_with(content); ++i) {
      rest.remove_suffix(content.size());
    }
    entry = std::string(rest);
  }
}

// Spaces for the replacement; in the first entry nothing where the encoder put one there.
void metaspace(Entries& entries, const std::string& replacement, bool prepended) {
  for (size_t i = 0; i < entries.size(); ++i) {
    replace_all(entries[i], replacement, i == 0 && prepended ? "" : " ");
  }
}

}  // namespace

TokenDecoder::TokenDecoder(const Json& json, const std::string& file) {
  if (json.is_null()) {
    steps_.emplace_back([](Entries& entries) {
      for (size_t i = 1; i < entries.size(); ++i) entries[i].insert(0, " ");
    });
  } else {
    add(json, file);
  }
}

void TokenDecoder::add(const Json& json, const std::string& file) {
  const std::string type = type_of(json);
  const Keys keys(json, file, "decoder.");
  if (type == "Sequence") {
    for (const Json& step : list_of(json, "decoders", file, "decoder")) add(step, file);
  } else if (type == "ByteLevel") {
    steps_.emplace_back(byte_level);
  } else if (type == "ByteFallback") {
    steps_.emplace_back(byte_fallback);
  } else if (type == "Fuse") {
    steps_.emplace_back(fuse);
  } else if (type == "Replace") {
    steps_.emplace_back([what = pattern_string(json, file, "decoder Replace"),
                         content = keys.text("content")](Entries& entries) {
      for (std::string& entry : entries) replace_all(entry, what, content);
    });
  } else if (type == "Strip") {
    steps_.emplace_back([content = keys.text("content"), start = keys.integer("start", 0),
                         stop = keys.integer("stop", 0)](Entries& entries) {
      if (!content.empty()) strip_entries(entries, content, start, stop);
    });
  } else if (type == "Metaspace") {
    steps_.emplace_back([replacement = metaspace_replacement(json, file),
                         prepended = metaspace_scheme(json, file) != "never"](Entries& entries) {
      metaspace(entries, replacement, prepended);
    });
  } else {
    fail(
        "{}: decoder '{}' is not supported: known are ByteLevel, ByteFallback, Fuse, Metaspace, "
        "Replace, Sequence, Strip",
        file, type);
  }
}

std::string TokenDecoder::operator()(Entries entries) const {
  for (const Step& step : steps_) step(entries);
  std::string text;
  for (const std::string& entry : entries) text += entry;
  return to_valid_utf8(text);
}

}  // namespace trireme::data
