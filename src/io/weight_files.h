// The weights in a Hugging Face model folder: one model.safetensors, or several files (shards) with
// model.safetensors.index.json {"metadata": {"total_size": bytes}, "weight_map": {tensor: file}}.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/quantization.h"
#include "io/file.h"
#include "io/safetensors.h"

namespace trireme::io {

// All tensors of a folder by name, across shards. The constructor reads headers only. As in
// transformers, model.safetensors wins where an index lies beside it.
class WeightFiles {
 public:
  // Throws UserError: no such folder, not a Hugging Face folder, no safetensors in it, shard
  // missing or truncated, index and shards that disagree, a tensor in two shards.
  explicit WeightFiles(const std::string& folder);

  // The scales of a float8 matrix, or of several: [..., rows / of a block, columns / of a block],
  // rounded up.
  struct Scales {
    const SafetensorsFile* file;
    const TensorEntry* entry;
    config::Fp8Blocks blocks;
  };
  struct Located {
    const SafetensorsFile* file;
    const TensorEntry* entry;
    std::string stored;            // the name in the file
    std::optional<Scales> scales;  // join_scales found them
  };
  const Located* find(const std::string& name) const;  // nullptr: not there
  // From now on the tensor goes by another name, which none has yet.
  void rename(const std::string& from, const std::string& to);
  // From now on all tensors go by their Hugging Face names (weight_names.h). Returns a tensor that
  // got another name, if any did.
  const Located* use_standard_names();
  // Puts each scale, `weight_scale_inv` beside `weight`, to its float8 tensor; it is no tensor of
  // its own from now on. Returns how many.
  int64_t join_scales(config::Fp8Blocks blocks);
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

}  // namespace trireme::io
