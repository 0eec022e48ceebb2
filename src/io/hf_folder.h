// A Hugging Face model folder: one model.safetensors, or shards with model.safetensors.index.json
// {"metadata": {"total_size": bytes}, "weight_map": {tensor: file}}; beside them config.json and
// the tokenizer.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.h"
#include "io/safetensors.h"

namespace trireme::io {

// All tensors of a folder by name, across shards. The constructor reads headers only. As in
// transformers, model.safetensors wins where an index lies beside it.
class Checkpoint {
 public:
  // Throws UserError: no such folder, not a Hugging Face folder, no safetensors in it, shard
  // missing or truncated, index and shards that disagree, a tensor in two shards.
  explicit Checkpoint(const std::string& folder);

  struct Located {
    const SafetensorsFile* file;
    const TensorEntry* entry;
  };
  const Located* find(const std::string& name) const;  // nullptr: not there
  const std::map<std::string, Located>& tensors() const { return tensors_; }
  const std::string& folder() const { return folder_; }
  int64_t total_bytes() const;  // of the tensors, as stored

 private:
  using WeightMap = std::map<std::string, std::string>;  // tensor -> file name

  void open_shards(const WeightMap& weight_map);
  void add_tensors(const SafetensorsFile& file);
  void check_index(const WeightMap& weight_map) const;

  std::string folder_;
  std::vector<SafetensorsFile> files_;  // never grows after tensors_ points into it
  std::map<std::string, Located> tensors_;
};

// Writes model.safetensors, or shards of at most `shard_bytes` of tensors and their index, into an
// existing folder. A tensor larger than that is a shard of its own.
void write_shards(FileSystem& files, const std::string& folder,
                  const std::vector<TensorSource>& tensors, int64_t shard_bytes = int64_t{5} << 30);

// Names of the tokenizer's and generation's files: tokenizer.json, tokenizer_config.json,
// special_tokens_map.json, vocab.json, merges.txt, added_tokens.json, chat_template.jinja,
// generation_config.json.
std::span<const std::string_view> tokenizer_files();

// Copies those that exist in `from`.
void copy_tokenizer_files(FileSystem& files, const std::string& from, const std::string& to);

// Publishes a folder in one step: the body fills `folder + ".tmp"` (with WritableFiles, which it
// syncs), which then takes the place of `folder`. What was there before is removed only after that,
// whole: what the body does not write is not in the new folder. Where the file system can exchange
// two names, a complete folder is there at every instant; elsewhere (NFS) the old one is first
// moved to `folder + ".old"`, and a crash just then needs recover_folder.
//
// `bytes`, if not 0, is about what the body will write: UserError before the body runs when less is
// free. UserError before the exchange: the old folder is as it was and no half-written one remains.
// The one error after it, a failed sync of the parent, leaves the new folder in place and the old
// content beside it until the next publish.
void publish_folder(FileSystem& files, const std::string& folder,
                    const std::function<void(const std::string& temporary)>& body,
                    uint64_t bytes = 0);

// Puts the old folder back after a crash between the two renames of publish_folder; nothing to do
// otherwise. Call before a folder is read that an earlier run may have been publishing;
// publish_folder calls it itself.
void recover_folder(FileSystem& files, const std::string& folder);

}  // namespace trireme::io
