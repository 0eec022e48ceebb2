// trireme tokenize: JSON strings, one a line, to JSON arrays of their ids, one a line; --decode the
// other way.
#include <fmt/format.h>

#include <cstdio>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "cli/verbs.h"
#include "config/json.h"
#include "config/schema.h"
#include "data/tokenizer.h"

namespace trireme::cli {
namespace {

using config::Json;
using data::Tokenizer;

std::string encode_line(const Tokenizer& tokenizer, const Json& line, const std::string& where) {
  if (!line.is_string()) fail("{}: expected a JSON string, found {}", where, line.type_name());
  return Json(tokenizer.encode(line.get_ref<const std::string&>())).dump();
}

int32_t checked_id(const Tokenizer& tokenizer, const Json& id, const std::string& where) {
  if (!id.is_number_integer() || id < 0 || id >= tokenizer.size()) {
    fail("{}: {} is no token id: ids are integers from 0 to {}", where, id.dump(),
         tokenizer.size() - 1);
  }
  return id.get<int32_t>();
}

// JSON of a text that holds no line break of any kind: many readers end a line at U+0085, U+2028
// and U+2029 too.
std::string one_line(const std::string& text) {
  std::string json = Json(text).dump();
  for (const auto& [raw, escaped] :
       {std::pair("\xC2\x85", "\\u0085"), std::pair("\xE2\x80\xA8", "\\u2028"),
        std::pair("\xE2\x80\xA9", "\\u2029")}) {
    for (size_t at = 0; (at = json.find(raw, at)) != std::string::npos;) {
      json.replace(at, std::string_view(raw).size(), escaped);
    }
  }
  return json;
}

std::string decode_line(const Tokenizer& tokenizer, const Json& line, const std::string& where) {
  if (!line.is_array()) fail("{}: expected a JSON array, found {}", where, line.type_name());
  std::vector<int32_t> ids;
  for (const Json& id : line) ids.push_back(checked_id(tokenizer, id, where));
  return one_line(tokenizer.decode(ids));
}

}  // namespace

int run_tokenize(Arguments arguments) {
  if (help_shown(config::kTokenize, arguments)) return 0;
  const config::RunConfig run = config::parse_command_line(config::kTokenize, arguments);
  const std::string folder = tokenizer_folder(run);
  if (folder.empty()) fail("--tokenizer is missing: give a folder with tokenizer.json");
  const Tokenizer tokenizer(folder);
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    const std::string where = fmt::format("stdin:{}", number);
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_discarded()) {
      fail("{}: not a JSON {}: {}", where, run.decode ? "array of ids" : "string",
           line.size() > 60 ? "a line of " + std::to_string(line.size()) + " bytes"
                            : "'" + line + "'");
    }
    const std::string out =
        run.decode ? decode_line(tokenizer, json, where) : encode_line(tokenizer, json, where);
    fmt::print("{}\n", out);
  }
  return 0;
}

}  // namespace trireme::cli
