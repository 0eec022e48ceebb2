// Names of a decoder's tensors as other programs leave them: behind the name of an attribute that
// holds the model, with wrappers of modules in between, or as the base model's.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace trireme::io {

// By stored name, the Hugging Face name of each tensor that goes by another. One pattern must fit
// all of them:
//
//   model.*, lm_head.*                                     as they should be
//   *, lm_head.*                                           the base model saved alone (AutoModel);
//                                                          also only some of them, as transformers
//   module.model.*, module.lm_head.*                       DistributedDataParallel, DeepSpeed
//   base_model.model.model.*, language_model.model.*,      PEFT's wrapper, a model of several
//   parts, model.model.*, ...                                     an attribute of another class any
//   of these with _orig_mod., _fsdp_wrapped_module.    torch.compile, FSDP, checkpoints of or
//   _checkpoint_wrapped_module. between                 activations
//
// UserError that names the pattern and the tensor where none fits, or a tensor is there twice.
// Nothing is renamed where no tensor ends in layers.0.input_layernorm.weight. `folder` is for
// messages.
std::map<std::string, std::string> standard_names(const std::vector<std::string>& stored,
                                                  const std::string& folder);

}  // namespace trireme::io
