// Regular expressions of pre-tokenizers through PCRE2. The reference uses Oniguruma in Ruby syntax
// over UTF-8. Known difference: the Unicode version of \p{L} and \p{N} (PCRE2 10.42: 14.0); letters
// assigned later, mostly rare ideographs, fall into another class.
#include <pcre2.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <limits>
#include <set>

#include "base/error.h"
#include "data/pretokenizer.h"

namespace trireme::data {
namespace {

constexpr uint32_t kHeapKib = 1 << 20;
constexpr const char* kWhiteSpace = R"(\x09-\x0d\x20\x{85}\p{Z})";

// General categories: script names are left out, since PCRE2 widens those to script extensions.
const std::set<std::string>& categories() {
  static const std::set<std::string> names = {
      "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N",  "Nd", "Nl", "No", "P", "Pc",
      "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp"};
  return names;
}

class Translator {
 public:
  Translator(const std::string& pattern, const std::string& file) : in_(pattern), file_(file) {}

  std::string run() {
    while (at_ < in_.size()) {
      const char c = in_[at_];
      if (c == '\\') {
        escape();
      } else if (c == '[') {
        open_class();
      } else if (in_class_ && c == ']') {
        in_class_ = false;
        copy(1);
      } else if (in_class_) {
        class_member();
      } else if (c == '(') {
        group();
      } else if (c == '{') {
        repeat();
      } else if (c == '$') {
        out_ += R"((?=\n|\z))";  // the end of any line
        ++at_;
      } else if (c == '.' || c == '^') {
        refuse(std::string(1, c));
      } else {
        copy(1);
      }
    }
    if (in_class_) refuse("[");
    return out_;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    fail("{}: pre_tokenizer pattern '{}' has '{}' at character {}, which is not supported", file_,
         in_, what, at_ + 1);
  }

  void copy(size_t length) {
    out_ += in_.substr(at_, length);
    at_ += length;
  }

  void open_class() {
    if (in_class_) refuse("[ in a class");
    in_class_ = true;
    copy(in_.compare(at_, 2, "[^") == 0 ? 2 : 1);
    if (at_ < in_.size() && in_[at_] == ']') refuse("an empty class");
  }

  void class_member() {
    if (in_.compare(at_, 2, "&&") == 0) refuse("&&");
    copy(1);
  }

  void group() {
    if (in_.compare(at_, 2, "(?") != 0) return copy(1);
    for (const char* known : {"(?i:", "(?:", "(?!", "(?="}) {
      const std::string opening = known;
      if (in_.compare(at_, opening.size(), opening) == 0) return copy(opening.size());
    }
    refuse(in_.substr(at_, 3));
  }

  // {m}, {m,}, {m,n}; what may follow ("+", "?") means other things in the two dialects.
  void repeat() {
    const size_t end = in_.find('}', at_);
    if (end == std::string::npos) refuse("{");
    const std::string body = in_.substr(at_ + 1, end - at_ - 1);
    const bool digits = !body.empty() && body[0] >= '0' && body[0] <= '9' &&
                        body.find_first_not_of("0123456789,") == std::string::npos;
    const char next = end + 1 < in_.size() ? in_[end + 1] : ' ';
    if (!digits || next == '+' || next == '?' || next == '*') refuse("{" + body + "}" + next);
    copy(body.size() + 2);
  }

  void escape() {
    const char c = at_ + 1 < in_.size() ? in_[at_ + 1] : '\0';
    if (c == 's') {
      out_ += in_class_ ? std::string(kWhiteSpace) : fmt::format("[{}]", kWhiteSpace);
    } else if (c == 'S' && !in_class_) {
      out_ += fmt::format("[^{}]", kWhiteSpace);
    } else if (c == 'd') {
      out_ += "\\p{Nd}";
    } else if (c == 'p' || c == 'P') {
      return category();
    } else if (c == 'r' || c == 'n' || c == 't' || (c > ' ' && c < 0x7F && !std::isalnum(c))) {
      out_ += in_.substr(at_, 2);
    } else {
      refuse(in_.substr(at_, 2));
    }
    at_ += 2;
  }

