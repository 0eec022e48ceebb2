#include "data/jinja_renderer.h"

#include <fmt/format.h>

#include <algorithm>

#include "data/jinja_library.h"

namespace trireme::data::jinja {

class Renderer::Deeper {
 public:
  explicit Deeper(Renderer& renderer) : renderer_(renderer) {
    renderer_.charge(1);
    if (renderer_.depth_ >= renderer_.bounds_.depth) {
      throw RenderError("macros call each other too deeply");
    }
    ++renderer_.depth_;
  }
  ~Deeper() { --renderer_.depth_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;

 private:
  Renderer& renderer_;
};

Renderer::Entered::Entered(Renderer& renderer, Scope* outer)
    : renderer_(renderer), before_(renderer.scope_), scope_(std::make_unique<Scope>()) {
  scope_->outer = outer;
  renderer_.scope_ = scope_.get();
}

Renderer::Entered::~Entered() {
  renderer_.scope_ = before_;
  if (scope_->kept) renderer_.kept_.push_back(std::move(scope_));
}

Renderer::Renderer(const Program& program, std::time_t now, const Bounds& bounds)
    : program_(program), now_(now), bounds_(bounds), steps_left_(bounds.steps) {}

Renderer::~Renderer() {
  for (const auto& space : spaces_) space->attributes.items.clear();
}

void Renderer::set(const std::string& name, Value value) {
  const Symbol symbol = program_.symbol(name);
  if (symbol >= 0) globals_.values.emplace_back(symbol, std::move(value));
}

Text Renderer::run() {
  Text result;
  out_ = &result;
  exec_all(program_.body);
  return result;
}

Value Renderer::eval(const Expr& expr) {
  const Deeper deeper(*this);
  // What a node does behind its operands' evaluation is done at its own place again.
  const size_t before = std::exchange(at_, expr.at);
  Value value = expr.eval(*this);
  at_ = before;
  return value;
}

Flow Renderer::exec(const Statement& statement) {
  const Deeper deeper(*this);
  at_ = statement.at;
  return statement.exec(*this);
}

Flow Renderer::exec(const Body& body) {
  for (const auto& statement : body) {
    const Flow flow = exec(*statement);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

void Renderer::exec_all(const Body& body) { exec(body); }

void Renderer::charge(int64_t steps) {
  steps_left_ -= steps;
  if (steps_left_ < 0) {
    throw RenderError(fmt::format("the template does more than {} steps", bounds_.steps));
  }
}

void Renderer::write(const Text& text) {
  charge_bytes(text.size());
  out_->append(text);
}

void Renderer::write(const std::string& own) {
  charge_bytes(own.size());
  out_->append(own, kOwn);
}

Value Renderer::lookup(Symbol symbol) {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->outer) {
    for (const auto& [key, value] : scope->values) {
      if (key == symbol) return value;
    }
  }
  const std::string& name = program_.names[static_cast<size_t>(symbol)];
  if (const Value* global = find_global(name)) return *global;
  return undefined(fmt::format("'{}' is undefined", name));
}

void Renderer::assign(Symbol symbol, Value value) {
  for (auto& [key, old] : scope_->values) {
    if (key != symbol) continue;
    old = std::move(value);
    return;
  }
  scope_->values.emplace_back(symbol, std::move(value));
}

Value Renderer::make_macro(const MacroBody& macro) {
  for (Scope* scope = scope_; scope != nullptr; scope = scope->outer) scope->kept = true;
  return Callable{macro.name, [&macro, outer = scope_](Renderer& render, const Arguments& given) {
                    return Value(render.run_macro(macro, outer, given));
                  }};
}

Text Renderer::run_macro(const MacroBody& macro, Scope* outer, const Arguments& arguments) {
  const Entered entered(*this, outer);
  bind_parameters(macro, arguments);
  return captured([&] { exec_all(macro.body); });
}

void Renderer::bind_parameters(const MacroBody& macro, const Arguments& arguments) {
  const size_t count = macro.parameters.size();
  Sequence more{.items = {}, .tuple = true};
  Dict named;
  for (size_t i = count; i < arguments.positional.size(); ++i) {
    more.items.push_back(arguments.positional[i]);
  }
  for (const auto& [name, value] : arguments.named) {
    const bool known = std::ranges::any_of(
        macro.parameters, [&name = name](const auto& each) { return each.name == name; });
    if (name == "caller" && !known) {
      assign(macro.caller, value);
    } else if (!known) {
      named.set(text(name), value);
    }
  }
  if (!more.items.empty() && !macro.takes_varargs) {
    throw RenderError(
        fmt::format("macro '{}' takes not more than {} argument(s)", macro.name, count));
  }
  if (!named.items.empty() && !macro.takes_kwargs) {
    throw RenderError(fmt::format("macro '{}' takes no keyword argument '{}'", macro.name,
                                  named.items.front().first.text()->bytes));
  }
  if (macro.takes_varargs) assign(macro.varargs, std::move(more));
  if (macro.takes_kwargs) assign(macro.kwargs, std::move(named));
  for (size_t i = 0; i < count; ++i) {
    const MacroBody::Parameter& parameter = macro.parameters[i];
    if (const Value* given = arguments.find(i, parameter.name)) {
      assign(parameter.symbol, *given);
    } else if (parameter.otherwise != nullptr) {
      assign(parameter.symbol, eval(*parameter.otherwise));
    } else {
      assign(parameter.symbol,
             undefined(fmt::format("parameter '{}' was not provided", parameter.name)));
    }
  }
}

Value Renderer::call(const Value& callee, const Arguments& arguments) {
  if (callee.is_undefined()) throw RenderError(callee.why_undefined());
  const Callable* callable = callee.callable();
  if (callable == nullptr) {
    throw RenderError(fmt::format("'{}' object is not callable", type_name(callee)));
  }
  return callable->call(*this, arguments);
}

Value Renderer::make_namespace(Dict attributes) {
  spaces_.push_back(std::make_shared<Namespace>(Namespace{std::move(attributes)}));
  return spaces_.back();
}

}  // namespace trireme::data::jinja
