// Readers of outside text, one target each, for libFuzzer (libfuzzer.cc) and for the replay of the
// committed corpus (replay.cc).
//
// The contract of every reader: it takes the text, or throws a UserError whose text is one line
// that names the file and shows on a terminal. Any other exception, a signal, a sanitizer's report
// and a long wait are findings.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace trireme::fuzz {

struct Target {
  std::string_view name;  // also of its folder in corpus/
  // A file's text. Where a reader takes several texts, they stand behind one another with a NUL
  // between.
  void (*read)(const std::string& input);
};

std::span<const Target> targets();

// Reads the input; says what is wrong with how the reader took it, "" where nothing is. Broken
// promises that no reader can survive (a signal) end the process.
std::string finding(const Target& target, const std::string& input);

}  // namespace trireme::fuzz