  void category() {
    const size_t end = in_.find('}', at_);
    if (end == std::string::npos || in_[at_ + 2] != '{') refuse(in_.substr(at_, 3));
    if (!categories().contains(in_.substr(at_ + 3, end - at_ - 3))) {
      refuse(in_.substr(at_, end + 1 - at_));
    }
    copy(end + 1 - at_);
  }

  const std::string& in_;
  const std::string& file_;
  std::string out_;
  size_t at_ = 0;
  bool in_class_ = false;
};

std::string error_text(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

std::string quoted_pattern(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (c > ' ' && c < 0x7F && std::isalnum(static_cast<unsigned char>(c)) == 0) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

std::string to_pcre2(const std::string& pattern, const std::string& file) {
  return Translator(pattern, file).run();
}

struct PieceRegex::Code {
  std::string pattern, file;  // for messages
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }
};

struct PieceRegex::Scratch::Data {
  pcre2_match_data* match = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  ~Data() {
    pcre2_match_data_free(match);
    pcre2_match_context_free(context);
  }
};

PieceRegex::Scratch::Scratch() : data_(std::make_unique<Data>()) {}
PieceRegex::Scratch::~Scratch() = default;
PieceRegex::Scratch::Scratch(Scratch&&) noexcept = default;

PieceRegex::PieceRegex(const std::string& pattern, const std::string& file)
    : code_(new Code{.pattern = pattern, .file = file}) {
  const std::string translated = to_pcre2(pattern, file);
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                              PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  if (code_->code == nullptr) {
    fail("{}: pre_tokenizer pattern '{}' is not a valid regular expression: {}", file, pattern,
         error_text(error));
  }
  // Where the system forbids writable code pages this fails, and pcre2_match interprets the
  // pattern.
  pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE);
}
PieceRegex::~PieceRegex() = default;
PieceRegex::PieceRegex(PieceRegex&&) noexcept = default;

bool PieceRegex::may_match_nothing() const {
  uint32_t empty = 0;
  pcre2_pattern_info(code_->code, PCRE2_INFO_MATCHEMPTY, &empty);
  return empty != 0;
}

// The pattern is input, and some patterns step back more often than a text has characters, or than
// anyone would wait for. A run of a megabyte of spaces steps back a million times: that is no
// error.
void PieceRegex::set_limits(size_t bytes, Scratch& scratch) {
  constexpr uint64_t kSteps = 10'000'000, kStepsOfByte = 16;
  const uint64_t steps = kSteps + kStepsOfByte * bytes;
  constexpr uint64_t kMost = std::numeric_limits<uint32_t>::max();
  pcre2_set_match_limit(scratch.data_->context, static_cast<uint32_t>(std::min(steps, kMost)));
  pcre2_set_heap_limit(scratch.data_->context, kHeapKib);
}

template <typename Add>
void PieceRegex::split(std::string_view text, Scratch& scratch, const Add& add) const {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch.data_->match);
  set_limits(text.size(), scratch);
  size_t done = 0;  // everything before has been added
  for (size_t from = 0; from < text.size();) {
    const int found = pcre2_match(code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK,
                                  scratch.data_->match, scratch.data_->context);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) {
      fail("{}: pre_tokenizer pattern '{}' gives up on a text of {} bytes: {}: not supported",
           code_->file, code_->pattern, text.size(), error_text(found));
    }
    const size_t begin = bounds[0], end = bounds[1];
    if (begin > done) add(text.substr(done, begin - done), false);
    if (end > begin) add(text.substr(begin, end - begin), true);
    done = end;
    from = end > begin ? end : end + 1;  // an empty match must not stand still
    while (from < text.size() && (text[from] & 0xC0) == 0x80) ++from;
  }
  if (done < text.size()) add(text.substr(done), false);
}

void PieceRegex::split(std::string_view text, std::vector<std::string_view>& pieces,
                       Scratch& scratch) const {
  split(text, scratch, [&](std::string_view part, bool) { pieces.push_back(part); });
}

void PieceRegex::split(std::string_view text, std::vector<Part>& parts, Scratch& scratch) const {
  split(text, scratch, [&](std::string_view part, bool match) { parts.push_back({part, match}); });
}

}  // namespace trireme::data
