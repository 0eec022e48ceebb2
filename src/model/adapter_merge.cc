// Adapters added to the model's weights.
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mm.h>
#include <fmt/format.h>

#include <map>
#include <memory>

#include "base/error.h"
#include "model/adapter_io.h"
#include "model/model_io.h"
#include "model/params.h"

namespace trireme::model {
namespace {

// The trained tensors of a block, by name.
class BlockTensors {
 public:
  BlockTensors(const layout::BlockLayout& block, at::Tensor flat) : flat_(std::move(flat)) {
    for (const layout::ParamInfo& info : block.params) params_[info.name] = &info;
  }

  bool has(const std::string& name) const { return params_.contains(name); }
  // Undefined where there is none.
  at::Tensor find(const std::string& name) const {
    const auto found = params_.find(name);
    return found == params_.end() ? at::Tensor() : param_view(flat_, *found->second);
  }

 private:
  at::Tensor flat_;
  std::map<std::string, const layout::ParamInfo*> params_;
};

class Merger {
 public:
  Merger(const layout::ModelLayout& layout, const io::WeightFiles& files,
         const layout::Adapters& adapters)
      : layout_(layout), files_(files), adapters_(adapters) {}

  // The base's tensor with what is trained: W + scale B A from a sum in fp32, a bias likewise, or
  // what stands in its place. In the dtype of the file. `base` is what the files have of it: of the
  // head of a tied model, the embedding.
  at::Tensor merged(const std::string& name, const layout::ParamInfo& base,
                    const BlockTensors& trained) const {
    at::Tensor tensor = read_param(files_, base);
    const at::ScalarType type = tensor.scalar_type();
    if (const at::Tensor whole = trained.find(name); whole.defined()) tensor = whole;
    const std::string module = layout::module_of(name);
    const bool weight = name.ends_with(".weight");
    const at::Tensor a = trained.find(module + ".lora_A.weight");
    if (!a.defined()) return tensor.to(type);
    const at::Tensor delta = weight ? at::mm(trained.find(module + ".lora_B.weight"), a)
                                    : trained.find(module + ".lora_B.bias");
    if (!delta.defined()) return tensor.to(type);
    const at::Tensor sum = tensor.to(at::kFloat).add(delta, adapters_.scale(module));
    const at::Tensor length = trained.find(module + ".lora_magnitude_vector");
    if (!weight || !length.defined()) return sum.to(type);
    return (sum * (length / at::linalg_vector_norm(sum, 2, 1)).unsqueeze(1)).to(type);
  }

  // A B's bias has no place in a model whose linears have none.
  void check_biases() const {
    if (!adapters_.lora.lora_bias) return;
    for (size_t block = 0; block < layout_.blocks.size(); ++block) {
      const BlockTensors base(layout_.blocks[block], {});
      for (const layout::ParamInfo& info : adapters_.layout.blocks[block].params) {
        if (!info.name.ends_with(".lora_B.bias")) continue;
        const std::string module = info.name.substr(0, info.name.find(".lora_B."));
        if (base.has(module + ".bias")) continue;
        fail(
            "--merge: {} has a trained bias (lora_bias) and the model none to add it to, as in "
            "PEFT: leave out --merge and use the adapter beside the model",
            module);
      }
    }
  }

 private:
  const layout::ModelLayout& layout_;
  const io::WeightFiles& files_;
  const layout::Adapters& adapters_;
};

}  // namespace

bool merging_unties(const config::ModelSpec& spec, const layout::Adapters& adapters) {
  if (!spec.tied) return false;
  const BlockTensors head(adapters.layout.blocks.back(), {});
  return adapters.in_block(layout::ModelLayout::embedding()) || head.has("lm_head.weight");
}

std::vector<io::TensorSource> merged_sources(const config::ModelSpec& spec,
                                             const layout::ModelLayout& layout,
                                             const io::WeightFiles& files,
                                             const layout::Adapters& adapters,
                                             const std::vector<at::Tensor>& blocks) {
  const auto merger = std::make_shared<Merger>(layout, files, adapters);
  merger->check_biases();
  const auto staging = std::make_shared<at::Tensor>();
  std::vector<io::TensorSource> list;
  // `base`: the tensor in the files that `name` is made of.
  const auto add = [&](const std::string& name, const layout::ParamInfo& base,
                       const std::shared_ptr<BlockTensors>& trained) {
    list.push_back({name, stored_dtype(files, base), base.shape, [=, info = base] {
                      *staging = at::Tensor();  // before the next is read: nothing is held twice
                      *staging = merger->merged(name, info, *trained);
                      return std::span(static_cast<const std::byte*>(staging->const_data_ptr()),
                                       staging->nbytes());
                    }});
  };
  for (size_t block = 0; block < layout.blocks.size(); ++block) {
    const auto trained =
        std::make_shared<BlockTensors>(adapters.layout.blocks[block], blocks[block]);
    for (const layout::ParamInfo& info : layout.blocks[block].params) add(info.name, info, trained);
    if (block + 1 == layout.blocks.size() && merging_unties(spec, adapters)) {
      add("lm_head.weight", layout.blocks.front().params.front(), trained);
    }
  }
  return list;
}

}  // namespace trireme::model
