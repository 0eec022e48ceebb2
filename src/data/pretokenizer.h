// Pre-tokenizers of tokenizer.json: they cut a text into the pieces that byte-pair encoding never
// merges across.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/json.h"

namespace trireme::data {

// One regular expression of a Split, Digits or ByteLevel step. Matches are pieces, and so is what
// lies between them
// ("Isolated").
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

  // Appends the pieces of valid UTF-8. UserError where the pattern takes too many steps.
  void split(std::string_view text, std::vector<std::string_view>& pieces, Scratch& scratch) const;

 private:
  static void set_limits(size_t bytes, Scratch& scratch);

  struct Code;
  std::unique_ptr<Code> code_;
};

// The pattern in PCRE2's syntax, with the same meaning. Only syntax that both read alike passes,
// and \s, \S become the property White_Space, which is what Oniguruma means by them (PCRE2 counts
// U+180E too).
std::string to_pcre2(const std::string& pattern, const std::string& file);

class PreTokenizer {
 public:
  // `json` is the file's "pre_tokenizer"; UserError for what is not supported, by name.
  PreTokenizer(const config::Json& json, const std::string& file);

  // Replaces `pieces` by those of valid UTF-8; they point into `text`.
  void split(std::string_view text, std::vector<std::string_view>& pieces,
             PieceRegex::Scratch& scratch) const;

 private:
  void add_step(const config::Json& json, const std::string& file);

  std::vector<PieceRegex> steps_;
  bool byte_level_ = false;
};

}  // namespace trireme::data
