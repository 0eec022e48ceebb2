// Which arguments filters, tests and methods take: jinja2's are functions of Python, which raise
// for one that they do not know.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "data/jinja_library.h"

namespace trireme::data::jinja {
namespace {

// Names by place, a space behind each. "*": any.
using Signatures = std::unordered_map<std::string_view, std::string_view>;

const Signatures kFilters = {{"attr", "name "},
                             {"d", "default_value boolean "},
                             {"default", "default_value boolean "},
                             {"dictsort", "case_sensitive by reverse "},
                             {"float", "default "},
                             {"format", "*"},
                             {"indent", "width first blank "},
                             {"int", "default base "},
                             {"join", "d attribute "},
                             {"map", "*"},
                             {"max", "case_sensitive attribute "},
                             {"min", "case_sensitive attribute "},
                             {"reject", "*"},
                             {"rejectattr", "*"},
                             {"replace", "old new count "},
                             {"round", "precision method "},
                             {"select", "*"},
                             {"selectattr", "*"},
                             {"sort", "reverse case_sensitive attribute "},
                             {"sum", "attribute start "},
                             {"tojson", "ensure_ascii indent separators sort_keys "},
                             {"trim", "chars "},
                             {"unique", "case_sensitive attribute "}};

// Names that may stand as keywords; Python's other methods have no keywords.
const Signatures kMethods = {{"format", "*"},
                             {"split", "sep maxsplit "},
                             {"rsplit", "sep maxsplit "},
                             {"splitlines", "keepends "},
                             {"namespace", "*"},
                             {"dict", "*"},
                             {"raise_exception", "message "},
                             {"strftime_now", "format "}};

std::string_view signature(const Signatures& table, std::string_view name) {
  const auto found = table.find(name);
  return found == table.end() ? "" : found->second;
}

// The place of the name, or npos.
size_t place_of(std::string_view parameters, std::string_view name) {
  for (size_t place = 0; !parameters.empty(); ++place) {
    const size_t end = parameters.find(' ');
    if (parameters.substr(0, end) == name) return place;
    parameters.remove_prefix(end + 1);
  }
  return std::string_view::npos;
}

void check_names(std::string_view callee, std::string_view parameters, const Arguments& given) {
  for (const auto& [name, value] : given.named) {
    const size_t place = place_of(parameters, name);
    if (place == std::string_view::npos) {
      throw RenderError(fmt::format("{}() got an unexpected keyword argument '{}'", callee, name));
    }
    if (place < given.positional.size()) {
      throw RenderError(fmt::format("{}() got multiple values for argument '{}'", callee, name));
    }
  }
}

}  // namespace

void check_filter_arguments(std::string_view name, const Arguments& given) {
  const std::string_view parameters = signature(kFilters, name);
  if (parameters == "*") return;
  check_names(name, parameters, given);
  const auto most = static_cast<size_t>(std::ranges::count(parameters, ' '));
  if (given.positional.size() > most) {
    throw RenderError(fmt::format("{}() takes {} positional arguments but {} were given", name,
                                  most + 1, given.positional.size() + 1));
  }
}

void check_test_arguments(std::string_view name, const Arguments& given) {
  check_names(name, "", given);
}

void check_call_arguments(std::string_view name, const Arguments& given) {
  const std::string_view parameters = signature(kMethods, name);
  if (parameters != "*") check_names(name, parameters, given);
}

}  // namespace trireme::data::jinja
