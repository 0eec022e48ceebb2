// Renders chat templates for tests/python/test_chat_template.py: a JSON object a line on standard
// input,
// {"template", "variables", "now"}; on standard output {"text", "runs": [[author, text], ...],
// "generated": [[from, to],
// ...]} in characters, or {"error"}. Authors: template, assistant, user.
#include <iostream>
#include <map>
#include <string>

#include "base/error.h"
#include "data/jinja.h"

namespace {

using trireme::config::Json;
using namespace trireme::data::jinja;

constexpr Mark kAssistant = 1, kUser = 2;

Value messages_of(const Json& messages) {
  Sequence result;
  for (const Json& message : messages) {
    Dict turn;
    for (const auto& [key, value] : message.items()) {
      const Mark mark = key == "role"                                  ? kOwn
                        : message.value("role", Json()) == "assistant" ? kAssistant
                                                                       : kUser;
      turn.items.emplace_back(text(key), from_json(value, mark));
    }
    result.items.emplace_back(std::move(turn));
  }
  return result;
}

Json runs_of(const Text& text) {
  static constexpr const char* kAuthors[] = {"template", "assistant", "user"};
  Json runs = Json::array();
  for (size_t from = 0, to = 0; from < text.size(); from = to) {
    const int author = text.marks[from] & 3;
    while (to < text.size() && (text.marks[to] & 3) == author) ++to;
    runs.push_back({kAuthors[author], text.bytes.substr(from, to - from)});
  }
  return runs;
}

Json generated_in(const Text& text) {
  Json spans = Json::array();
  const std::vector<size_t> starts = code_points(text.bytes);
  for (size_t i = 0; i + 1 < starts.size(); ++i) {
    const auto marked = [&](size_t at) { return (text.marks[starts[at]] & kGenerated) != 0; };
    if (!marked(i)) continue;
    if (i == 0 || !marked(i - 1)) spans.push_back({i, i});
    spans.back()[1] = i + 1;
  }
  return spans;
}

Json answer(const Json& request) {
  static std::map<std::string, Template> templates;
  const std::string source = request["template"];
  try {
    auto found = templates.find(source);
    if (found == templates.end()) {
      found = templates.emplace(source, Template(source, "template")).first;
    }
    Template::Variables variables;
    for (const auto& [key, value] : request["variables"].items()) {
      variables.emplace_back(key, key == "messages" ? messages_of(value) : from_json(value, kOwn));
    }
    const Text text = found->second.render(variables, request["now"].get<int64_t>());
    return {{"text", text.bytes}, {"runs", runs_of(text)}, {"generated", generated_in(text)}};
  } catch (const trireme::UserError& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << answer(Json::parse(line)).dump() << "\n" << std::flush;
  }
}
