// Chat templates: the subset of jinja2 that they use, with transformers' settings and functions
// (trim_blocks, lstrip_blocks, loop controls, tojson, raise_exception, strftime_now, generation).
//
// An engine of our own instead of jinja2 in a worker process, which would be equal by construction
// and takes some 125 us for a prompt of 30 KB: of 178 public templates (llama.cpp, trl, Axolotl) it
// renders all like transformers, and `trireme data` on sample/ takes 0.56 s of CPU with it, 0.45 s
// with the renderer of twelve known templates that it replaced. Three reasons: its strings carry
// marks (jinja_text.h), which say of each byte of the output whether the template or a message
// wrote it; jinja2's cannot carry them through filters and joins. The program runs where there is
// no Python. And it bounds what a template may do: a template is outside input.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/jinja_value.h"

namespace trireme::data::jinja {

struct Program;

class Template {
 public:
  // Reads the text; `name` is its file, for messages. UserError with line and column for what is no
  // template, and for what this engine has not, by its name.
  Template(std::string_view text, std::string name);
  ~Template();
  Template(Template&&) noexcept;

  using Variables = std::vector<std::pair<std::string, Value>>;
  // UserError with line and column where the rendering fails or does not end within the bounds of
  // jinja_renderer.h, and with the message of raise_exception. `now` is what strftime_now shows.
  // Thread-safe.
  Text render(const Variables& variables, std::time_t now) const;

  // The template names the variable or function.
  bool names(const std::string& variable) const;
  // It says by {% generation %} what the assistant wrote.
  bool marks_generation() const;
  const std::string& name() const { return name_; }
  const std::string& source() const { return source_; }

 private:
  std::string place(size_t at) const;

  std::string name_, source_;
  std::unique_ptr<const Program> program_;
};

}  // namespace trireme::data::jinja
