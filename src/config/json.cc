// nlohmann's parser does the reading. This file adds what it leaves out: the column in characters,
// what was expected in words, likely remedies, and the refusal of deep nesting and of keys given
// twice (of which the parser would keep the last without a word).
#include "config/json.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <unordered_set>
#include <vector>

#include "base/error.h"
#include "base/regular_file.h"
#include "config/other_text.h"

namespace trireme::config {
namespace {

constexpr auto npos = std::string_view::npos;

bool starts_character(unsigned char c) { return (c & 0xC0) != 0x80; }

std::string place_text(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const auto line = 1 + std::ranges::count(before, '\n');
  const std::string_view row = before.substr(before.rfind('\n') + 1);  // npos + 1 == 0
  return fmt::format("{}:{}", line, 1 + std::ranges::count_if(row, starts_character));
}

// Up to 16 characters of the line from offset on, in quotes.
std::string excerpt(std::string_view text, size_t offset) {
  if (offset >= text.size()) return "the end of the file";
  const std::string_view rest = text.substr(offset, text.find_first_of("\r\n", offset) - offset);
  if (rest.empty()) return "the end of the line";
  size_t end = 0;
  for (size_t characters = 0; end < rest.size(); ++end) {
    if ((rest[end] & 0xC0) != 0x80 && ++characters > 16) break;
  }
  return fmt::format("'{}{}'", rest.substr(0, end), end < rest.size() ? "…" : "");
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != npos; }

// What the parser was looking for, from the context in its message.
std::string expected_text(std::string_view message) {
  if (message.ends_with("expected end of input")) return "the end of the file";
  if (contains(message, "parsing object key")) return "a key in double quotes";
  if (contains(message, "parsing object separator")) return "':' after the key";
  if (contains(message, "parsing object")) return "',' or '}'";
  if (contains(message, "parsing array")) return "',' or ']'";
  return "a value";
}

// The likeliest cause of what stands at offset, as a remedy; "" when there is none.
std::string remedy(std::string_view text, size_t offset, const std::string& expected) {
  const std::string_view before = text.substr(0, offset);
  const size_t beside = before.find_last_not_of(" \t");
  const size_t last = before.find_last_not_of(" \t\r\n");
  const char found = offset < text.size() ? text[offset] : '\0';
  if (expected.starts_with("','") && found != '\0' && beside != npos && before[beside] == '"') {
    return ": a quote inside a string is written \\\"";
  }
  if ((found == '}' || found == ']') && last != npos && before[last] == ',') {
    return ": remove the comma before it";
  }
  if (found == '\'') return ": strings are written in double quotes";
  const bool new_line = found == '{' && last != npos && before.find('\n', last) != npos;
  if (expected == "the end of the file" && new_line) {
    return ": a value on each line (JSON Lines) is given where one is expected";
  }
  return "";
}

// The part of the parser's message that says what is wrong inside a token; "" where a whole token
// is out of place.
std::string lexical_text(std::string_view message) {
  const size_t from = message.find(" - invalid ");
  if (from == npos || contains(message, " - invalid literal")) return "";
  return std::string(message.substr(from + 3, message.find("; last read") - from - 3));
}

// The offset of the opening quote of the string whose closing quote is at `closing`.
size_t opening_quote(std::string_view text, size_t closing) {
  while (true) {
    closing = text.rfind('"', closing - 1);
    const size_t before = text.find_last_not_of('\\', closing - 1);
    if ((closing - 1 - before) % 2 == 0) return closing;  // even: the backslashes escape each other
  }
}

// Where the token starts that the parser did not want, after `read` bytes. (The token text that the
// parser hands over starts too early: at the last string or number.)
size_t token_start(std::string_view text, size_t read, bool unknown_word) {
  const auto in_word = [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '+' || c == '.';
  };
  size_t at = read - 1;
  if (at >= text.size() && !unknown_word) return text.size();
  if (!unknown_word && text[at] == '"') return opening_quote(text, at);
  if (!unknown_word && !in_word(text[at])) return at;
  while (at > 0 && in_word(text[at - 1])) --at;
  return at;
}

// `read` bytes had been read, the last of them at or in the fault.
[[noreturn]] void fail_syntax(std::string_view text, const std::string& name, size_t read,
                              std::string_view message) {
  if (const std::string other = other_text(text); !other.empty()) fail("{}: {}", name, other);
  if (const std::string lexical = lexical_text(message); !lexical.empty()) {
    fail("{}:{}: {}", name, place_text(text, std::min(read - 1, text.size())), lexical);
  }
  const size_t start = token_start(text, read, contains(message, " - invalid literal"));
  const std::string place = place_text(text, start);
  if (contains(message, "number overflow")) {
    fail("{}:{}: the number {} is too large", name, place, excerpt(text, start));
  }
  const std::string expected = expected_text(message);
  fail("{}:{}: expected {}, found {}{}", name, place, expected, excerpt(text, start),
       remedy(text, start, expected));
}

// Walks over the text and leaves word of how far it came: the parser's events carry no positions.
class TrackedIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  TrackedIterator(const char* at, const char** reached) : at_(at), reached_(reached) {}
  reference operator*() const { return *at_; }
  TrackedIterator& operator++() {
    *reached_ = ++at_;
    return *this;
  }
  bool operator==(const TrackedIterator& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  const char** reached_;
};

// Listens to the parser and builds the tree: refuses what is wrong, notes where keys stand.
// (nlohmann's own tree of ordered objects compares each new key with all before it.)
class Reader : public nlohmann::json_sax<Json> {
 public:
  Reader(std::string_view text, const std::string& name, KeyPlaces* places)
      : text_(text), name_(name), places_(places), reached_(text.data()) {}

