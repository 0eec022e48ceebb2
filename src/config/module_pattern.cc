#include "config/module_pattern.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include "base/error.h"
#include "base/quote.h"

namespace trireme::config {
namespace {

constexpr size_t kLongest = 4096;
constexpr int64_t kMostCopies = 1000;
constexpr int64_t kDeepest = 64;  // groups in groups; the compiler of patterns recurses

// Rewrites a pattern of Python's as one of ECMAScript's.
class Translator {
 public:
  Translator(const std::string& text, const std::string& where) : text_(text), where_(where) {}

  std::string translate() {
    if (text_.size() > kLongest) {
      fail("{}: a pattern of {} characters: at most {} are expected", where_, text_.size(),
           kLongest);
    }
    while (at_ < text_.size()) {
      switch (text_[at_]) {
        case '\\':
          escape();
          break;
        case '[':
          character_class();
          break;
        case '(':
          group();
          break;
        case '{':
          repetition();
          break;
        case ')':
          --depth_;
          [[fallthrough]];
        default:
          out_ += text_[at_++];
      }
    }
    return out_;
  }

  [[noreturn]] void refuse(const std::string& what) const {
    fail("{}: {} in the pattern '{}' is not built: name the modules in a list", where_, what,
         shortened(text_, 200));
  }

 private:
  char peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }

  void escape() {
    static constexpr std::string_view kShared = "dDwWsSbBntrfv";
    const char next = peek(1);
    const bool letter = std::isalnum(static_cast<unsigned char>(next)) != 0;
    if (next == 'A' || next == 'Z') {
      out_ += next == 'A' ? '^' : '$';
    } else if (next == '\0' || (letter && kShared.find(next) == std::string_view::npos)) {
      refuse(next == '\0' ? "a \\ at the end" : std::string("\\") + next);
    } else {
      out_ += {'\\', next};
    }
    at_ += 2;
  }

  // "]" at the beginning and "[" are members of a class for Python.
  void character_class() {
    out_ += text_[at_++];
    if (peek() == '^') out_ += text_[at_++];
    for (bool first = true; first || peek() != ']'; first = false) {
      const char member = peek();
      if (member == '\0') refuse("a [ without ]");
      if (member == '\\') {
        if (peek(1) == 'b' || peek(1) == 'B') refuse("\\b in [ ]");
        escape();
        continue;
      }
      if (member == ']' || member == '[') out_ += '\\';
      out_ += text_[at_++];
    }
    out_ += text_[at_++];
  }

  void group() {
    if (++depth_ > kDeepest) refuse("a group this deep");
    out_ += text_[at_++];
    if (peek() != '?') return;
    const char kind = peek(1);
    if (kind == ':' || kind == '=' || kind == '!') {
      out_ += {'?', kind};
      at_ += 2;
      return;
    }
    const size_t end = text_.find('>', at_);
    if (kind != 'P' || peek(2) != '<' || end == std::string::npos) {
      refuse(std::string("(?") + kind);
    }
    at_ = end + 1;  // a name of the group
  }

  // Each copies what it repeats, and one in another multiplies.
  void repetition() {
    int64_t most = 1, number = 0;
    for (out_ += text_[at_++]; peek() != '}' && peek() != '\0'; out_ += text_[at_++]) {
      number = peek() == ',' ? 0 : std::min(kMostCopies + 1, 10 * number + (peek() - '0'));
      most = std::max(most, number);
    }
    copies_ = std::min(kMostCopies + 1, copies_ * most);
    if (copies_ > kMostCopies) refuse("that much repetition");
  }

  const std::string& text_;
  const std::string& where_;
  std::string out_;
  size_t at_ = 0;
  int64_t depth_ = 0, copies_ = 1;
};

// The standard library's other matcher backtracks: a pattern of a stranger's file could keep it
// busy for ever.
constexpr auto kSyntax = std::regex_constants::ECMAScript | std::regex_constants::nosubs |
                         std::regex_constants::__polynomial;

std::regex compile(const std::string& text, const std::string& where) {
  Translator translator(text, where);
  const std::string translated = translator.translate();
  try {
    return std::regex(translated, kSyntax);
  } catch (const std::regex_error&) {
    translator.refuse("something");
  }
}

}  // namespace

ModulePattern::ModulePattern(const std::string& text, const std::string& where)
    : regex_(compile(text, where)) {}

bool ModulePattern::matches(const std::string& name) const {
  return std::regex_match(name, regex_);
}

bool is_pattern(const std::string& text) {
  return text.find_first_of("\\*+?()[]{}|^$") != std::string::npos;
}

ModuleKey::ModuleKey(const std::string& text, const std::string& where) : text_(text) {
  if (is_pattern(text)) pattern_.emplace("(.*\\.)?(" + text + ")", where);
}

bool ModuleKey::matches(const std::string& name) const {
  if (pattern_) return pattern_->matches(name);
  if (name.size() < text_.size()) return false;
  const size_t first = name.size() - text_.size();
  const auto same = [](char key, char found) { return key == '.' || key == found; };
  return (first == 0 || name[first - 1] == '.') &&
         std::equal(text_.begin(), text_.end(), name.begin() + static_cast<ptrdiff_t>(first), same);
}

}  // namespace trireme::config
