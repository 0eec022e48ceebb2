// Added tokens ("<|im_end|>"): found in a text before anything else is done to it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "data/authored_text.h"

namespace trireme::data {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // ... and behind it
  bool single_word = false;  // not where a letter, digit or mark stands beside it
  bool normalized = false;   // looked for after normalisation
  bool special = false;      // left out by decode(skip_special)
};

// A text cut at its added tokens: id is -1 for what lies between them.
struct AddedSpan {
  int32_t id = -1;
  AuthoredText text;
};

// Ids of the tokens by which a template steers the model.
using ControlIds = std::unordered_set<int32_t>;

// Whether a text of `author` may become the token.
bool may_write(Author author, const AddedToken& token, const ControlIds& control);

// A trie over the contents of some added tokens.
class AddedTokenMatcher {
 public:
  void insert(const AddedToken& token, std::string_view content);
  bool empty() const { return tokens_.empty(); }
  // Leftmost matches, the longest of those that start alike, among the tokens that all authors of
  // their characters may write.
  std::vector<AddedSpan> split(const AuthoredText& text, const ControlIds& control) const;

 private:
  struct Node {
    std::vector<std::pair<char, int32_t>> children;
    int32_t token = -1;  // index into tokens_
  };
  int32_t child(int32_t node, char byte) const;
  struct Match {
    int32_t token = -1;  // index into tokens_, or -1
    size_t begin = 0, end = 0;
  };
  // The longest allowed content that starts at `begin`.
  Match longest(const AuthoredText& text, size_t begin, const ControlIds& control) const;

  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::vector<AddedToken> tokens_;
};

}  // namespace trireme::data
