// Pre-tokenizers of tokenizer.json: they cut a text into the pieces that byte-pair encoding never
// merges across.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/json.h"
#include "config/model_spec_keys.h"

namespace trireme::data {

// What a Split does with a match of its pattern.
enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

// A part of a text that a pattern matches, or that lies between two matches.
struct Part {
  std::string_view text;
  bool match = false;
};

// One regular expression of a Split, Digits or ByteLevel step.
class PieceRegex {
 public:
  // `pattern` in Oniguruma's syntax, as in the file; UserError for what has no sure counterpart in
  // PCRE2.
  PieceRegex(const std::string& pattern, const std::string& file);
  ~PieceRegex();
  PieceRegex(PieceRegex&&) noexcept;

  // What one thread needs while matching.
  class Scratch {
   public:
    Scratch();
    ~Scratch();
    Scratch(Scratch&&) noexcept;

   private:
    friend class PieceRegex;
    struct Data;
    std::unique_ptr<Data> data_;
  };

  bool may_match_nothing() const;
  // Appends the matches in valid UTF-8 and what lies between them. UserError where the pattern
  // takes too many steps.
  void split(std::string_view text, std::vector<std::string_view>& pieces, Scratch& scratch) const;
  void split(std::string_view text, std::vector<Part>& parts, Scratch& scratch) const;

 private:
  // Calls add(part, is_match) for each.
  template <typename Add>
  void split(std::string_view text, Scratch& scratch, const Add& add) const;
  static void set_limits(size_t bytes, Scratch& scratch);

  struct Code;
  std::unique_ptr<Code> code_;
};

// The pattern that matches `text` itself.
std::string quoted_pattern(std::string_view text);

// The pattern in PCRE2's syntax, with the same meaning. Only syntax that both read alike passes,
// and \s, \S become the property White_Space, which is what Oniguruma means by them (PCRE2 counts
// U+180E too).
std::string to_pcre2(const std::string& pattern, const std::string& file);

class PreTokenizer {
 public:
  // A thread's memory; pieces of the last text may point into it.
  struct Scratch {
    PieceRegex::Scratch regex;
    std::vector<Part> parts;
    std::vector<std::string_view> finer;
    std::deque<std::string> texts;  // those that a step changed
  };

  // `json` is the file's "pre_tokenizer"; UserError for what is not supported, by name. `null`
  // makes one piece of a text.
  PreTokenizer(const config::Json& json, const std::string& file);

  // Pieces are bytes, and not characters (or their stand-ins, see byte_to_character).
  bool byte_level() const { return byte_level_; }

  // Replaces `pieces` by those of valid UTF-8; they point into `text` or into `scratch`.
  // `at_start`: nothing stands before `text`, no added token either.
  void split(std::string_view text, bool at_start, std::vector<std::string_view>& pieces,
             Scratch& scratch) const;

 private:
  // Appends the pieces of a piece; `at_start` as above.
  using Step = std::function<void(std::string_view piece, bool at_start,
                                  std::vector<std::string_view>& pieces, Scratch& scratch)>;
  void add_step(const config::Json& json, bool last, const std::string& file);
  void add_regex(const std::string& pattern, Behavior behavior, bool invert,
                 const std::string& file);
  void add_metaspace(const config::Json& json, const std::string& file);
  void add_words();
  void add_byte_level(const config::Keys& step, bool last, const std::string& file);

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

}  // namespace trireme::data
