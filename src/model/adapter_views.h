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

// Also the gradients of all these, where `flat` holds gradients.
struct LayerAdapters {
  // Of each only `adapter` and `trained_biases`.
  Linear qkv, o, gate_up, down;        // attention and dense MLP
  Linear expert_gate_up, expert_down;  // experts
  // Trained whole; undefined where they are frozen.
  at::Tensor input_norm, q_norm, k_norm, post_norm, router;
};

// Views of the flat adapter block of layer `layer`.
LayerAdapters layer_adapters(const config::ModelSpec& spec, const layout::Adapters& adapters,
                             int64_t layer, const at::Tensor& flat);

// Puts the adapters beside the layer's weights, and what is trained whole in their place; or the
// gradients beside the weights' gradients.
void attach(LayerParams& params, const LayerAdapters& adapters);
// add_biases() of all matrices; after attach(), for weights only.
void add_biases(LayerParams& params);

// The table [V,C] of the embedding that is trained beside adapters, in the flat block of the
// embedding; undefined where it is frozen.
at::Tensor trained_table(const layout::Adapters& adapters, const at::Tensor& flat);
// The same of the final norm and the head, in the flat block of the head.
HeadParams trained_head(const layout::Adapters& adapters, const at::Tensor& flat);

// PEFT's start: A uniform in +-1/sqrt(in) (kaiming_uniform_ with a = sqrt(5)), B zero. `blocks` of
// the adapters' layout, allocated; every element is written: all but the A with zero. The same
// numbers on every device and with any number of threads.
void initialise_adapters(const layout::Adapters& adapters, uint64_t seed,
                         std::vector<at::Tensor>& blocks);

}  // namespace trireme::model
