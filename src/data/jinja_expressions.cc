#include <fmt/format.h>

#include "data/jinja_library.h"
#include "data/jinja_nodes.h"
#include "data/jinja_renderer.h"

namespace trireme::data::jinja {
namespace {

bool compares(const std::string& op, const Value& left, const Value& right) {
  if (op == "==") return equal(left, right);
  if (op == "!=") return !equal(left, right);
  if (op == "in") return contains(right, left);
  if (op == "not in") return !contains(right, left);
  if (op == "<") return less(left, right);
  if (op == ">") return less(right, left);
  // With a NaN neither holds; nothing else is neither less nor equal nor greater.
  if (op == "<=") return less(left, right) || equal(left, right);
  return less(right, left) || equal(left, right);
}

}  // namespace

Value Name::eval(Renderer& render) const { return render.lookup(symbol); }

Value ListExpr::eval(Renderer& render) const {
  Sequence result{.items = {}, .tuple = tuple};
  for (const ExprPtr& item : items) result.items.push_back(render.eval(*item));
  return result;
}

Value DictExpr::eval(Renderer& render) const {
  Dict result;
  for (const auto& [key, value] : items) {
    render.charge(static_cast<int64_t>(result.items.size() / 16));
    const Value name = render.eval(*key);
    result.set(name, render.eval(*value));
  }
  return result;
}

Value Unary::eval(Renderer& render) const {
  const Value value = render.eval(*operand);
  if (op == "not") return !truthy(value);
  return arithmetic(render, op, 0, value);
}

Value Binary::eval(Renderer& render) const {
  Value first = render.eval(*left);
  if (op == "and") return truthy(first) ? render.eval(*right) : first;
  if (op == "or") return truthy(first) ? first : render.eval(*right);
  const Value second = render.eval(*right);
  return arithmetic(render, op, first, second);
}

Value Compare::eval(Renderer& render) const {
  Value left = render.eval(*first);
  for (const auto& [op, expr] : rest) {
    Value right = render.eval(*expr);
    if (!compares(op, left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Value Concat::eval(Renderer& render) const {
  Text result;
  for (const ExprPtr& part : parts) result.append(to_text(render.eval(*part)));
  render.charge_bytes(result.size());
  return result;
}

Value Conditional::eval(Renderer& render) const {
  if (truthy(render.eval(*condition))) return render.eval(*yes);
  if (no != nullptr) return render.eval(*no);
  return undefined("the inline if-expression evaluated to false and no else section was defined");
}

Value GetAttribute::eval(Renderer& render) const {
  return attribute(render, render.eval(*object), name);
}

Value GetItem::eval(Renderer& render) const {
  const Value from = render.eval(*object);
  return item(render, from, render.eval(*key));
}

Value GetSlice::eval(Renderer& render) const {
  const Value from = render.eval(*object);
  Value bounds[3];
  const ExprPtr* given[3] = {&start, &stop, &step};
  for (int i = 0; i < 3; ++i) {
    if (*given[i] != nullptr) bounds[i] = render.eval(**given[i]);
  }
  const auto bound = [&](int i) { return bounds[i].is_none() ? nullptr : &bounds[i]; };
  return slice(render, from, bound(0), bound(1), bound(2));
}

Arguments CallArguments::eval(Renderer& render) const {
  Arguments result;
  for (const ExprPtr& value : positional) result.positional.push_back(render.eval(*value));
  if (more_positional != nullptr) {
    for (Value& value : iterate(render.eval(*more_positional))) {
      result.positional.push_back(std::move(value));
    }
  }
  for (const auto& [name, value] : named) result.named.emplace_back(name, render.eval(*value));
  if (more_named != nullptr) {
    const Value more = render.eval(*more_named);
    if (more.dict() == nullptr) throw RenderError("argument after ** must be a mapping");
    for (const auto& [key, value] : more.dict()->items) {
      if (key.text() == nullptr) throw RenderError("keywords must be strings");
      result.named.emplace_back(key.text()->bytes, value);
    }
  }
  return result;
}

Value Call::eval(Renderer& render) const {
  const Value function = render.eval(*callee);
  const Arguments given = arguments.eval(render);
  return render.call(function, given);
}

Value FilterExpr::eval(Renderer& render) const { return apply(render, render.eval(*value)); }

Value FilterExpr::apply(Renderer& render, const Value& to) const {
  if (filter == nullptr) throw RenderError(fmt::format("No filter named '{}'.", name));
  const Arguments given = arguments.eval(render);
  check_filter_arguments(name, given);
  return filter(render, to, given);
}

Value TestExpr::eval(Renderer& render) const {
  const Value of = render.eval(*value);
  if (test == nullptr) throw RenderError(fmt::format("No test named '{}'.", name));
  const Arguments given = arguments.eval(render);
  check_test_arguments(name, given);
  return truthy(test(render, of, given)) != negated;
}

}  // namespace trireme::data::jinja
