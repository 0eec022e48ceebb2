#include "data/pretokenizer.h"

#include "base/error.h"
#include "data/bpe.h"
#include "data/json_types.h"
#include "data/unicode.h"

namespace trireme::data {
namespace {

using config::Json;
using config::Keys;

// ByteLevel with use_regex, from GPT-2.
constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// ASCII's symbols count as well, as in the reference.
constexpr const char* kPunctuationPattern = R"([!-\/:-@\[-`{-~\p{P}])";

std::string split_pattern(const Keys& step) {
  const Json* pattern = step.find("pattern");
  for (const char* kind : {"Regex", "String"}) {
    if (pattern == nullptr || !pattern->is_object() || !pattern->contains(kind)) continue;
    const Json& text = (*pattern)[kind];
    if (!text.is_string() || text.get<std::string>().empty()) continue;
    const auto value = text.get<std::string>();
    return kind == std::string_view("Regex") ? value : quoted_pattern(value);
  }
  fail("{}: pre_tokenizer Split has a pattern {}: a Regex or a String is expected", step.name(),
       pattern == nullptr ? "null" : config::json_text(*pattern));
}

Behavior behavior_of(const Keys& step, const std::string& fallback) {
  const std::string name = step.text_or("behavior", fallback);
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  fail("{}: pre_tokenizer has the behavior {}, which is not known", step.name(), name);
}

// One text from the start of `left` to the end of `right`, which follows it.
std::string_view joined(std::string_view left, std::string_view right) {
  return {left.data(), static_cast<size_t>(right.data() + right.size() - left.data())};
}

// Appends the pieces that a Split makes of parts, as `tokenizers` does it: of several matches in a
// row only the first is merged with what lies before it, and only the last with what follows.
void join_parts(const std::vector<Part>& parts, Behavior behavior,
                std::vector<std::string_view>& pieces) {
  const size_t first = pieces.size();
  for (size_t i = 0; i < parts.size(); ++i) {
    const Part& part = parts[i];
    const bool before = i > 0 && parts[i - 1].match;
    bool join = false;
    if (behavior == Behavior::kRemoved && part.match) continue;
    if (behavior == Behavior::kMergedWithPrevious) join = part.match && !before;
    if (behavior == Behavior::kMergedWithNext) join = !part.match && before;
    if (behavior == Behavior::kContiguous) join = part.match == before;
    if (join && pieces.size() > first) {
      pieces.back() = joined(pieces.back(), part.text);
    } else {
      pieces.push_back(part.text);
    }
  }
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
  if (json.is_null()) return;
  const Keys keys = keys_of(json, file);
  if (keys.text_or("type", "") == "Sequence") {
    const Json& steps = list_of(json, "pretokenizers", file, "pre_tokenizer");
    for (const Json& step : steps) add_step(step, &step == &steps.back(), file);
  } else {
    add_step(json, /*last=*/true, file);
  }
}

void PreTokenizer::add_regex(const std::string& pattern, Behavior behavior, bool invert,
                             const std::string& file) {
  const auto regex = std::make_shared<const PieceRegex>(pattern, file);
  if (behavior == Behavior::kIsolated) {
    steps_.emplace_back([regex](std::string_view piece, bool, std::vector<std::string_view>& pieces,
                                Scratch& scratch) { regex->split(piece, pieces, scratch.regex); });
    return;
  }
  steps_.emplace_back([regex, behavior, invert](std::string_view piece, bool,
                                                std::vector<std::string_view>& pieces,
                                                Scratch& scratch) {
    scratch.parts.clear();
    regex->split(piece, scratch.parts, scratch.regex);
    if (invert) {
      for (Part& part : scratch.parts) part.match = !part.match;
    }
    join_parts(scratch.parts, behavior, pieces);
  });
}

// Spaces become a character of their own; a word starts with it.
void PreTokenizer::add_metaspace(const Json& json, const std::string& file) {
  const std::string space = metaspace_replacement(json, file);
  const std::string scheme = metaspace_scheme(json, file);
  steps_.emplace_back([space, scheme](std::string_view piece, bool at_start,
                                      std::vector<std::string_view>& pieces, Scratch& scratch) {
    std::string& text = scratch.texts.emplace_back();
    const bool prepend = scheme == "always" || (scheme == "first" && at_start);
    if (prepend && !piece.starts_with(' ') && !piece.starts_with(space)) text = space;
    for (const char c : piece) {
      if (c == ' ') {
        text += space;
      } else {
        text += c;
      }
    }
    pieces.push_back(text);
  });
  if (Keys(json, file, "Metaspace.").flag_or("split", true)) {
    add_regex(quoted_pattern(space), Behavior::kMergedWithNext, false, file);
  }
}

// Whitespace: runs of word characters, and runs of what is neither that nor white space.
void PreTokenizer::add_words() {
  steps_.emplace_back(
      [](std::string_view piece, bool, std::vector<std::string_view>& pieces, Scratch&) {
        enum class Kind { kSpace, kWord, kOther };
        Kind before = Kind::kSpace;
        for (size_t at = 0; at < piece.size();) {
          const size_t begin = at;
          const char32_t c = next_code_point(piece, at);
          const Kind kind = is_white_space(c)      ? Kind::kSpace
                            : is_word_character(c) ? Kind::kWord
                                                   : Kind::kOther;
          const std::string_view one = piece.substr(begin, at - begin);
          if (kind != Kind::kSpace && kind == before) {
            pieces.back() = joined(pieces.back(), one);
          } else if (kind != Kind::kSpace) {
            pieces.push_back(one);
          }
          before = kind;
        }
      });
}

// Steps behind it see the characters that stand for bytes.
void PreTokenizer::add_byte_level(const Keys& step, bool last, const std::string& file) {
  if (step.flag_or("add_prefix_space", true)) {
    steps_.emplace_back(
        [](std::string_view piece, bool, std::vector<std::string_view>& pieces, Scratch& scratch) {
          if (!piece.starts_with(' ')) piece = scratch.texts.emplace_back(" " + std::string(piece));
          pieces.push_back(piece);
        });
  }
  if (step.flag_or("use_regex", true)) add_regex(kGpt2Pattern, Behavior::kIsolated, false, file);
  if (last) {
    byte_level_ = true;
    return;
  }
  steps_.emplace_back(
      [](std::string_view piece, bool, std::vector<std::string_view>& pieces, Scratch& scratch) {
        pieces.push_back(scratch.texts.emplace_back(bytes_to_entry(piece)));
      });
}

void PreTokenizer::add_step(const Json& json, bool last, const std::string& file) {
  const Keys step = keys_of(json, file);
  const std::string type = step.text_or("type", "(none)");
  if (type == "Split") {
    add_regex(split_pattern(step), behavior_of(step, "(none)"), step.flag_or("invert", false),
              file);
  } else if (type == "Digits") {
    const bool single = step.flag_or("individual_digits", false);
    add_regex(single ? "\\p{N}" : "\\p{N}+", Behavior::kIsolated, false, file);
  } else if (type == "Punctuation") {
    add_regex(kPunctuationPattern, behavior_of(step, "Isolated"), false, file);
  } else if (type == "Metaspace") {
    add_metaspace(json, file);
  } else if (type == "Whitespace") {
    add_words();
  } else if (type == "WhitespaceSplit") {
    add_regex("\\s", Behavior::kRemoved, false, file);
  } else if (type == "ByteLevel") {
    add_byte_level(step, last, file);
  } else {
    fail(
        "{}: pre_tokenizer {} is not supported: known are ByteLevel, Digits, Metaspace, "
        "Punctuation, Sequence, Split, Whitespace, WhitespaceSplit",
        file, type);
  }
}

void PreTokenizer::split(std::string_view text, bool at_start,
                         std::vector<std::string_view>& pieces, Scratch& scratch) const {
  pieces.clear();
  scratch.texts.clear();
  if (text.empty()) return;
  pieces.push_back(text);
  for (const Step& step : steps_) {
    scratch.finer.clear();
    bool first = at_start;
    for (std::string_view piece : pieces) {
      step(piece, first, scratch.finer, scratch);
      first = false;
    }
    pieces.swap(scratch.finer);
  }
}

}  // namespace trireme::data
