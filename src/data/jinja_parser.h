// A template's tokens as nodes, by jinja2's grammar. What transformers' jinja2 would take and this
// engine has not is refused by name.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/jinja_lexer.h"
#include "data/jinja_nodes.h"

namespace trireme::data::jinja {

struct Program {
  Body body;
  std::vector<std::string> names;                // of the symbols
  bool generation = false;                       // has the tag
  Symbol symbol(const std::string& name) const;  // -1: the template does not name it
};

class Parser {
 public:
  // `source` is normalized. Throws SyntaxError.
  explicit Parser(std::string_view source);
  Program run();

 private:
  class Level;  // of nesting, bounded

  // Statements (jinja_parser.cc).
  Body body(const std::vector<std::string_view>& ends);
  std::unique_ptr<const Statement> statement();
  std::unique_ptr<const Statement> if_statement(size_t at);
  std::unique_ptr<const Statement> for_statement(size_t at);
  std::unique_ptr<const Statement> set_statement(size_t at);
  std::unique_ptr<const Statement> macro_statement(size_t at);
  std::unique_ptr<const Statement> call_statement(size_t at);
  std::unique_ptr<const Statement> filter_statement(size_t at);
  std::unique_ptr<const Statement> with_statement(size_t at);
  std::unique_ptr<const Statement> generation_statement(size_t at);
  std::unique_ptr<const Statement> jump(size_t at, Flow flow);
  Target target();
  Target one_target();
  void parameters(MacroBody& macro);
  void macro_body(MacroBody& macro, std::string_view end);
  std::unique_ptr<FilterExpr> filter_name();

  // Expressions (jinja_parser_expressions.cc).
  ExprPtr tuple(bool with_conditional, std::string_view stop = "");
  ExprPtr expression(bool with_conditional = true);
  ExprPtr conditional();
  ExprPtr chain(int level);  // binary operators, from `or` to `**`
  ExprPtr negation();
  ExprPtr compare();
  ExprPtr concat();
  ExprPtr unary(bool with_filters);
  ExprPtr primary();
  ExprPtr name_or_constant();
  ExprPtr strings();
  ExprPtr number();
  ExprPtr list(char close, size_t at);
  ExprPtr dict(size_t at);
  ExprPtr postfix(ExprPtr value);
  ExprPtr subscript(ExprPtr value, size_t at);
  ExprPtr slice(ExprPtr value, ExprPtr start, size_t at);
  ExprPtr filters(ExprPtr value);
  ExprPtr test(ExprPtr value);
  ExprPtr call(ExprPtr callee, size_t at);
  CallArguments arguments();

  // Tokens.
  const Token& peek() const { return tokens_[next_]; }
  bool is(std::string_view text) const;       // an operator
  bool is_word(std::string_view name) const;  // a name
  bool take(std::string_view text);
  bool take_word(std::string_view name);
  void expect(std::string_view text);
  std::string expect_name();
  void expect_close();  // %}
  [[noreturn]] void fail(const std::string& what) const;
  [[noreturn]] void unexpected() const;
  Symbol symbol(const std::string& name);

  std::vector<Token> tokens_;
  size_t next_ = 0;
  int level_ = 0;
  int loops_ = 0;
  Program program_;
  std::unordered_map<std::string, Symbol> symbols_;
};

}  // namespace trireme::data::jinja
