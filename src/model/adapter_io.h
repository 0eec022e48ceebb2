// PEFT adapter folders: adapter_config.json, and adapter_model.safetensors with the names of the
// layout behind "base_model.model.". Adapters of experts are stored in one of two ways:
//
//   modules     as transformers 4 has experts, a linear each:
//               ...mlp.experts.{e}.gate_proj.lora_A.weight [r, in], lora_B.weight [out, r]
//   parameters  as transformers 5 has them, in 3-D parameters that PEFT wraps one around the other:
//               ...mlp.experts.base_layer.lora_A.weight [E R, C], lora_B.weight [2F, R E] of
//               gate_up_proj, and ...mlp.experts.lora_A.weight [E r, F], lora_B.weight [C, r E] of
//               down_proj; "experts.lora_A" also for gate_up_proj where down_proj has none. The
//               columns of B belong to (rank, expert), the expert last.
//
// Gate and up with adapters of their own are, as parameters, one of rank R = 2r (r: the larger of
// their two): their A one below the other, their B block-diagonal; rank_pattern and alpha_pattern
// then hold R and an alpha that gives the same scale. One of any other kind (trained under
// transformers 5) is two adapters that share A, exactly.
//
// What is trained whole has the base's name ("....lm_head.weight"), a bias of an adapted linear
// "....q_proj.base_layer.bias", the bias of a B "....lora_B.bias", and the lengths of DoRA
// "....lora_magnitude_vector".
//
// How PEFT 0.21.2 with transformers 5.17 reads `modules` (tests/python/test_lora.py): correctly
// with gate, up and down adapted, or down alone. With gate and up but not down it warns and leaves
// them out, one of gate and up alone it refuses, and with use_rslora its scale of gate and up is
// sqrt(2) too large. It reads `parameters` correctly in all these cases.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/choices.h"
#include "config/model_spec.h"
#include "config/peft_config.h"
#include "io/safetensors.h"
#include "io/weight_files.h"
#include "layout/adapters.h"
#include "model/linear.h"

namespace trireme::model {

// An adapter folder, opened: the configuration and the tensors' names and shapes checked against
// the model, nothing loaded yet. Either way of storing experts.
class AdapterFolder {
 public:
  // `base`: the model's files, which outlive the constructor; an embedding or head that PEFT has
  // saved beside the adapter (save_embedding_layers) is compared with theirs. UserError: not an
  // adapter folder, a kind that is not built, an adapter of another model, a tensor that the
  // configuration does not explain.
  AdapterFolder(const std::string& folder, const config::ModelSpec& spec,
                const io::WeightFiles* base = nullptr);

  const std::string& path() const { return path_; }
  const layout::Adapters& adapters() const { return adapters_; }

  // Fills blocks of adapters().layout (any device, fp32 or bf16), gaps with zero, one tensor at a
  // time.
  void load(std::vector<at::Tensor>& blocks) const;

 private:
  // The tensors of one 3-D parameter of a layer.
  struct Parameter {
    std::string a, b;  // names in the file
    layout::AdapterSize size = {};
    bool apart = false;  // block-diagonal: gate and up have each an adapter of half the rank
  };
  using Parameters = std::map<int64_t, Parameter>;  // by layer

  void find_tensors();
  void add_linear(const std::string& name, const std::string& module);
  void add_parameter(const std::string& name, const std::string& module);
  void add_whole(const std::string& name, const io::WeightFiles* base);
  bool equals_base(const std::string& name, const std::string& tensor,
                   const io::WeightFiles& base) const;
  void size_parameters();
  bool gate_and_up_apart(const Parameter& parameter) const;
  layout::AdapterSizes sizes() const;
  [[noreturn]] void refuse_tensor(const std::string& name, const std::string& why) const;
  void check_targets() const;
  void check_tensor(const std::string& name, const std::vector<int64_t>& shape) const;
  void check_shapes() const;
  const io::TensorEntry* find(const std::string& name) const;
  at::Tensor read(const std::string& name) const;
  std::pair<at::Tensor, at::Tensor> read_parameter(const Parameter& parameter) const;
  bool in_parameter(int64_t block, const std::string& tensor) const;
  void load_gate_up(const Parameter& parameter, LinearAdapter adapter) const;
  void load_down(const Parameter& parameter, LinearAdapter adapter) const;

  std::string path_;
  const config::ModelSpec& spec_;
  config::PeftConfig config_;
  io::SafetensorsFile file_;
  std::set<std::string> linears_;   // with an adapter of their own in the file
  std::vector<std::string> whole_;  // names in the file of tensors that are trained whole
  Parameters gate_up_, down_;
  layout::Adapters adapters_;
};

// The name in the file of a tensor of the adapters' layout.
std::string peft_name(const layout::Adapters& adapters, const std::string& tensor);

// Resolves --expert_adapters auto. It becomes modules where PEFT reads those correctly under
// transformers 4 and 5, and where no expert is adapted; otherwise parameters.
config::ExpertAdapters resolve_expert_adapters(config::ExpertAdapters option,
                                               const config::ModelSpec& spec,
                                               const layout::Adapters& adapters);

// What is wrong with reading these adapters by PEFT under transformers 5, for a warning; "" if
// nothing.
std::string peft_caveat(const config::ModelSpec& spec, const layout::Adapters& adapters,
                        config::ExpertAdapters kind);

// adapter_config.json. `base_model` is the folder of the model, as given.
config::PeftConfig peft_config(const config::ModelSpec& spec, const layout::Adapters& adapters,
                               config::ExpertAdapters kind, const std::string& base_model);

// The tensors of adapter_model.safetensors, in fp32, each made when its turn comes. `adapters` and
// the blocks must outlive them.
std::vector<io::TensorSource> adapter_sources(const config::ModelSpec& spec,
                                              const layout::Adapters& adapters,
                                              const std::vector<at::Tensor>& blocks,
                                              config::ExpertAdapters kind);

// The model's tensors W + scale B A, and those that are trained whole, each in the dtype of its
// weight file, from a sum in fp32. They are read, added to and written one at a time. `blocks`:
// fp32, of the adapters' layout, on the host. All arguments must outlive the result. UserError
// where a B has a bias and the model has none to add it to.
std::vector<io::TensorSource> merged_sources(const config::ModelSpec& spec,
                                             const layout::ModelLayout& layout,
                                             const io::WeightFiles& files,
                                             const layout::Adapters& adapters,
                                             const std::vector<at::Tensor>& blocks);

// Whether the merged model has a head of its own where the base's is the embedding: one of the two
// is trained, as in PEFT without the other.
bool merging_unties(const config::ModelSpec& spec, const layout::Adapters& adapters);

}  // namespace trireme::model
