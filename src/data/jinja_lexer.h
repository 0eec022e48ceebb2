// A template's text as tokens, with jinja2's rules for white space around tags: trim_blocks and
// lstrip_blocks, as transformers sets them, and the signs - and +.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::data::jinja {

// What is wrong with a template before it renders anything; `at` is a byte of the source.
struct SyntaxError : std::runtime_error {
  SyntaxError(const std::string& what, size_t where) : std::runtime_error(what), at(where) {}
  size_t at;
};

enum class TokenKind {
  kData,      // text between tags
  kOpen,      // {{
  kClose,     // }}
  kOpenTag,   // {%
  kCloseTag,  // %}
  kName,
  kString,  // text: its content, escapes undone
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenKind kind;
  std::string text;
  size_t at;  // of its first byte in the source
};

// `source` has "\n" for all line ends (see normalized).
std::vector<Token> tokens_of(std::string_view source);

// The source as jinja2 reads it: "\r\n" and "\r" are "\n", one line end at its end is left out.
std::string normalized(std::string_view source);

}  // namespace trireme::data::jinja
