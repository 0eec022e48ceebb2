#include "cli/reference.h"

#include <algorithm>
#include <span>
#include <vector>

#include "base/error.h"
#include "config/folder_keys.h"
#include "config/model_spec_table.h"
#include "config/names.h"
#include "config/schema.h"
#include "deepspeed/keys.h"

namespace trireme::cli {
namespace {

constexpr std::string_view kNothing = "-";

// Text in a cell of a table: a bar would end the cell, and "<film>" would be taken for a tag.
std::string cell(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|') escaped += '\\';
    if (c == '<') {
      escaped += "&lt;";
    } else {
      escaped += c;
    }
  }
  return escaped.empty() ? std::string(kNothing) : escaped;
}

std::string code(std::string_view text) {
  return text.empty() ? std::string(kNothing) : fmt::format("`{}`", text);
}

std::string table_head(std::span<const std::string_view> names) {
  std::string head = "|", line = "|";
  for (const std::string_view name : names) {
    head += fmt::format(" {} |", name);
    line += "---|";
  }
  return head + "\n" + line + "\n";
}

std::string table_row(std::span<const std::string> cells) {
  std::string row = "|";
  for (const std::string& text : cells) row += fmt::format(" {} |", text);
  return row + "\n";
}

bool is_flag(const config::Option& option) {
  return std::holds_alternative<bool config::RunConfig::*>(option.field);
}

std::string choices_text(const config::Option& option) {
  std::string text;
  for (const std::string& choice : option.choices())
    text += (text.empty() ? "" : ", ") + code(choice);
  return text;
}

// "integer, tokens, at least 1"
std::string values_text(const config::Option& option) {
  if (is_flag(option)) return "`on`, `off`";
  if (!option.choices().empty()) return choices_text(option);
  constexpr const char* kinds[] = {"text", "integer", "number"};
  std::string text = option.list     ? "names, with commas between"
                     : option.object ? "JSON object"
                                     : kinds[option.field.index()];
  for (const std::string& part : {option.unit, config::allowed_text(option)}) {
    if (!part.empty()) text += ", " + part;
  }
  return text;
}

std::string default_text(const config::Option& option) {
  const std::string value = config::option_text(config::RunConfig{}, option);
  if (is_flag(option)) return code(value == "true" ? "on" : "off");
  return code(value);
}

std::string verbs_text(const config::Option& option) {
  std::string text;
  for (const config::Verb verb :
       {config::kTrain, config::kData, config::kTokenize, config::kGenerate, config::kBench,
        config::kDump, config::kExport}) {
    if (option.verbs & verb)
      text += (text.empty() ? "" : ", ") + std::string(config::verb_name(verb));
  }
  return text;
}

std::string option_row(const config::Option& option) {
  const std::string cells[] = {code("--" + option.name),
                               values_text(option),
                               default_text(option),
                               cell(option.help),
                               code(option.json_key),
                               verbs_text(option),
                               option.numerics == config::Numerics::kSame ? "no" : "yes"};
  return table_row(cells);
}

// The key's section at the top level of the file; "" for a key outside of all sections.
std::string_view top_section(const deepspeed::DeepSpeedKey& key) {
  const size_t dot = key.path.find('.');
  return dot == std::string_view::npos ? "" : key.path.substr(0, dot);
}

// What becomes of a key, in a word or two; the next column says how or why.
std::string_view fate_text(const deepspeed::DeepSpeedKey& key) {
  switch (key.fate) {
    case deepspeed::KeyFate::kOpen:
      return "section";
    case deepspeed::KeyFate::kAlias:
      return "other name";
    case deepspeed::KeyFate::kOption:
    case deepspeed::KeyFate::kDone:
      return "done";
    case deepspeed::KeyFate::kIdle:
      return "no effect";
    case deepspeed::KeyFate::kOnly:
      return "default only";
    case deepspeed::KeyFate::kFeature:
      return "refused if on";
    case deepspeed::KeyFate::kRule:
      return "by value";
  }
  TRIREME_CHECK(false, "{}", key.path);
}

std::string how_text(const deepspeed::DeepSpeedKey& key) {
  if (key.fate == deepspeed::KeyFate::kOption) return fmt::format("sets --{}", key.text);
  if (key.fate == deepspeed::KeyFate::kAlias) return fmt::format("of {}", code(key.text));
  return cell(key.text);
}

std::string key_row(const deepspeed::DeepSpeedKey& key) {
  const std::string_view section = top_section(key);
  const std::string_view name = section.empty() ? key.path : key.path.substr(section.size() + 1);
  const std::string cells[] = {code(name), code(key.fallback), std::string(fate_text(key)),
                               how_text(key)};
  return table_row(cells);
}

// "llama|qwen3" -> "`llama`, `qwen3`".
std::string code_list(std::string_view list) {
  std::string text;
  while (!list.empty()) {
    const size_t bar = std::min(list.find('|'), list.size());
    text += (text.empty() ? "" : ", ") + code(list.substr(0, bar));
    list.remove_prefix(std::min(bar + 1, list.size()));
  }
  return text;
}

// `others`: what becomes of a value that is not built.
std::string model_row(const config::ModelKey& key, std::string_view others = "refused") {
  std::string fate, text = cell(key.text);
  switch (key.fate) {
    case config::ModelKeyFate::kUsed:
      fate = "used";
      if (!key.scope.empty()) text += "; in " + code_list(key.scope);
      break;
    case config::ModelKeyFate::kHarmless:
      fate = "no effect";
      break;
    case config::ModelKeyFate::kNeutral:
      fate = key.scope.empty()     ? std::string(others)
             : others == "refused" ? fmt::format("only {}", code_list(key.scope))
                                   : fmt::format("{}, but for {}", others, code_list(key.scope));
      break;
  }
  const std::string cells[] = {code(key.path), fate, text};
  return table_row(cells);
}

constexpr std::string_view kOptionColumns[] = {
    "option", "values", "default", "what it does", "run config", "verbs", "changes numbers"};
constexpr std::string_view kModelColumns[] = {"key", "here", "what it sets, or why"};
constexpr std::string_view kKeyColumns[] = {"key", "DeepSpeed's default", "here", "how, or why"};

constexpr std::string_view kNameColumns[] = {"name", "value", "here", "which, or why"};

std::string name_row(const config::ForeignName& row) {
  constexpr const char* kFates[] = {"option", "not needed", "refused"};
  const std::string option =
      fmt::format("--{}{}{}", row.text, row.ours.empty() ? "" : " ", row.ours);
  const std::string cells[] = {
      code(row.name), row.value.empty() ? "any" : code(row.value),
      kFates[static_cast<size_t>(row.fate)],
      row.fate == config::NameFate::kAlias ? code(option) : cell(row.text)};
  return table_row(cells);
}

size_t find_line(std::string_view page, std::string_view line, size_t from,
                 const std::string& name) {
  const size_t at = page.find(line, from);
  if (at == std::string_view::npos) {
    fail("{}: no line {}: put it back", name, line.substr(0, line.size() - 1));
  }
  return at;
}

}  // namespace

