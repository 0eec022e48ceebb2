#include <fmt/format.h>

#include <array>
#include <charconv>
#include <span>

#include "data/jinja_library.h"
#include "data/jinja_parser.h"
#include "data/jinja_parser_level.h"

namespace trireme::data::jinja {
namespace {

using Signs = std::span<const std::string_view>;
constexpr std::array<std::string_view, 1> kOr = {"or"}, kAnd = {"and"}, kPower = {"**"};
constexpr std::array<std::string_view, 2> kSum = {"+", "-"};
constexpr std::array<std::string_view, 4> kProduct = {"*", "//", "/", "%"};

// Where a tuple or a list of arguments cannot go on.
bool ends_tuple(const Token& token) {
  return token.kind == TokenKind::kCloseTag || token.kind == TokenKind::kClose ||
         (token.kind == TokenKind::kOperator && token.text == ")");
}

}  // namespace

// a, b, c: without parentheses, or within those that the caller took.
ExprPtr Parser::tuple(bool with_conditional, std::string_view stop) {
  const size_t at = peek().at;
  std::vector<ExprPtr> items;
  bool comma = false;
  while (!ends_tuple(peek()) && !is_word(stop) && !(comma && is_word("in"))) {
    items.push_back(expression(with_conditional));
    if (!is(",")) break;
    ++next_;
    comma = true;
  }
  if (items.size() == 1 && !comma) return std::move(items.front());
  if (items.empty()) unexpected();
  return std::make_unique<ListExpr>(at, std::move(items), /*is_tuple=*/true);
}

ExprPtr Parser::expression(bool with_conditional) {
  const Level level(*this);
  return with_conditional ? conditional() : chain(0);
}

ExprPtr Parser::conditional() {
  ExprPtr value = chain(0);
  for (int count = 0; is_word("if"); ++count) {
    if (count >= kDeepestNodes) fail("nested too deeply");
    auto node = std::make_unique<Conditional>(peek().at);
    ++next_;
    node->yes = std::move(value);
    node->condition = chain(0);
    if (take_word("else")) node->no = expression();
    value = std::move(node);
  }
  return value;
}

ExprPtr Parser::chain(int level) {
  static constexpr std::array<Signs, 5> kLevels = {kOr, kAnd, kSum, kProduct, kPower};
  const auto next = [&] {
    switch (level) {
      case 1:
        return negation();
      case 2:
        return concat();
      case 4:
        return unary(/*with_filters=*/true);
      default:
        return chain(level + 1);
    }
  };
  ExprPtr left = next();
  for (int count = 0;; ++count) {
    std::string_view found;
    for (const std::string_view sign : kLevels[static_cast<size_t>(level)]) {
      if (level < 2 ? is_word(sign) : is(sign)) found = sign;
    }
    if (found.empty()) return left;
    if (count >= kDeepestNodes) fail("nested too deeply");
    const size_t at = peek().at;
    ++next_;
    left = std::make_unique<Binary>(at, std::string(found), std::move(left), next());
  }
}

ExprPtr Parser::negation() {
  if (!is_word("not")) return compare();
  const Level level(*this);
  const size_t at = peek().at;
  ++next_;
  return std::make_unique<Unary>(at, "not", negation());
}

ExprPtr Parser::compare() {
  const size_t at = peek().at;
  ExprPtr first = chain(2);
  std::vector<std::pair<std::string, ExprPtr>> rest;
  for (;;) {
    std::string sign;
    for (const char* each : {"==", "!=", "<", ">", "<=", ">="}) {
      if (is(each)) sign = each;
    }
    if (is_word("in")) sign = "in";
    if (is_word("not") && tokens_[next_ + 1].kind == TokenKind::kName &&
        tokens_[next_ + 1].text == "in") {
      sign = "not in";
      ++next_;
    }
    if (sign.empty()) break;
    ++next_;
    rest.emplace_back(std::move(sign), chain(2));
  }
  if (rest.empty()) return first;
  auto node = std::make_unique<Compare>(at);
  node->first = std::move(first);
  node->rest = std::move(rest);
  return node;
}

ExprPtr Parser::concat() {
  const size_t at = peek().at;
  std::vector<ExprPtr> parts;
  parts.push_back(chain(3));
  while (take("~")) parts.push_back(chain(3));
  if (parts.size() == 1) return std::move(parts.front());
  auto node = std::make_unique<Concat>(at);
  node->parts = std::move(parts);
  return node;
}

ExprPtr Parser::unary(bool with_filters) {
  const Level level(*this);
  const size_t at = peek().at;
  ExprPtr value;
  if (is("-") || is("+")) {
    std::string sign = tokens_[next_++].text;
    value = std::make_unique<Unary>(at, std::move(sign), unary(/*with_filters=*/false));
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return with_filters ? filters(std::move(value)) : std::move(value);
}

ExprPtr Parser::primary() {
  const Token& token = peek();
  switch (token.kind) {
    case TokenKind::kName:
      return name_or_constant();
    case TokenKind::kString:
      return strings();
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return number();
    default:
      break;
  }
  if (take("(")) {
    if (take(")")) return std::make_unique<Literal>(token.at, Sequence{.items = {}, .tuple = true});
    ExprPtr inner = tuple(true);
    expect(")");
    return inner;
  }
  if (take("[")) return list(']', token.at);
  if (take("{")) return dict(token.at);
  unexpected();
}

ExprPtr Parser::name_or_constant() {
  const size_t at = peek().at;
  const std::string name = expect_name();
  if (name == "true" || name == "True") return std::make_unique<Literal>(at, true);
  if (name == "false" || name == "False") return std::make_unique<Literal>(at, false);
  if (name == "none" || name == "None") return std::make_unique<Literal>(at, Value());
  if (is_missing_global(name) && is("(")) {
    throw SyntaxError(fmt::format("the function '{}' is not supported", name), at);
  }
  return std::make_unique<Name>(at, symbol(name));
}

ExprPtr Parser::strings() {
  const size_t at = peek().at;
  std::string all;
  while (peek().kind == TokenKind::kString) all += tokens_[next_++].text;
  return std::make_unique<Literal>(at, Value(Text(all)));
}

ExprPtr Parser::number() {
  const Token& token = tokens_[next_];
  const char* end = token.text.data() + token.text.size();
  if (token.kind == TokenKind::kFloat) {
    double value = 0;
    std::from_chars(token.text.data(), end, value);
    ++next_;
    return std::make_unique<Literal>(token.at, value);
  }
  int64_t value = 0;
  if (std::from_chars(token.text.data(), end, value).ec != std::errc()) {
    fail("an integer of more than 64 bits");
  }
  ++next_;
  return std::make_unique<Literal>(token.at, value);
}

ExprPtr Parser::list(char close, size_t at) {
  std::vector<ExprPtr> items;
  const std::string end(1, close);
  while (!take(end)) {
    if (!items.empty()) {
      expect(",");
      if (take(end)) break;
    }
    items.push_back(expression());
  }
  return std::make_unique<ListExpr>(at, std::move(items), /*is_tuple=*/false);
}

ExprPtr Parser::dict(size_t at) {
  auto node = std::make_unique<DictExpr>(at);
  while (!take("}")) {
    if (!node->items.empty()) {
      expect(",");
      if (take("}")) break;
    }
    ExprPtr key = expression();
    expect(":");
    node->items.emplace_back(std::move(key), expression());
  }
  return node;
}

ExprPtr Parser::postfix(ExprPtr value) {
  for (int count = 0;; ++count) {
    if (count >= kDeepestNodes) fail("nested too deeply");
    const size_t at = peek().at;
    if (take(".")) {
      if (peek().kind == TokenKind::kInteger) {
        value = std::make_unique<GetItem>(at, std::move(value), number());
      } else {
        value = std::make_unique<GetAttribute>(at, std::move(value), expect_name());
      }
    } else if (take("[")) {
      value = subscript(std::move(value), at);
    } else if (take("(")) {
      value = call(std::move(value), at);
    } else {
      return value;
    }
  }
}

ExprPtr Parser::subscript(ExprPtr value, size_t at) {
  ExprPtr key;
  if (!is(":")) key = expression();
  if (is(":")) {
    value = slice(std::move(value), std::move(key), at);
  } else {
    value = std::make_unique<GetItem>(at, std::move(value), std::move(key));
  }
  expect("]");
  return value;
}

ExprPtr Parser::slice(ExprPtr value, ExprPtr start, size_t at) {
  auto node = std::make_unique<GetSlice>(at);
  node->object = std::move(value);
  node->start = std::move(start);
  expect(":");
  if (!is("]") && !is(":")) node->stop = expression();
  if (take(":") && !is("]")) node->step = expression();
  return node;
}

ExprPtr Parser::filters(ExprPtr value) {
  for (int count = 0;; ++count) {
    if (count >= kDeepestNodes) fail("nested too deeply");
    const size_t at = peek().at;
    if (take("|")) {
      auto node = filter_name();
      node->value = std::move(value);
      value = std::move(node);
    } else if (take_word("is")) {
      value = test(std::move(value));
    } else if (take("(")) {
      value = call(std::move(value), at);
    } else {
      return value;
    }
  }
}

ExprPtr Parser::test(ExprPtr value) {
  auto node = std::make_unique<TestExpr>(peek().at);
  node->negated = take_word("not");
  node->name = expect_name();
  node->test = find_test(node->name);
  node->value = std::move(value);
  if (node->test == nullptr && is_test_of_jinja(node->name)) {
    throw SyntaxError(fmt::format("the test '{}' is not supported", node->name), node->at);
  }
  const Token& token = peek();
  if (take("(")) {
    node->arguments = arguments();
  } else if (token.kind == TokenKind::kString || token.kind == TokenKind::kInteger ||
             token.kind == TokenKind::kFloat || is("[") || is("{") ||
             (token.kind == TokenKind::kName && token.text != "else" && token.text != "or" &&
              token.text != "and")) {
    if (token.text == "is") fail("several tests behind one another");
    const Level level(*this);
    node->arguments.positional.push_back(postfix(primary()));
  }
  return node;
}

ExprPtr Parser::call(ExprPtr callee, size_t at) {
  auto node = std::make_unique<Call>(at);
  node->callee = std::move(callee);
  node->arguments = arguments();
  return node;
}

// Behind the opening parenthesis.
CallArguments Parser::arguments() {
  CallArguments result;
  for (bool first = true; !take(")"); first = false) {
    if (!first) {
      expect(",");
      if (take(")")) break;
    }
    if (is("*") || is("**")) {
      ExprPtr& more = is("*") ? result.more_positional : result.more_named;
      if (more != nullptr) fail("several lists of arguments");
      ++next_;
      more = expression();
    } else if (peek().kind == TokenKind::kName && tokens_[next_ + 1].kind == TokenKind::kOperator &&
               tokens_[next_ + 1].text == "=") {
      std::string name = expect_name();
      ++next_;
      result.named.emplace_back(std::move(name), expression());
    } else {
      if (!result.named.empty() || result.more_positional != nullptr)
        fail("a positional argument behind a named one");
      result.positional.push_back(expression());
    }
  }
  return result;
}

}  // namespace trireme::data::jinja
