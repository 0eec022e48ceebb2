// How a program ends by an exception.
#pragma once

#include <chrono>
#include <exception>
#include <string>

namespace trireme::cli {

struct Ending {
  int status = 1;     // 2: the user's mistake
  std::string type;   // "UserError"
  std::string words;  // one line
  // When, for torchrun, whose seconds are whole: what another rank's end has caused comes later.
  std::chrono::seconds at = now();

  static std::chrono::seconds now();
};
Ending ending_for_another(std::string words);

Ending ending_of(const std::exception_ptr& error);

// Prints "trireme: WORDS", and leaves them where torchrun looks for them (TORCHELASTIC_ERROR_FILE).
// Returns the status.
int end(const Ending& ending);

}  // namespace trireme::cli