std::string options_reference() {
  std::string text, group;
  for (const config::Option& option : config::schema()) {
    if (option.group != group) {
      text += fmt::format("\n## {}\n\n{}", option.group, table_head(kOptionColumns));
      group = option.group;
    }
    text += option_row(option);
  }
  return text + "\n";
}

std::string deepspeed_reference() {
  std::vector<std::string_view> sections;
  for (const deepspeed::DeepSpeedKey& key : deepspeed::deepspeed_keys()) {
    const std::string_view section = top_section(key);
    if (std::ranges::find(sections, section) == sections.end()) sections.push_back(section);
  }
  std::string text;
  for (const std::string_view section : sections) {
    text += fmt::format("\n## {}\n\n{}", section.empty() ? "Top level" : section,
                        table_head(kKeyColumns));
    for (const deepspeed::DeepSpeedKey& key : deepspeed::deepspeed_keys()) {
      if (top_section(key) == section && key.fate != deepspeed::KeyFate::kOpen)
        text += key_row(key);
    }
  }
  return text + "\n";
}

std::string names_reference() {
  std::string text = "\n" + table_head(kNameColumns);
  for (const config::ForeignName& row : config::foreign_names()) text += name_row(row);
  return text + "\n";
}

std::string models_reference() {
  std::string text = "\n" + table_head(kModelColumns);
  for (const config::ModelKey& key : config::model_keys()) text += model_row(key);
  text +=
      "\n## Keys of generation_config.json\n\nThey count in `generate`, and are copied to the "
      "result. "
      "What is *not used* is named in the log, unless its\nvalue is `null`, `false`, 0 or empty; "
      "so "
      "are keys that are not in the table.\n\n" +
      table_head(kModelColumns);
  for (const config::ModelKey& key : config::generation_keys()) text += model_row(key, "not used");
  text +=
      "\n## Keys of tokenizer_config.json\n\nA name of the model's own that ends in `_token` adds "
      "a "
      "special token, as in transformers. Other keys that are not in the\ntable are named in the "
      "log.\n\n" +
      table_head(kModelColumns);
  for (const config::ModelKey& key : config::tokenizer_keys()) text += model_row(key);
  return text + "\n";
}

std::string with_generated(std::string_view page, std::string_view text, const std::string& name) {
  const size_t after = find_line(page, kGeneratedBegin, 0, name) + kGeneratedBegin.size();
  const size_t end = find_line(page, kGeneratedEnd, after, name);
  return fmt::format("{}{}{}", page.substr(0, after), text, page.substr(end));
}

}  // namespace trireme::cli
