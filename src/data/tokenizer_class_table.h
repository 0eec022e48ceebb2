// What transformers 5 builds in code for some tokenizer classes.
#pragma once

#include <optional>
#include <string>

#include "config/json.h"

namespace trireme::data {

// What such a class has in place of what tokenizer.json says.
struct ClassParts {
  config::Json normalizer, pre_tokenizer, decoder;
  bool byte_fallback = false;
  bool fuse_unknown = false;
  std::string unknown;  // entry; "": none
  config::Json tokens;  // {"eos_token": "</s>"}: where the folder says nothing
  bool drops_post_processor = false;
};

// nullopt: the class takes all of tokenizer.json, or is not known. `settings` is
// tokenizer_config.json at `path`; UserError for an invalid value.
std::optional<ClassParts> parts_of_class(const std::string& name, const config::Json& settings,
                                         const std::string& path);

}  // namespace trireme::data
