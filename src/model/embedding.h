// The embedding: rows of a table [V,C], one for each token.
#pragma once

#include <ATen/core/Tensor.h>

#include "config/model_spec.h"
#include "layout/parameters.h"

namespace trireme::model {

// The table [V,C] in the flat buffer of the embedding's block: of weights, or of gradients.
at::Tensor embedding_table(const layout::ModelLayout& layout, const at::Tensor& flat);

// Rows of the table at tokens [S] -> [S,C].
at::Tensor embed(const at::Tensor& table, const at::Tensor& tokens);

// Adds dy [S,C] to the rows of the table's gradient (fp32) at tokens [S]. The row of padding gets
// nothing, as from torch's Embedding(padding_idx).
void embed_backward(const config::ModelSpec& spec, at::Tensor& grad, const at::Tensor& dy,
                    const at::Tensor& tokens);

}  // namespace trireme::model
