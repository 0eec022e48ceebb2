#include "cli/arguments.h"

#include <algorithm>

#include "base/error.h"
#include "base/result.h"

namespace trireme::cli {

bool help_shown(config::Verb verb, Arguments arguments) {
  if (std::ranges::find(arguments, "--help") == arguments.end() &&
      std::ranges::find(arguments, "-h") == arguments.end()) {
    return false;
  }
  print_result("{}", config::help_text(verb));
  return true;
}

void require(const std::string& value, const std::string& flag, const std::string& remedy) {
  if (value.empty()) fail("--{} is missing: {}", flag, remedy);
}

std::string tokenizer_folder(const config::FileOptions& files) {
  return files.tokenizer.empty() ? files.model : files.tokenizer;
}

}  // namespace trireme::cli
