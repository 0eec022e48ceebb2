// Reference pages in Markdown, made from the lists that the program itself reads: the schema of
// options, the keys of DeepSpeed's JSON, and those of config.json. scripts/make_docs.cc puts them
// into docs/.
#pragma once

#include <string>
#include <string_view>

namespace trireme::cli {

// A heading for each group of options, and below it a table with a row for each option.
std::string options_reference();

// A heading for each section of the JSON, keys of no section first, and below it a table with a row
// for each key.
std::string deepspeed_reference();

// A table of other programs' names of options, a row for each name and value.
std::string names_reference();

// Tables with a row for each key of a model's config.json, generation_config.json and
// tokenizer_config.json.
std::string models_reference();

// The page with `text` in place of what stands between its two lines kGeneratedBegin and
// kGeneratedEnd. `name` is the page's for messages. Throws UserError where it lacks one of them.
std::string with_generated(std::string_view page, std::string_view text, const std::string& name);

inline constexpr std::string_view kGeneratedBegin =
    "<!-- generated: ./dev docs writes what follows -->\n";
inline constexpr std::string_view kGeneratedEnd = "<!-- generated: end -->\n";

}  // namespace trireme::cli