  Json run() {
    const char* end = text_.data() + text_.size();
    Json::sax_parse(TrackedIterator(text_.data(), &reached_), TrackedIterator(end, &reached_), this,
                    nlohmann::detail::input_format_t::json, true, true);
    return std::move(root_);
  }

  bool null() override { return put(nullptr) != nullptr; }
  bool boolean(bool value) override { return put(value) != nullptr; }
  bool number_integer(number_integer_t value) override { return put(value) != nullptr; }
  bool number_unsigned(number_unsigned_t value) override { return put(value) != nullptr; }
  bool number_float(number_float_t value, const std::string&) override {
    return put(value) != nullptr;
  }
  bool string(std::string& value) override { return put(std::move(value)) != nullptr; }
  bool binary(binary_t&) override { return false; }  // never in a text
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }
  bool start_object(size_t) override { return open(Json::object()); }
  bool end_object() override { return close(); }

  bool key(std::string& key) override {
    Container& object = open_.back();
    if (!object.keys.insert(key).second) {
      fail("{}:{}: the key '{}' is given twice in one object: remove one", name_,
           place_text(text_, key_offset()), key);
    }
    if (places_ != nullptr) {
      move_to(key_offset());
      object.place = places_->add(object.parent, key, line_, column_);
    }
    object.value->get_ref<Json::object_t&>().emplace_back(std::move(key), nullptr);
    return true;
  }

  bool parse_error(size_t read, const std::string&,
                   const nlohmann::detail::exception& error) override {
    fail_syntax(text_, name_, read, error.what());
  }

 private:
  // An object or a list that is not yet closed. Nothing is added to those around it meanwhile,
  // so that it stays where it is.
  struct Container {
    Json* value;
    int64_t parent;                             // of its keys, in places_
    int64_t place = parent;                     // of the key that was read last
    std::unordered_set<std::string> keys = {};  // of an object
  };

  Json* put(Json value) {
    if (open_.empty()) return &(root_ = std::move(value));
    Json& container = *open_.back().value;
    if (!container.is_object())
      return &container.get_ref<Json::array_t&>().emplace_back(std::move(value));
    return &(container.get_ref<Json::object_t&>().back().second = std::move(value));
  }

  bool open(Json empty) {
    if (std::ssize(open_) == kDeepestJson) {
      fail("{}:{}: nested more than {} levels deep", name_,
           place_text(text_, static_cast<size_t>(reached_ - text_.data()) - 1), kDeepestJson);
    }
    const int64_t parent = open_.empty() ? KeyPlaces::kRoot : open_.back().place;
    open_.push_back({put(std::move(empty)), parent});
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  // The offset of the key that was read last.
  size_t key_offset() const {
    return opening_quote(text_, static_cast<size_t>(reached_ - text_.data()) - 1);
  }

  // Keys come in the order of the text, which is counted once.
  void move_to(size_t offset) {
    for (; counted_ < offset; ++counted_) {
      if (text_[counted_] == '\n') {
        ++line_;
        column_ = 1;
      } else if (starts_character(text_[counted_])) {
        ++column_;
      }
    }
  }

  std::string_view text_;
  const std::string& name_;
  KeyPlaces* places_;
  const char* reached_;
  Json root_;
  std::vector<Container> open_;
  size_t counted_ = 0;
  int64_t line_ = 1, column_ = 1;  // of the byte at counted_
};

}  // namespace

Json parse_json(std::string_view text, const std::string& name, KeyPlaces* places) {
  if (text.find_first_not_of(" \t\r\n") == npos) fail("{}: empty: JSON is expected", name);
  // The parser takes a NUL for the end of the text and would ignore what follows.
  if (const size_t nul = text.find('\0'); nul != npos) {
    fail("{}:{}: a NUL byte: JSON is text", name, place_text(text, nul));
  }
  return Reader(text, name, places).run();
}

void require_written_by_hand(std::string_view text, const std::string& name) {
  require_length(text.size(), kLongestByHand, name);
}

std::string read_text(const std::string& path, uint64_t most) {
  require_regular_file(path, most);
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) fail("{}: a folder: a file is expected", path);
  std::ifstream stream(path, std::ios::binary);
  if (!stream) fail("{}: cannot be opened: {}", path, std::strerror(errno));
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (stream.bad()) fail("{}: cannot be read: {}", path, std::strerror(errno));
  return text;
}

Json read_json(const std::string& path) { return parse_json(read_text(path), path); }

std::string json_text(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::optional<int64_t> whole_number(const Json& json, int64_t least, int64_t most) {
  if (!json.is_number_integer()) return std::nullopt;
  constexpr auto largest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (json.is_number_unsigned() && json.get<uint64_t>() > largest) return std::nullopt;
  const auto value = json.get<int64_t>();
  return value >= least && value <= most ? std::optional(value) : std::nullopt;
}

}  // namespace trireme::config
