// Where every Hugging Face tensor of a model lies: blocks (embedding, each layer, head), each one
// flat buffer. Tensors that one product reads together (q, k, v; gate, up; the experts) are
// neighbours, so that the fused matrix is a view. Weights, fp32 gradients, master weights and
// moments share this layout.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/model_spec.h"
#include "layout/hf_tensors.h"

namespace trireme::layout {

// The part of a whole tensor that a rank has: indices from `first` on in dimension `dim`, as many
// as the part's shape says. The default is all of the tensor.
struct Slice {
  int64_t dim = 0;
  int64_t first = 0;
  int64_t whole = 0;  // size of the dimension in the whole tensor; 0: it is not cut
};

// The elements of a whole tensor that a part of it consists of: `count` runs of `size` neighbours,
// the first at `first` and each `stride` behind the one before.
struct Runs {
  int64_t first = 0, size = 0, stride = 0, count = 1;
};

struct ParamInfo {
  std::string name;            // Hugging Face name
  std::vector<int64_t> shape;  // of this rank's part
  int64_t offset = 0;          // elements from the start of the block
  int64_t numel = 0;           // of this rank's part
  Slice slice = {};            // where the part is in the whole tensor

  // The shape of the whole tensor, as files have it.
  std::vector<int64_t> global_shape() const;
  // The part's elements in the whole tensor.
  Runs runs() const;
};

struct BlockLayout {
  std::vector<ParamInfo> params;  // matrices first, then norms and biases
  int64_t numel = 0;
  int64_t decayed = 0;  // elements [0, decayed) take weight decay; norms and biases do not
};

struct ModelLayout {
  std::vector<BlockLayout> blocks;  // by number: embedding(), layer(i) of each layer, head()
  int64_t numel() const;

  // Numbers of blocks. The head's has the final norm, and the head unless it is tied.
  static constexpr int64_t embedding() { return 0; }
  static constexpr int64_t layer(int64_t index) { return index + 1; }
  int64_t head() const { return static_cast<int64_t>(blocks.size()) - 1; }
  int64_t layers() const { return head() - 1; }
  bool is_layer(int64_t block) const { return block > embedding() && block < head(); }
};

ModelLayout make_layout(const config::ModelSpec& spec);

// A block of these tensors: first those with weight decay, otherwise in this order. Each begins at
// a multiple of 64 elements unless it joins the one before.
BlockLayout place(std::vector<NamedShape> tensors);

}  // namespace trireme::layout
