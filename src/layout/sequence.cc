#include "layout/sequence.h"

namespace trireme::layout {

std::vector<int64_t> even_cut(int64_t tokens, int64_t parts) {
  std::vector<int64_t> bounds;
  const int64_t least = tokens / parts, more = tokens % parts;
  for (int64_t part = 0, at = 0; part <= parts; ++part) {
    bounds.push_back(at);
    at += least + (part < more ? 1 : 0);
  }
  return bounds;
}

}  // namespace trireme::layout
