// What config.json and the tensors of a model folder say together: the tensors decide where
// transformers lets them decide.
#pragma once

#include <string>

#include "config/model_spec.h"
#include "io/weight_files.h"

namespace trireme::model {

struct OpenFolder {
  config::ModelSpec spec;
  io::WeightFiles weights;
};

// Opens config.json and the headers of the weight files. Tensors get their Hugging Face names
// (io/weight_names.h), float8 ones their scales; the log says which were read as what. Whether the
// head is tied is settled here, as transformers does (modeling_utils tie_weights), before any
// memory is planned:
//
//   tie_word_embeddings true, the file has embed_tokens and lm_head   tied if their numbers are
//   equal,
//                                                       otherwise lm_head is a head of its own
//   tie_word_embeddings true, the file has one of them  that one is both
//   false                                               a head of its own
//
// A head of its own stands in spec.raw as well, which is written with the result. UserError for
// what is wrong with the folder. `rope_scaling` as read_model_spec()'s.
OpenFolder open_folder(const std::string& folder, const std::string& rope_scaling);

}  // namespace trireme::model
