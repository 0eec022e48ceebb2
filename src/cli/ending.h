// How the program ends after an exception.
#pragma once

#include <chrono>
#include <exception>
#include <string>

#include "base/exit_status.h"

namespace trireme::cli {

struct Ending {
  int status = kInternalError;
  std::string type;   // "UserError"
  std::string words;  // one line
  // The time for torchrun, in its whole seconds. An end that another rank has caused gets a later
  // one.
  std::chrono::seconds at = now();

  static std::chrono::seconds now();
};
Ending ending_for_another(std::string words);

Ending ending_of(const std::exception_ptr& error);

// Prints "trireme: WORDS", and leaves them where torchrun looks for them (TORCHELASTIC_ERROR_FILE).
// Returns the status.
int end(const Ending& ending);

}  // namespace trireme::cli
