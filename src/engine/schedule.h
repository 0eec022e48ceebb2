// The learning rate of a step, as transformers' get_{cosine,linear,constant}_schedule_with_warmup.
#pragma once

#include <cstdint>
#include <string>

namespace trireme::engine {

struct Schedule {
  std::string type = "cosine";  // cosine | linear | constant
  double peak = 0;
  int64_t warmup = 0;  // steps from 0 to the peak
  int64_t total = 0;   // steps of the run

  // Of the step with this index, from 0. Beyond the total it stays at its end value.
  double at(int64_t step) const;
};

}  // namespace trireme::engine
