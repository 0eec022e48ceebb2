// A Hugging Face model folder: one model.safetensors, or shards with model.safetensors.index.json.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/safetensors.h"

namespace trireme::io {

// All tensors of a folder by name, across shards. The constructor reads headers only.
class Checkpoint {
 public:
  // Throws UserError: no such folder, not a Hugging Face folder, shard missing or truncated, index that names absent
  // tensors, a tensor in two shards.
  explicit Checkpoint(const std::string& folder);

  struct Located {
    const SafetensorsFile* file;
    const TensorEntry* entry;
  };
  const Located* find(const std::string& name) const;
  const std::map<std::string, Located>& tensors() const { return tensors_; }
  const std::string& folder() const { return folder_; }
  int64_t total_bytes() const;

 private:
  std::string folder_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, Located> tensors_;
};

// Writes one safetensors file (header first, then each source in order), synced.
void write_safetensors(FileSystem& files, const std::string& path,
                       const std::vector<TensorSource>& tensors);

// Writes model.safetensors, or shards of at most `shard_bytes` and their index, into an existing folder.
void write_shards(FileSystem& files, const std::string& folder,
                  const std::vector<TensorSource>& tensors,
                  int64_t shard_bytes = int64_t{5} << 30);

// Copies tokenizer and generation files (tokenizer.json, tokenizer_config.json, special_tokens_map.json, vocab.json,
// merges.txt, added_tokens.json, chat_template.jinja, generation_config.json) that exist in `from`.
void copy_tokenizer_files(FileSystem& files, const std::string& from, const std::string& to);

// Publishes a folder in one step: the body fills `folder + ".tmp"`, which is synced and renamed to `folder`; what was
// there before is removed only after that. A throw leaves the old folder as it was and no half-written one.
void publish_folder(FileSystem& files, const std::string& folder,
                    const std::function<void(const std::string& temporary)>& body);

}  // namespace trireme::io
