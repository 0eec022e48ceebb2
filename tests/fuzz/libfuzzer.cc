// libFuzzer's entry. It mutates bytes; FUZZ_TARGET names the one target of this program.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "targets.h"

namespace {

const trireme::fuzz::Target& target() {
  for (const auto& one : trireme::fuzz::targets()) {
    if (one.name == FUZZ_TARGET) return one;
  }
  std::fprintf(stderr, "no target " FUZZ_TARGET "\n");
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const trireme::fuzz::Target& the_target = target();
  const std::string input(reinterpret_cast<const char*>(bytes), size);
  const std::string wrong = trireme::fuzz::finding(the_target, input);
  if (!wrong.empty()) {
    std::fprintf(stderr, "FINDING: %s\n", wrong.c_str());
    std::abort();
  }
  return 0;
}
