// The tokenizer classes of transformers 5 that build normalizer, pre-tokenizer and decoder in code:
// of a tokenizer.json they take the vocabulary, the merges and mostly the post-processor. Which
// class a folder has is said by tokenizer_class of tokenizer_config.json and model_type of
// config.json.
#pragma once

#include <optional>
#include <string>

#include "config/json.h"
#include "data/tokenizer_class_table.h"
#include "data/tokenizer_file.h"

namespace trireme::data {

// The class that AutoTokenizer chooses for a folder with these tokenizer_config.json and
// config.json, which may be empty objects. Without "Fast"; "" where none is named.
std::string chosen_class(const config::Json& settings, const config::Json& model);

// The parts of the class, if it builds some and they make sense of the file's vocabulary: those for
// characters make none of bytes. The log says where tokenizer.json counts and transformers differs.
std::optional<ClassParts> parts_for(const TokenizerFile& file, const std::string& name,
                                    const config::Json& settings, const std::string& path);

// Puts them into the file; the log names what changes.
void take_parts(const ClassParts& parts, const std::string& name, const std::string& path,
                TokenizerFile& file);

}  // namespace trireme::data
