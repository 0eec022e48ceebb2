// The learning rate of a step, as transformers' get_{cosine,linear,constant}_schedule_with_warmup;
// the logarithmic warm-up is that of DeepSpeed's WarmupLR.
#pragma once

#include <cstdint>

#include "config/choices.h"

namespace trireme::train {

struct Schedule {
  config::LrScheduler type = config::LrScheduler::kCosine;
  double peak = 0;
  int64_t warmup = 0;  // steps from 0 to the peak
  int64_t total = 0;   // steps of the run
  config::Warmup warmup_type = config::Warmup::kLinear;

  // The rate of the step with this index, from 0. Beyond the total it stays at its end value.
  double at(int64_t step) const;
};

}  // namespace trireme::train
