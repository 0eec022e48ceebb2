#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace trireme::train {

double Schedule::at(int64_t step) const {
  const auto ratio = [](int64_t a, int64_t b) {
    return static_cast<double>(a) / static_cast<double>(std::max<int64_t>(b, 1));
  };
  if (step < warmup && warmup_type == config::Warmup::kLog) {
    return peak * std::log1p(static_cast<double>(step)) /
           std::log(static_cast<double>(std::max<int64_t>(warmup, 2)));
  }
  if (step < warmup) return peak * ratio(step, warmup);
  if (type == config::LrScheduler::kConstant) return peak;
  const double progress = std::min(1.0, ratio(step - warmup, total - warmup));
  if (type == config::LrScheduler::kLinear) return peak * (1 - progress);
  return peak * 0.5 * (1 + std::cos(std::numbers::pi * progress));
}

}  // namespace trireme::train
