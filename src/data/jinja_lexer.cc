#include "data/jinja_lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "data/jinja_text.h"
#include "data/unicode.h"

namespace trireme::data::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80);
}

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t tag = next_tag();
      const char kind = tag < source_.size() ? source_[tag + 1] : '\0';
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
      data(tag, kind, sign);
      if (tag >= source_.size()) break;
      begin_ = tag;
      at_ = tag + 2 + (sign == '-' || sign == '+' ? 1 : 0);
      if (kind == '#') {
        comment();
      } else if (kind == '%' && raw_follows()) {
        raw();
      } else {
        inside(kind);
      }
    }
    tokens_.push_back({TokenKind::kEnd, "", source_.size()});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& what, size_t at) const { throw SyntaxError(what, at); }

  size_t next_tag() const {
    for (size_t at = source_.find('{', at_); at != source_.npos; at = source_.find('{', at + 1)) {
      if (at + 1 < source_.size() && std::strchr("{%#", source_[at + 1]) != nullptr) return at;
    }
    return source_.size();
  }

  // The text up to a tag, without what the tag takes from it.
  void data(size_t end, char tag, char sign) {
    std::string_view text = source_.substr(at_, end - at_);
    if (sign == '-' && tag != '\0') {
      text = text.substr(0, strip(Text(text), Side::kRight).size());
    } else if (sign != '+' && (tag == '%' || tag == '#')) {
      const size_t line = text.rfind('\n') + 1;  // 0 without one
      if ((line > 0 || line_starts_) && strip(Text(text.substr(line)), Side::kLeft).empty()) {
        text = text.substr(0, line);
      }
    }
    if (!text.empty()) tokens_.push_back({TokenKind::kData, std::string(text), at_});
  }

  bool starts(std::string_view what) const { return source_.substr(at_).starts_with(what); }

  void skip_space() {
    for (size_t next = at_; next < source_.size(); at_ = next) {
      if (!is_space(next_code_point(source_, next))) break;
    }
  }

  // Takes the end of a tag if it is here, with the white space that it swallows.
  bool end(std::string_view mark, bool trims) {
    if (starts("-") && source_.substr(at_ + 1).starts_with(mark)) {
      at_ += 1 + mark.size();
      skip_space();
    } else if (trims && starts("+") && source_.substr(at_ + 1).starts_with(mark)) {
      at_ += 1 + mark.size();
    } else if (starts(mark)) {
      at_ += mark.size();
      if (trims && starts("\n")) ++at_;
    } else {
      return false;
    }
    line_starts_ = source_[at_ - 1] == '\n';
    return true;
  }

  void comment() {
    for (; at_ < source_.size(); ++at_) {
      if (end("#}", true)) return;
    }
    fail("the comment does not end", begin_);
  }

  // A word in a tag: moves behind it.
  bool word(std::string_view name) {
    const size_t before = at_;
    skip_space();
    if (starts(name)) {
      at_ += name.size();
      skip_space();
      return true;
    }
    at_ = before;
    return false;
  }

  bool raw_follows() {
    const size_t before = at_;
    if (word("raw") && end("%}", /*trims=*/false)) return true;
    at_ = before;
    return false;
  }

  void raw() {
    const size_t from = at_;
    for (size_t tag = source_.find("{%", from); tag != source_.npos;
         tag = source_.find("{%", tag + 1)) {
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
      at_ = tag + 2 + (sign == '-' || sign == '+' ? 1 : 0);
      if (!word("endraw") || !end("%}", /*trims=*/true)) continue;
      const size_t behind = std::exchange(at_, from);
      data(tag, '%', sign);
      at_ = behind;
      return;
    }
    fail("raw does not end", begin_);
  }

  void inside(char kind) {
    const bool tag = kind == '%';
    tokens_.push_back({tag ? TokenKind::kOpenTag : TokenKind::kOpen, "", begin_});
    std::string open;  // brackets
    for (;;) {
      skip_space();
      if (at_ >= source_.size()) fail("the tag does not end", begin_);
      const size_t from = at_;
      if (open.empty() && end(tag ? "%}" : "}}", /*trims=*/tag)) {
        tokens_.push_back({tag ? TokenKind::kCloseTag : TokenKind::kClose, "", from});
        return;
      }
      token(open);
    }
  }

  void token(std::string& open) {
    const char c = source_[at_];
    if (c == '"' || c == '\'') return string();
    if (is_digit(c)) return number();
    if (is_name(c)) return name();
    static constexpr std::array<std::string_view, 26> kOperators = {
        "==", "!=", "<=", ">=", "//", "**", "+", "-", "*", "/", "%", "~", "<",
        ">",  "=",  "(",  ")",  "[",  "]",  "{", "}", ",", ":", ".", "|", ";"};
    const auto found = std::ranges::find_if(kOperators, [&](auto sign) { return starts(sign); });
    if (found == kOperators.end()) fail("an unexpected character", at_);
    balance(c, open);
    tokens_.push_back({TokenKind::kOperator, std::string(*found), at_});
    at_ += found->size();
  }

  void balance(char c, std::string& open) const {
    if (c == '(' || c == '[' || c == '{') open += c;
    if (c != ')' && c != ']' && c != '}') return;
    const char needed = c == ')' ? '(' : c == ']' ? '[' : '{';
    if (open.empty() || open.back() != needed) fail(fmt::format("an unexpected '{}'", c), at_);
    open.pop_back();
  }

  void name() {
    const size_t from = at_;
    while (at_ < source_.size() && is_name(source_[at_])) ++at_;
    tokens_.push_back({TokenKind::kName, std::string(source_.substr(from, at_ - from)), from});
  }

  void digits(std::string& text) {
    while (at_ < source_.size() &&
           (is_digit(source_[at_]) ||
            (source_[at_] == '_' && at_ + 1 < source_.size() && is_digit(source_[at_ + 1])))) {
      if (source_[at_] != '_') text += source_[at_];
      ++at_;
    }
  }

  void number() {
    const size_t from = at_;
    std::string text;
    digits(text);
    TokenKind kind = TokenKind::kInteger;
    if (at_ + 1 < source_.size() && source_[at_] == '.' && is_digit(source_[at_ + 1]) &&
        (from == 0 || source_[from - 1] != '.')) {
      kind = TokenKind::kFloat;
      text += source_[at_++];
      digits(text);
    }
    if (at_ < source_.size() && (source_[at_] == 'e' || source_[at_] == 'E')) {
      size_t exponent = at_ + 1;
      if (exponent < source_.size() && std::strchr("+-", source_[exponent]) != nullptr) ++exponent;
      if (exponent < source_.size() && is_digit(source_[exponent])) {
        kind = TokenKind::kFloat;
        text += source_.substr(at_, exponent - at_);
        at_ = exponent;
        digits(text);
      }
    }
    if (at_ < source_.size() && is_name(source_[at_])) fail("a number of this form", from);
    tokens_.push_back({kind, std::move(text), from});
  }

  void string() {
    const size_t from = at_;
    const char quote = source_[at_++];
    std::string text;
    while (at_ < source_.size() && source_[at_] != quote) {
      if (source_[at_] == '\\') {
        ++at_;
        escape(text);
      } else {
        text += source_[at_++];
      }
    }
    if (at_ >= source_.size()) fail("the string does not end", from);
    ++at_;
    tokens_.push_back({TokenKind::kString, std::move(text), from});
  }

  // Python's escapes; others stay as they are written.
  void escape(std::string& text) {
    if (at_ >= source_.size()) return;
    const char c = source_[at_];
    static constexpr std::string_view kLetters = "abfnrtv\\'\"\n";
    static constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\'\"";
    if (const size_t which = kLetters.find(c); which != kLetters.npos) {
      text += kValues.substr(which, 1);  // nothing for a line end
      ++at_;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      ++at_;
      code_point(text, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    } else if (c >= '0' && c <= '7') {
      char32_t value = 0;
      for (int i = 0; i < 3 && at_ < source_.size() && source_[at_] >= '0' && source_[at_] <= '7';
           ++i) {
        value = value * 8 + static_cast<char32_t>(source_[at_++] - '0');
      }
      append_utf8(text, value);
    } else if (c == 'N') {
      fail("\\N{...} in a string", at_);
    } else {
      text += '\\';
    }
  }

  void code_point(std::string& text, int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const int digit = at_ < source_.size() ? hex_value(source_[at_]) : -1;
      if (digit < 0) fail("an escape of too few digits", at_);
      value = value * 16 + static_cast<uint32_t>(digit);
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
      fail("an escape of what is no character", at_);
    }
    append_utf8(text, value);
  }

  std::string_view source_;
  size_t at_ = 0;
  size_t begin_ = 0;         // of the tag that is being read
  bool line_starts_ = true;  // at the end of the last tag
  std::vector<Token> tokens_;
};

}  // namespace

std::string normalized(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      text += '\n';
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

std::vector<Token> tokens_of(std::string_view source) { return Lexer(source).run(); }

}  // namespace trireme::data::jinja
