// What a template is made of once it is read. A node is evaluated by a Renderer and never changes,
// so that many threads may render one template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/jinja_value.h"

namespace trireme::data::jinja {

using Symbol = int;  // a variable's name, by its number in the template

struct Expr {
  explicit Expr(size_t where) : at(where) {}
  virtual ~Expr() = default;
  virtual Value eval(Renderer& render) const = 0;
  size_t at;  // a byte of the source
};
using ExprPtr = std::unique_ptr<const Expr>;

// How a statement ended.
enum class Flow { kNext, kBreak, kContinue };

struct Statement {
  explicit Statement(size_t where) : at(where) {}
  virtual ~Statement() = default;
  virtual Flow exec(Renderer& render) const = 0;
  size_t at;
};
using Body = std::vector<std::unique_ptr<const Statement>>;

// ------------------------------------------------------------------------------------------------
// Expressions

struct Literal : Expr {
  Literal(size_t where, Value what) : Expr(where), value(std::move(what)) {}
  Value eval(Renderer&) const override { return value; }
  Value value;
};

struct Name : Expr {
  Name(size_t where, Symbol which) : Expr(where), symbol(which) {}
  Value eval(Renderer& render) const override;
  Symbol symbol;
};

struct ListExpr : Expr {
  ListExpr(size_t where, std::vector<ExprPtr> parts, bool is_tuple)
      : Expr(where), items(std::move(parts)), tuple(is_tuple) {}
  Value eval(Renderer& render) const override;
  std::vector<ExprPtr> items;
  bool tuple;
};

struct DictExpr : Expr {
  using Expr::Expr;
  Value eval(Renderer& render) const override;
  std::vector<std::pair<ExprPtr, ExprPtr>> items;
};

// "-", "+", "not".
struct Unary : Expr {
  Unary(size_t where, std::string sign, ExprPtr what)
      : Expr(where), op(std::move(sign)), operand(std::move(what)) {}
  Value eval(Renderer& render) const override;
  std::string op;
  ExprPtr operand;
};

// Arithmetic, "and", "or".
struct Binary : Expr {
  Binary(size_t where, std::string sign, ExprPtr first, ExprPtr second)
      : Expr(where), op(std::move(sign)), left(std::move(first)), right(std::move(second)) {}
  Value eval(Renderer& render) const override;
  std::string op;
  ExprPtr left, right;
};

// a < b == c
struct Compare : Expr {
  using Expr::Expr;
  Value eval(Renderer& render) const override;
  ExprPtr first;
  std::vector<std::pair<std::string, ExprPtr>> rest;
};

// a ~ b ~ c
struct Concat : Expr {
  using Expr::Expr;
  Value eval(Renderer& render) const override;
  std::vector<ExprPtr> parts;
};

struct Conditional : Expr {
  using Expr::Expr;
  Value eval(Renderer& render) const override;
  ExprPtr condition, yes, no;  // no: may be absent
};

// object.name
struct GetAttribute : Expr {
  GetAttribute(size_t where, ExprPtr of, std::string what)
      : Expr(where), object(std::move(of)), name(std::move(what)) {}
  Value eval(Renderer& render) const override;
  ExprPtr object;
  std::string name;
};

// object[key]
struct GetItem : Expr {
  GetItem(size_t where, ExprPtr of, ExprPtr what)
      : Expr(where), object(std::move(of)), key(std::move(what)) {}
  Value eval(Renderer& render) const override;
  ExprPtr object, key;
};

// object[start:stop:step], each may be absent
struct GetSlice : Expr {
  using Expr::Expr;
  Value eval(Renderer& render) const override;
  ExprPtr object, start, stop, step;
};

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr more_positional, more_named;  // *list and **dict; may be absent
  Arguments eval(Renderer& render) const;
};

struct Call : Expr {
  using Expr::Expr;
  Value eval(Renderer& render) const override;
  ExprPtr callee;
  CallArguments arguments;
};

// What filters and tests are: the value comes before the arguments.
using Filter = Value (*)(Renderer& render, const Value& value, const Arguments& arguments);

struct FilterExpr : Expr {
  using Expr::Expr;
  Value eval(Renderer& render) const override;
  Value apply(Renderer& render, const Value& to) const;
  std::string name;
  Filter filter = nullptr;  // nullptr: jinja2 has none of this name either, an error when it runs
  ExprPtr value;            // absent in a filter block
  CallArguments arguments;
};

struct TestExpr : Expr {
  using Expr::Expr;
  Value eval(Renderer& render) const override;
  std::string name;
  Filter test = nullptr;  // as in FilterExpr
  bool negated = false;
  ExprPtr value;
  CallArguments arguments;
};

// ------------------------------------------------------------------------------------------------
// Statements

struct Data : Statement {
  Data(size_t where, std::string what) : Statement(where), text(std::move(what)) {}
  Flow exec(Renderer& render) const override;
  std::string text;
};

struct Output : Statement {
  Output(size_t where, ExprPtr what) : Statement(where), value(std::move(what)) {}
  Flow exec(Renderer& render) const override;
  ExprPtr value;
};

struct If : Statement {
  using Statement::Statement;
  Flow exec(Renderer& render) const override;
  std::vector<std::pair<ExprPtr, Body>> branches;
  Body otherwise;
};

// What a value is assigned to: a name, an attribute of a namespace, or several of them.
struct Target {
  size_t at = 0;
  Symbol symbol = -1;
  std::string attribute;        // "" = the variable itself
  std::vector<Target> several;  // not empty: a tuple
  void assign(Renderer& render, const Value& value) const;
};

struct For : Statement {
  using Statement::Statement;
  Flow exec(Renderer& render) const override;
  Target target;
  ExprPtr items, filter;  // filter: may be absent
  Body body, otherwise;
  Symbol loop = -1;
};

struct Set : Statement {
  using Statement::Statement;
  Flow exec(Renderer& render) const override;
  Target target;
  ExprPtr value;
};

struct FilterBlock : Statement {
  using Statement::Statement;
  Flow exec(Renderer& render) const override;
  Value captured(Renderer& render) const;
  std::vector<std::unique_ptr<const FilterExpr>> filters;  // in order
  Body body;
};

// {% set name %}...{% endset %}
struct SetBlock : FilterBlock {
  using FilterBlock::FilterBlock;
  Flow exec(Renderer& render) const override;
  Target target;
};

struct Generation : Statement {
  using Statement::Statement;
  Flow exec(Renderer& render) const override;
  Body body;
};

struct With : Statement {
  using Statement::Statement;
  Flow exec(Renderer& render) const override;
  std::vector<std::pair<Target, ExprPtr>> values;
  Body body;
};

struct MacroBody {
  std::string name;
  struct Parameter {
    std::string name;
    Symbol symbol;
    ExprPtr otherwise;  // may be absent
  };
  std::vector<Parameter> parameters;
  Body body;
  Symbol caller = -1, varargs = -1, kwargs = -1;
  bool takes_caller = false, takes_varargs = false, takes_kwargs = false;  // names them
};

struct Macro : Statement {
  using Statement::Statement;
  Flow exec(Renderer& render) const override;
  Symbol symbol = -1;
  MacroBody macro;
};

// {% call(parameters) macro(arguments) %}...{% endcall %}
struct CallBlock : Statement {
  using Statement::Statement;
  Flow exec(Renderer& render) const override;
  std::unique_ptr<const Call> call;
  MacroBody caller;
};

struct Jump : Statement {
  Jump(size_t where, Flow how) : Statement(where), flow(how) {}
  Flow exec(Renderer&) const override { return flow; }
  Flow flow;
};

}  // namespace trireme::data::jinja
