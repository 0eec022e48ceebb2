// What the sources of this folder need of c10d. Its headers take seconds to compile and include the
// whole operator table: no header of the folder includes this one.
#pragma once

#undef TORCH_ASSERT_ONLY_METHOD_OPERATORS
#ifndef USE_C10D_GLOO
#define USE_C10D_GLOO  // a definition of the wheel's own CMake target
#endif

#include <string>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

namespace trireme::dist {

struct Store {
  c10::intrusive_ptr<c10d::Store> c10d;
};

// The first line of what went wrong, without c10's backtrace.
inline std::string cause(const std::exception& error) {
  const auto* c10_error = dynamic_cast<const c10::Error*>(&error);
  const std::string text = c10_error ? c10_error->what_without_backtrace() : error.what();
  return text.substr(0, text.find('\n'));
}

}  // namespace trireme::dist
