#pragma once

#include "data/jinja_parser.h"

namespace trireme::data::jinja {

// Nodes are read, evaluated and freed by recursion: each level takes some of the stack.
constexpr int kDeepestNodes = 200;

class Parser::Level {
 public:
  explicit Level(Parser& parser) : parser_(parser) {
    if (parser_.level_ >= kDeepestNodes) parser_.fail("nested too deeply");
    ++parser_.level_;
  }
  ~Level() { --parser_.level_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  Parser& parser_;
};

}  // namespace trireme::data::jinja
