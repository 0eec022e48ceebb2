#include "data/jinja_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "data/jinja_library.h"
#include "data/jinja_parser_level.h"

namespace trireme::data::jinja {

Symbol Program::symbol(const std::string& name) const {
  const auto found = std::ranges::find(names, name);
  return found == names.end() ? -1 : static_cast<Symbol>(found - names.begin());
}

Parser::Parser(std::string_view source) : tokens_(tokens_of(source)) {}

Program Parser::run() {
  program_.body = body({});
  return std::move(program_);
}

bool Parser::is(std::string_view text) const {
  return peek().kind == TokenKind::kOperator && peek().text == text;
}

bool Parser::is_word(std::string_view name) const {
  return peek().kind == TokenKind::kName && peek().text == name;
}

bool Parser::take(std::string_view text) {
  if (!is(text)) return false;
  ++next_;
  return true;
}

bool Parser::take_word(std::string_view name) {
  if (!is_word(name)) return false;
  ++next_;
  return true;
}

void Parser::expect(std::string_view text) {
  if (!take(text)) fail(fmt::format("expected '{}'", text));
}

std::string Parser::expect_name() {
  if (peek().kind != TokenKind::kName) fail("expected a name");
  return tokens_[next_++].text;
}

void Parser::expect_close() {
  if (peek().kind != TokenKind::kCloseTag) unexpected();
  ++next_;
}

void Parser::fail(const std::string& what) const { throw SyntaxError(what, peek().at); }

void Parser::unexpected() const {
  switch (peek().kind) {
    case TokenKind::kEnd:
      fail("the template ends within a block");
    case TokenKind::kCloseTag:
    case TokenKind::kClose:
      fail("the tag ends where more is expected");
    default:
      fail(fmt::format("an unexpected '{}'", peek().text));
  }
}

Symbol Parser::symbol(const std::string& name) {
  const auto [found, is_new] = symbols_.emplace(name, static_cast<Symbol>(symbols_.size()));
  if (is_new) program_.names.push_back(name);
  return found->second;
}

// Up to a tag of one of the names, which is left behind its name; with none up to the end.
Body Parser::body(const std::vector<std::string_view>& ends) {
  const Level level(*this);
  Body result;
  for (;;) {
    const Token& token = peek();
    if (token.kind == TokenKind::kEnd) {
      if (!ends.empty()) fail(fmt::format("the template ends without '{}'", ends.back()));
      return result;
    }
    ++next_;
    if (token.kind == TokenKind::kData) {
      result.push_back(std::make_unique<Data>(token.at, token.text));
    } else if (token.kind == TokenKind::kOpen) {
      ExprPtr value = tuple(true);
      if (peek().kind != TokenKind::kClose) unexpected();
      ++next_;
      result.push_back(std::make_unique<Output>(token.at, std::move(value)));
    } else {
      if (peek().kind == TokenKind::kName && std::ranges::count(ends, peek().text) > 0) {
        ++next_;
        return result;
      }
      result.push_back(statement());
    }
  }
}

std::unique_ptr<const Statement> Parser::statement() {
  const size_t at = peek().at;
  const std::string name = expect_name();
  if (name == "if") return if_statement(at);
  if (name == "for") return for_statement(at);
  if (name == "set") return set_statement(at);
  if (name == "macro") return macro_statement(at);
  if (name == "call") return call_statement(at);
  if (name == "filter") return filter_statement(at);
  if (name == "with") return with_statement(at);
  if (name == "generation") return generation_statement(at);
  if (name == "break") return jump(at, Flow::kBreak);
  if (name == "continue") return jump(at, Flow::kContinue);
  --next_;
  for (const char* known :
       {"autoescape", "block", "extends", "from", "import", "include", "print"}) {
    if (name == known) fail(fmt::format("the tag '{}' is not supported", name));
  }
  fail(fmt::format("an unknown tag '{}'", name));
}

std::unique_ptr<const Statement> Parser::if_statement(size_t at) {
  auto node = std::make_unique<If>(at);
  for (std::string tag = "elif"; tag == "elif";) {
    ExprPtr condition = tuple(/*with_conditional=*/false);
    expect_close();
    node->branches.emplace_back(std::move(condition), body({"elif", "else", "endif"}));
    tag = tokens_[next_ - 1].text;
    if (tag != "else") continue;
    expect_close();
    node->otherwise = body({"endif"});
  }
  expect_close();
  return node;
}

std::unique_ptr<const Statement> Parser::for_statement(size_t at) {
  auto node = std::make_unique<For>(at);
  node->loop = symbol("loop");
  node->target = target();
  if (!take_word("in")) fail("expected 'in'");
  node->items = tuple(/*with_conditional=*/false, "recursive");
  if (take_word("if")) node->filter = expression();
  if (is_word("recursive")) fail("a recursive loop is not supported");
  expect_close();
  ++loops_;
  node->body = body({"else", "endfor"});
  --loops_;
  if (tokens_[next_ - 1].text == "else") {
    expect_close();
    node->otherwise = body({"endfor"});
  }
  expect_close();
  return node;
}

std::unique_ptr<const Statement> Parser::set_statement(size_t at) {
  Target to = target();
  if (take("=")) {
    auto node = std::make_unique<Set>(at);
    node->target = std::move(to);
    node->value = tuple(true);
    expect_close();
    return node;
  }
  auto node = std::make_unique<SetBlock>(at);
  node->target = std::move(to);
  while (take("|")) node->filters.push_back(filter_name());
  expect_close();
  node->body = body({"endset"});
  expect_close();
  return node;
}

std::unique_ptr<const Statement> Parser::macro_statement(size_t at) {
  auto node = std::make_unique<Macro>(at);
  node->macro.name = expect_name();
  node->symbol = symbol(node->macro.name);
  parameters(node->macro);
  macro_body(node->macro, "endmacro");
  return node;
}

std::unique_ptr<const Statement> Parser::call_statement(size_t at) {
  auto node = std::make_unique<CallBlock>(at);
  node->caller.name = "caller";
  if (is("(")) parameters(node->caller);
  ExprPtr value = expression();
  if (dynamic_cast<const Call*>(value.get()) == nullptr) fail("expected a call");
  node->call.reset(static_cast<const Call*>(value.release()));
  macro_body(node->caller, "endcall");
  return node;
}

void Parser::parameters(MacroBody& macro) {
  expect("(");
  while (!take(")")) {
    if (!macro.parameters.empty()) expect(",");
    MacroBody::Parameter parameter{.name = expect_name(), .symbol = -1, .otherwise = nullptr};
    parameter.symbol = symbol(parameter.name);
    if (take("=")) parameter.otherwise = expression();
    macro.parameters.push_back(std::move(parameter));
  }
}

void Parser::macro_body(MacroBody& macro, std::string_view end) {
  expect_close();
  macro.caller = symbol("caller");
  macro.varargs = symbol("varargs");
  macro.kwargs = symbol("kwargs");
  const size_t from = next_;
  const int loops = std::exchange(loops_, 0);
  macro.body = body({end});
  loops_ = loops;
  for (size_t i = from; i < next_; ++i) {
    if (tokens_[i].kind != TokenKind::kName) continue;
    macro.takes_caller |= tokens_[i].text == "caller";
    macro.takes_varargs |= tokens_[i].text == "varargs";
    macro.takes_kwargs |= tokens_[i].text == "kwargs";
  }
  expect_close();
}

std::unique_ptr<const Statement> Parser::filter_statement(size_t at) {
  auto node = std::make_unique<FilterBlock>(at);
  do {
    node->filters.push_back(filter_name());
  } while (take("|"));
  expect_close();
  node->body = body({"endfilter"});
  expect_close();
  return node;
}

std::unique_ptr<const Statement> Parser::with_statement(size_t at) {
  auto node = std::make_unique<With>(at);
  while (peek().kind != TokenKind::kCloseTag) {
    if (!node->values.empty()) expect(",");
    Target to = target();
    expect("=");
    node->values.emplace_back(std::move(to), expression());
  }
  expect_close();
  node->body = body({"endwith"});
  expect_close();
  return node;
}

std::unique_ptr<const Statement> Parser::generation_statement(size_t at) {
  auto node = std::make_unique<Generation>(at);
  program_.generation = true;
  expect_close();
  const int loops = std::exchange(loops_, 0);
  node->body = body({"endgeneration"});
  loops_ = loops;
  expect_close();
  return node;
}

std::unique_ptr<const Statement> Parser::jump(size_t at, Flow flow) {
  if (loops_ == 0) fail("break or continue outside of a loop");
  expect_close();
  return std::make_unique<Jump>(at, flow);
}

Target Parser::one_target() {
  const Level level(*this);
  if (take("(")) {
    Target inner = target();
    expect(")");
    return inner;
  }
  Target one;
  one.at = peek().at;
  one.symbol = symbol(expect_name());
  if (take(".")) one.attribute = expect_name();
  return one;
}

Target Parser::target() {
  Target first = one_target();
  if (!is(",")) return first;
  Target all;
  all.at = first.at;
  all.several.push_back(std::move(first));
  while (take(",")) {
    if (is("=") || is(")") || is_word("in")) break;
    all.several.push_back(one_target());
  }
  return all;
}

std::unique_ptr<FilterExpr> Parser::filter_name() {
  const size_t at = peek().at;
  auto node = std::make_unique<FilterExpr>(at);
  node->name = expect_name();
  while (take(".")) node->name += "." + expect_name();
  node->filter = find_filter(node->name);
  if (node->filter == nullptr && is_filter_of_jinja(node->name)) {
    throw SyntaxError(fmt::format("the filter '{}' is not supported", node->name), at);
  }
  if (take("(")) node->arguments = arguments();
  return node;
}

}  // namespace trireme::data::jinja
