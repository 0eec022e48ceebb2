// DoRA (Liu et al. 2024): the rows of V = W + scale B A are brought to trained lengths,
//
//   y = f (x W^T + scale x A^T B^T) + bias    f = magnitude / |V|, row by row
//
// As in PEFT, |V| is a constant for the gradient, and with dropout only what the adapter adds is
// dropped: y = x W^T + (f - 1) d(x) W^T + f scale d(x) A^T B^T + bias.
//
// f is folded into the weights once a visit of the layer, so that the products are those of LoRA:
// into W and B, or with dropout into a matrix (f - 1) W beside W.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "model/linear.h"
#include "model/params.h"

namespace trireme::model {

// |V| of each row [rows] in fp32, tile by tile. w [rows,in], a [r,in], b [rows,r].
at::Tensor row_norms(const at::Tensor& w, const at::Tensor& a, const at::Tensor& b, double scale);

// Folds the factors into the layer's weights. `norms`: |V| of the layer's adapted linears, in their
// order; computed if it is empty. `dropout`: whether training drops.
void fold_magnitudes(LayerParams& params, bool dropout, std::vector<at::Tensor>& norms);

// Adds to the gradients of magnitudes and B. x: what the adapter reads.
void magnitude_grads(const LinearAdapter& adapter, LinearAdapter& grads, const at::Tensor& dy,
                     const at::Tensor& x);

}  // namespace trireme::model
