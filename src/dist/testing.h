// Ranks of a test as threads of its process.
#pragma once

#include <exception>
#include <functional>
#include <latch>
#include <thread>
#include <vector>

#include "base/env.h"
#include "dist/mesh.h"

namespace trireme::dist {

// Before the first group: c10d's recorder of collectives is one for the process, and not made for
// ranks as threads.
inline void ranks_are_threads() { set_default_env("TORCH_FR_BUFFER_SIZE", "0"); }

// Runs body on every rank of the mesh. Returns what each of them threw (null: nothing). A rank that
// ends well keeps its groups until all have ended: another may still be connecting to it.
inline std::vector<std::exception_ptr> try_ranks(const config::MeshSpec& spec,
                                                 std::span<const config::Axis> axes,
                                                 std::chrono::milliseconds timeout,
                                                 const std::function<void(const Mesh&)>& body) {
  ranks_are_threads();
  const StorePtr store = local_store();
  std::vector<std::exception_ptr> errors(static_cast<size_t>(spec.ranks()));
  std::latch ended(spec.ranks());
  std::vector<std::jthread> threads;
  for (int64_t rank = 0; rank < spec.ranks(); ++rank) {
    threads.emplace_back([&, rank] {
      try {
        const Mesh mesh(spec, rank, *store, axes, {timeout, timeout});
        body(mesh);
        ended.arrive_and_wait();
      } catch (...) {
        errors[static_cast<size_t>(rank)] = std::current_exception();
        ended.count_down();
      }
    });
  }
  threads.clear();
  return errors;
}

// The same for a body that must not throw: rethrows the first rank's exception.
inline void run_ranks(const config::MeshSpec& spec, std::span<const config::Axis> axes,
                      const std::function<void(const Mesh&)>& body) {
  for (const auto& error : try_ranks(spec, axes, std::chrono::seconds(60), body)) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace trireme::dist
