#include "data/tokenizer_added.h"

#include <algorithm>

#include "data/unicode.h"

namespace trireme::data {
namespace {

bool is_word_at_start(std::string_view text) {
  size_t next = 0;
  return !text.empty() && is_word_character(next_code_point(text, next));
}

bool is_word_at_end(std::string_view text) {
  size_t start = text.size();
  while (start > 0 && (text[--start] & 0xC0) == 0x80) continue;
  return is_word_at_start(text.substr(start));
}

}  // namespace

bool may_write(Author author, const AddedToken& token, const ControlIds& control) {
  if (author == Author::kTemplate) return true;
  return !token.special && !(author == Author::kUser && control.contains(token.id));
}

void AddedTokenMatcher::insert(const AddedToken& token, std::string_view content) {
  int32_t node = 0;
  for (char byte : content) {
    int32_t next = child(node, byte);
    if (next < 0) {
      next = static_cast<int32_t>(nodes_.size());
      nodes_[node].children.emplace_back(byte, next);
      nodes_.emplace_back();
    }
    node = next;
  }
  nodes_[node].token = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

int32_t AddedTokenMatcher::child(int32_t node, char byte) const {
  for (const auto& [key, next] : nodes_[node].children) {
    if (key == byte) return next;
  }
  return -1;
}

AddedTokenMatcher::Match AddedTokenMatcher::longest(const AuthoredText& text, size_t begin,
                                                    const ControlIds& control) const {
  Match match;
  int32_t node = 0;
  Author author = Author::kTemplate;  // the strictest of the characters so far
  for (size_t i = begin; i < text.size(); ++i) {
    node = child(node, text.text()[i]);
    if (node < 0) break;
    author = std::max(author, text.author(i));
    const int32_t token = nodes_[node].token;
    if (token >= 0 && may_write(author, tokens_[token], control)) match = {token, begin, i + 1};
  }
  return match;
}

std::vector<AddedSpan> AddedTokenMatcher::split(const AuthoredText& text,
                                                const ControlIds& control) const {
  std::vector<AddedSpan> spans;
  const std::string_view all = text.text();
  size_t done = 0;
  for (size_t i = 0; i < text.size();) {
    const Match match = longest(text, i, control);
    if (match.token < 0) {
      ++i;
      continue;
    }
    i = match.end;
    const AddedToken& token = tokens_[match.token];
    size_t begin = match.begin, end = match.end;
    if (token.single_word &&
        (is_word_at_end(all.substr(0, begin)) || is_word_at_start(all.substr(end)))) {
      continue;
    }
    if (token.lstrip) begin = std::max(begin - space_at_end(all.substr(0, begin)), done);
    if (token.rstrip) end += space_at_start(all.substr(end));
    // A token may begin in the white space that the one before it took, as in the reference.
    if (begin > done) spans.push_back({-1, text.substr(done, begin - done)});
    spans.push_back({token.id, text.substr(begin, end - begin)});
    done = end;
  }
  if (done < text.size()) spans.push_back({-1, text.substr(done)});
  return spans;
}

}  // namespace trireme::data
