#include "data/jinja.h"

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"
#include "data/jinja_parser.h"
#include "data/jinja_renderer.h"

namespace trireme::data::jinja {
namespace {

constexpr size_t kLongest = size_t{1} << 20;

}  // namespace

Template::Template(std::string_view text, std::string name)
    : name_(std::move(name)), source_(normalized(text)) {
  if (text.size() > kLongest) fail("{}: chat template: longer than {} bytes", name_, kLongest);
  if (!is_utf8(text)) fail("{}: chat template: not UTF-8", name_);
  try {
    program_ = std::make_unique<const Program>(Parser(source_).run());
  } catch (const SyntaxError& error) {
    fail("{}: chat template: {}", place(error.at), error.what());
  }
}

Template::~Template() = default;
Template::Template(Template&&) noexcept = default;

Text Template::render(const Variables& variables, std::time_t now) const {
  Renderer renderer(*program_, now, Bounds());
  for (const auto& [variable, value] : variables) renderer.set(variable, value);
  try {
    return renderer.run();
  } catch (const RaisedByTemplate& error) {
    fail("{}: the chat template refuses the messages: {}", name_, error.what());
  } catch (const RenderError& error) {
    fail("{}: chat template: {}", place(renderer.at()), error.what());
  }
}

bool Template::names(const std::string& variable) const { return program_->symbol(variable) >= 0; }

bool Template::marks_generation() const { return program_->generation; }

// file:line:column, counted from 1, columns in characters.
std::string Template::place(size_t at) const {
  const std::string_view before = std::string_view(source_).substr(0, at);
  const size_t line = before.rfind('\n') + 1;
  return fmt::format("{}:{}:{}", shown(name_), 1 + std::ranges::count(before, '\n'),
                     1 + count_code_points(before.substr(line)));
}

}  // namespace trireme::data::jinja
