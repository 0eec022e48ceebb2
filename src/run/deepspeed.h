// --deepspeed of the verbs that train.
#pragma once

#include <optional>

#include "config/schema.h"
#include "deepspeed/deepspeed.h"

namespace trireme::run {

// Sets the options that --deepspeed decides and logs what becomes of each key; nullopt without
// --deepspeed. From here on only the first rank logs.
std::optional<deepspeed::DeepSpeed> apply_deepspeed(config::RunConfig& run, config::Verb verb);

}  // namespace trireme::run
