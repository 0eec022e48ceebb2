// What the sources of this folder need of c10d. No header of the folder includes this one.
#pragma once

#include "dist/store.h"

#ifndef USE_C10D_GLOO
#define USE_C10D_GLOO  // a definition of the wheel's own CMake target
#endif

#include <string>
#include <torch/csrc/distributed/c10d/GroupRegistry.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

namespace trireme::dist {

// The first line of what went wrong, without c10's backtrace and Gloo's "[file:line] ".
inline std::string cause(const std::exception& error) {
  const auto* c10_error = dynamic_cast<const c10::Error*>(&error);
  std::string text = c10_error ? c10_error->what_without_backtrace() : error.what();
  if (text.starts_with('[') && text.find("] ") < text.find('\n'))
    text.erase(0, text.find("] ") + 2);
  return text.substr(0, text.find('\n'));
}

}  // namespace trireme::dist
