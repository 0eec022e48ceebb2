// trireme tokenize: JSON strings, one a line, to JSON arrays of their ids, one a line; --decode the
// other way.
#include "cli/tokenize.h"

#include <fmt/format.h>

#include <cstdio>
#include <iostream>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/result.h"
#include "cli/verbs.h"
#include "config/json.h"
#include "config/schema.h"

namespace trireme::cli {
namespace {

using config::Json;
using data::Tokenizer;

Json parse_line(const std::string& line, const char* expected, const std::string& where) {
  try {
    return config::parse_json(line, where);
  } catch (const UserError&) {
    fail("{}: not a JSON {}: {}", where, expected,
         line.size() > 60 ? fmt::format("a line of {} bytes", line.size()) : "'" + line + "'");
  }
}

std::string encode_line(const Tokenizer& tokenizer, const Json& line,
                        const config::TextOptions& options, const std::string& where) {
  if (!line.is_string()) fail("{}: expected a JSON string, found {}", where, line.type_name());
  std::vector<int32_t> ids = tokenizer.encode(line.get_ref<const std::string&>());
  if (options.add_special_tokens) ids = tokenizer.with_special_tokens(std::move(ids));
  return config::json_text(ids);
}

int32_t checked_id(const Tokenizer& tokenizer, const Json& id, const std::string& where) {
  const auto number = config::whole_number(id, 0, tokenizer.size() - 1);
  if (!number) {
    fail("{}: {} is no token id: ids are integers from 0 to {}", where, config::json_text(id),
         tokenizer.size() - 1);
  }
  return static_cast<int32_t>(*number);
}

// JSON of a text that holds no line break of any kind: many readers end a line at U+0085, U+2028
// and U+2029 too.
std::string one_line(const std::string& text) {
  std::string json = config::json_text(text);
  for (const auto& [raw, escaped] :
       {std::pair("\xC2\x85", "\\u0085"), std::pair("\xE2\x80\xA8", "\\u2028"),
        std::pair("\xE2\x80\xA9", "\\u2029")}) {
    for (size_t at = 0; (at = json.find(raw, at)) != std::string::npos;) {
      json.replace(at, std::string_view(raw).size(), escaped);
    }
  }
  return json;
}

std::string decode_line(const Tokenizer& tokenizer, const Json& line,
                        const config::TextOptions& options, const std::string& where) {
  if (!line.is_array()) fail("{}: expected a JSON array, found {}", where, line.type_name());
  std::vector<int32_t> ids;
  for (const Json& id : line) ids.push_back(checked_id(tokenizer, id, where));
  return one_line(tokenizer.decode(ids, options.skip_special_tokens));
}

}  // namespace

std::string tokenize_line(const Tokenizer& tokenizer, const std::string& line,
                          const config::TextOptions& options, const std::string& where) {
  const Json json = parse_line(line, options.decode ? "array of ids" : "string", where);
  return options.decode ? decode_line(tokenizer, json, options, where)
                        : encode_line(tokenizer, json, options, where);
}

int run_tokenize(Arguments arguments) {
  if (help_shown(config::kTokenize, arguments)) return 0;
  const config::RunConfig run = parse_options(config::kTokenize, arguments);
  const std::string folder = tokenizer_folder(run);
  if (folder.empty()) fail("--tokenizer is missing: give a folder with tokenizer.json");
  const Tokenizer tokenizer(folder);
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    const std::string where = fmt::format("stdin:{}", number);
    print_result("{}\n", tokenize_line(tokenizer, line, run, where));
  }
  if (std::ferror(stdin) != 0) fail("stdin: cannot be read to its end");
  return 0;
}

}  // namespace trireme::cli
