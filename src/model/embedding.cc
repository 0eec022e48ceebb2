#include "model/embedding.h"

#include "model/params.h"
#include "ops/linear.h"

namespace trireme::model {

at::Tensor embedding_table(const layout::ModelLayout& layout, const at::Tensor& flat) {
  return param_view(flat, layout.blocks[layout.embedding()].params.front());
}

at::Tensor embed(const at::Tensor& table, const at::Tensor& tokens) {
  return ops::embedding(table, tokens);
}

void embed_backward(const config::ModelSpec& spec, at::Tensor& grad, const at::Tensor& dy,
                    const at::Tensor& tokens) {
  ops::accumulate_embedding_grad(grad, dy, tokens, spec.padding_row);
}

}  // namespace trireme::model
