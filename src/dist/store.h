// c10d's stores. Their headers take seconds to compile and include the whole operator table: no
// header includes this one but c10d.h.
#pragma once

#undef TORCH_ASSERT_ONLY_METHOD_OPERATORS

#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

namespace trireme::dist {

struct Store {
  c10::intrusive_ptr<c10d::Store> c10d;
};

}  // namespace trireme::dist
