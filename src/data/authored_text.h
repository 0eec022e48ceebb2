// Who wrote a text. It decides which added tokens ("<|im_end|>") the text may become: what users
// write never becomes a token by which the template steers the model.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace trireme::data {

// From the one who may write most to the one who may write least: a template's text may become any
// added token; an assistant's those that are not special; what users, system and tools say those
// that are neither special nor a control token of the template.
enum class Author : char { kTemplate, kAssistant, kUser };

struct TextRun {
  std::string text;
  Author author = Author::kTemplate;
};

// A text with its authors: one for all of it, or one for each byte.
class AuthoredText {
 public:
  AuthoredText(std::string_view text, Author author) : text_(text), author_(author) {}
  // `authors` has an Author for each byte of `text`.
  AuthoredText(std::string_view text, std::string_view authors) : text_(text), authors_(authors) {}

  std::string_view text() const { return text_; }
  size_t size() const { return text_.size(); }
  bool by_one() const { return authors_.empty(); }
  Author author(size_t byte) const {
    return by_one() ? author_ : static_cast<Author>(authors_[byte]);
  }
  // Of those who wrote some of the text the one who may write least.
  Author strictest() const {
    Author least = author_;
    for (char author : authors_) least = std::max(least, static_cast<Author>(author));
    return least;
  }
  // A byte for each byte of the text.
  std::string authors() const {
    return by_one() ? std::string(size(), static_cast<char>(author_)) : std::string(authors_);
  }
  AuthoredText substr(size_t from, size_t count = std::string_view::npos) const {
    AuthoredText part(text_.substr(from, count), author_);
    if (!by_one()) part.authors_ = authors_.substr(from, count);
    return part;
  }

 private:
  std::string_view text_, authors_;
  Author author_ = Author::kTemplate;
};

// A text with its authors that owns its bytes.
class AuthoredString {
 public:
  // An empty one that keeps authors as `like` does: one for all or one for each byte.
  explicit AuthoredString(const AuthoredText& like)
      : by_one_(like.by_one()), author_(like.strictest()) {}
  // Ill-formed UTF-8 in a run becomes U+FFFD.
  explicit AuthoredString(std::span<const TextRun> runs);

  void append(const AuthoredText& text);
  AuthoredText view() const {
    return by_one_ ? AuthoredText(text_, author_) : AuthoredText(text_, authors_);
  }

 private:
  std::string text_, authors_;
  bool by_one_ = false;
  Author author_ = Author::kTemplate;
};

}  // namespace trireme::data
