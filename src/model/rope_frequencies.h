// Inverse frequencies of the rotary embedding: plain, or scaled as Llama 3.1 does.
#pragma once

#include <ATen/core/Tensor.h>

#include "config/model_spec.h"

namespace trireme::model {

// [D/2] fp32 on CPU.
at::Tensor inverse_frequencies(const config::ModelSpec& spec);

}  // namespace trireme::model
