#include <fmt/format.h>

#include "data/jinja_nodes.h"
#include "data/jinja_renderer.h"

namespace trireme::data::jinja {
namespace {

// The items for which the loop's condition holds.
std::vector<Value> kept(Renderer& render, const For& loop, std::vector<Value> items) {
  if (loop.filter == nullptr) return items;
  std::vector<Value> result;
  for (Value& item : items) {
    render.scoped([&] {
      loop.target.assign(render, item);
      if (truthy(render.eval(*loop.filter))) result.push_back(std::move(item));
    });
  }
  return result;
}

}  // namespace

Flow Data::exec(Renderer& render) const {
  render.write(text);
  return Flow::kNext;
}

Flow Output::exec(Renderer& render) const {
  const Value result = render.eval(*value);
  render.write(to_text(result));
  return Flow::kNext;
}

Flow If::exec(Renderer& render) const {
  for (const auto& [condition, body] : branches) {
    if (truthy(render.eval(*condition))) return render.exec(body);
  }
  return render.exec(otherwise);
}

void Target::assign(Renderer& render, const Value& value) const {
  if (!several.empty()) {
    const std::vector<Value> items = iterate(value);
    if (items.size() != several.size()) {
      throw RenderError(fmt::format("{} values for {} variables", items.size(), several.size()));
    }
    for (size_t i = 0; i < items.size(); ++i) several[i].assign(render, items[i]);
  } else if (attribute.empty()) {
    render.assign(symbol, value);
  } else {
    const Value object = render.lookup(symbol);
    if (object.is_undefined()) throw RenderError(object.why_undefined());
    Namespace* space = object.space();
    if (space == nullptr) throw RenderError("cannot assign attribute on non-namespace object");
    render.charge(static_cast<int64_t>(space->attributes.items.size() / 16));
    space->attributes.set(text(attribute), value);
  }
}

Flow For::exec(Renderer& render) const {
  std::vector<Value> all = iterate(render.eval(*items));
  render.charge(static_cast<int64_t>(all.size()));
  const auto state = std::make_shared<Loop>(Loop{.items = kept(render, *this, std::move(all))});
  for (; state->at < state->items.size(); ++state->at) {
    const Flow flow = render.scoped([&] {
      render.assign(loop, state);
      target.assign(render, state->items[state->at]);
      return render.exec(body);
    });
    if (flow == Flow::kBreak) return Flow::kNext;
  }
  if (!state->items.empty()) return Flow::kNext;
  return render.scoped([&] { return render.exec(otherwise); });
}

Flow Set::exec(Renderer& render) const {
  target.assign(render, render.eval(*value));
  return Flow::kNext;
}

Value FilterBlock::captured(Renderer& render) const {
  Value result =
      render.scoped([&] { return Value(render.captured([&] { render.exec_all(body); })); });
  for (const auto& filter : filters) result = filter->apply(render, result);
  return result;
}

Flow FilterBlock::exec(Renderer& render) const {
  render.write(to_text(captured(render)));
  return Flow::kNext;
}

Flow SetBlock::exec(Renderer& render) const {
  target.assign(render, captured(render));
  return Flow::kNext;
}

Flow Generation::exec(Renderer& render) const {
  Text result = render.scoped([&] { return render.captured([&] { render.exec_all(body); }); });
  for (Mark& mark : result.marks) mark = static_cast<Mark>(mark | kGenerated);
  render.write(result);
  return Flow::kNext;
}

Flow With::exec(Renderer& render) const {
  std::vector<Value> outside;
  for (const auto& [target, value] : values) outside.push_back(render.eval(*value));
  return render.scoped([&] {
    for (size_t i = 0; i < values.size(); ++i) values[i].first.assign(render, outside[i]);
    return render.exec(body);
  });
}

Flow Macro::exec(Renderer& render) const {
  render.assign(symbol, render.make_macro(macro));
  return Flow::kNext;
}

Flow CallBlock::exec(Renderer& render) const {
  const Value callee = render.eval(*call->callee);
  Arguments arguments = call->arguments.eval(render);
  arguments.named.emplace_back("caller", render.make_macro(caller));
  render.write(to_text(render.call(callee, arguments)));
  return Flow::kNext;
}

}  // namespace trireme::data::jinja
