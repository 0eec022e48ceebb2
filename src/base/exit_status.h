// How the program ends, as its caller sees it.
#pragma once

namespace trireme {

enum ExitStatus {
  kSuccess = 0,
  kInternalError = 1,  // of ours, or of another rank
  kUserError = 2,      // a file, an option, a full disk: one line says what to do
  kNotSaved = 3,       // interrupted twice: what was not saved before is lost
};

// A signal ended training, and its state was saved. As a shell shows a signal, 128 + its number.
constexpr int saved_after(int signal) { return 128 + signal; }

}  // namespace trireme
