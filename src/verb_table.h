// The verbs of this build of the program, in the order of --help.
#pragma once

#include <string>
#include <vector>

#include "cli/arguments.h"

namespace trireme {

struct VerbEntry {
  std::string name;
  int (*run)(cli::Arguments);
  const char* help;
};

const std::vector<VerbEntry>& verb_table();

// What else --help says of this build; "" for one with all verbs.
const char* build_note();

}  // namespace trireme
