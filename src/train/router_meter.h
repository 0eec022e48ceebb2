// The loss that balances experts, and their load, over the micro-batches of a report.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "config/model_spec.h"
#include "dist/group.h"
#include "model/router_balance.h"
#include "train/run_log.h"

namespace trireme::train {

class RouterMeter {
 public:
  // `spec` outlives the meter. Of a model without that loss nothing is ever measured.
  RouterMeter(const config::ModelSpec& spec, const at::Device& device);

  // Of this rank's micro-batches. Nothing waits for the device.
  void add(const model::RouterLoad& load) { load_.add(load); }
  // The sums so far; set, they go on from there.
  const model::RouterLoad& load() const { return load_; }
  void set(double loss, int64_t micro_batches, const std::vector<double>& choices);
  // Over all ranks of `data`, which call it together; then starts anew.
  std::optional<RouterReport> take(const dist::Group& data);

 private:
  void clear();

  const config::ModelSpec& spec_;
  at::Device device_;
  model::RouterLoad load_;  // sums
};

}  // namespace trireme::train
