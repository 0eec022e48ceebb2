#include "cli/arguments.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/result.h"
#include "config/launch.h"

namespace trireme::cli {

bool help_shown(config::Verb verb, Arguments arguments) {
  if (std::ranges::find(arguments, "--help") == arguments.end() &&
      std::ranges::find(arguments, "-h") == arguments.end()) {
    return false;
  }
  print_result("{}", config::help_text(verb));
  return true;
}

config::RunConfig parse_options(config::Verb verb, Arguments arguments) {
  config::RunConfig run = config::parse_command_line(verb, arguments);
  if (!run.remarks.empty() && config::read_launch().rank == 0) {
    for (const std::string& remark : run.remarks) log("{}", remark);
  }
  return run;
}

void require(const std::string& value, const std::string& flag, const std::string& remedy) {
  if (value.empty()) fail("--{} is missing: {}", flag, remedy);
}

std::string tokenizer_folder(const config::FileOptions& files) {
  return files.tokenizer.empty() ? files.model : files.tokenizer;
}

}  // namespace trireme::cli
