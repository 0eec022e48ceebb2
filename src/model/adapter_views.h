// The views of a flat block of adapters that a layer computes with, and the numbers that adapters
// start from.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "config/model_spec.h"
#include "layout/adapters.h"
#include "model/linear.h"
#include "model/params.h"

namespace trireme::model {

struct LayerAdapters {
  LinearAdapter qkv, o, gate_up, down;        // attention and dense MLP
  LinearAdapter expert_gate_up, expert_down;  // experts
};

// Views of the flat adapter block of layer `layer`.
LayerAdapters layer_adapters(const config::ModelSpec& spec, const layout::Adapters& adapters,
                             int64_t layer, const at::Tensor& flat);

// Puts the adapters beside the layer's weights, or their gradients beside the weights' gradients.
void attach(LayerParams& params, const LayerAdapters& adapters);

// PEFT's start: A uniform in +-1/sqrt(in) (kaiming_uniform_ with a = sqrt(5)), B zero. `blocks` of
// the adapters' layout, allocated; every element is written, gaps with zero. The same numbers on
// every device and with any number of threads.
void initialise_adapters(const layout::Adapters& adapters, uint64_t seed,
                         std::vector<at::Tensor>& blocks);

}  // namespace trireme::model
