// What a run is doing at the moment: for the memory report, for the message of an allocation that
// fails, and for the profiler.
#pragma once

#include <ATen/record_function.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "device/machine.h"

namespace trireme::device {

class Phases {
 public:
  explicit Phases(const at::Device& device) : device_(device) {}

  // The most bytes that a phase held at once: in tensors on the device, taken from the driver for
  // them, and resident on the host. On the CPU only the last is known.
  struct Peak {
    std::string phase;
    int64_t device = 0;
    int64_t reserved = 0;
    int64_t host = 0;
    // The peak of the memory in which the tensors are.
    int64_t bytes(const at::Device& where) const { return where.is_cuda() ? device : host; }
  };

  // The run is in a phase for as long as its scope lives; the profiler sees the scope under the
  // same name, a literal. Scopes do not nest.
  class Scope {
   public:
    Scope(Phases& phases, const char* name);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Phases& phases_;
    at::RecordFunction record_;
  };
  Scope enter(const char* name) { return Scope(*this, name); }
  void at_layer(int64_t layer) { layer_ = layer; }
  void at_step(int64_t step) { step_ = step; }

  // "step 3, backward, layer 17": the phase entered last, even if an exception has left it. The
  // step is included once there is one. May be called on any thread.
  std::string where() const;

  // Peaks in the order in which the phases were first entered.
  const std::vector<Peak>& peaks() const { return peaks_; }
  // The peak over all phases; for the host also between them.
  Peak total() const;

 private:
  void leave();

  at::Device device_;
  std::atomic<const char*> name_ = "start";
  std::atomic<int64_t> layer_ = -1, step_ = -1;
  std::vector<Peak> peaks_;
};

}  // namespace trireme::device
