// Folders that are often given where a Hugging Face model folder is expected.
#pragma once

#include <string>

namespace trireme::config {

// What a folder without config.json, or without safetensors, is instead, and the remedy: an
// adapter, a GGUF file, a checkpoint's optimizer, ...; "" where that is not known. UserError where
// the folder cannot be listed.
std::string other_folder(const std::string& folder);

}  // namespace trireme::config
