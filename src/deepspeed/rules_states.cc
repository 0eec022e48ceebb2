// The rules of what the optimizer keeps, and in how many bits.
#include <fmt/format.h>

#include "deepspeed/rules.h"

namespace trireme::deepspeed {

void DeepSpeedRules::states() {
  if (const GivenKey* key = file_.find_explicit("bf16.bf16_master_weights_and_grads")) {
    const bool master = key->value == false;
    assign(*key, "master_weights", master ? "true" : "false");
    done(*key, master ? "--master_weights true"
                      : "--master_weights false; gradients add up in float32 all the same");
  }
  const GivenKey* brain = file_.find_explicit("bf16.bf16_optimizer_states");
  if (brain != nullptr) moments(*brain, brain->value == true);
  const GivenKey* full = file_.find_explicit("optimizer.params.fp32_optimizer_states");
  if (full != nullptr) moments(*full, full->value == false);
}

// A file that asks for no bfloat16 says nothing against 8 bits, which DeepSpeed does not have.
void DeepSpeedRules::moments(const GivenKey& key, bool in_bfloat16) {
  if (in_bfloat16) return set(key, "moments_dtype", "bfloat16");
  if (run_.moments_dtype != MomentFormat::kEightBit) assign(key, "moments_dtype", "float32");
  done(key, fmt::format("--moments_dtype {}", config::word(run_.moments_dtype)));
}

}  // namespace trireme::deepspeed
