// Added tokens ("<|im_end|>"): found in a text before anything else is done to it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trireme::data {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool lstrip = false;      // takes the white space before it
  bool rstrip = false;      // ... and behind it
  bool normalized = false;  // looked for after normalisation
  bool special = false;     // left out by decode(skip_special)
};

// A text cut at its added tokens: id is -1 for what lies between them.
struct AddedSpan {
  int32_t id = -1;
  std::string_view text;
};

// A trie over the contents of some added tokens.
class AddedTokenMatcher {
 public:
  void insert(const AddedToken& token, std::string_view content);
  bool empty() const { return tokens_.empty(); }
  // Leftmost matches, the longest of those that start alike.
  std::vector<AddedSpan> split(std::string_view text) const;

 private:
  struct Node {
    std::vector<std::pair<char, int32_t>> children;
    int32_t token = -1;  // index into tokens_
  };
  int32_t child(int32_t node, char byte) const;
  // Index into tokens_ of the longest content that `text` starts with, or -1.
  int32_t longest(std::string_view text, size_t& length) const;

  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::vector<AddedToken> tokens_;
};

}  // namespace trireme::data
