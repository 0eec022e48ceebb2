#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/weight_files.h"

namespace trireme::io {
namespace {

namespace fs = std::filesystem;

std::string join(const std::string& folder, const std::string& name) {
  return (fs::path(folder) / name).string();
}

// Fills one shard after the other, in order, as huggingface_hub does.
std::vector<std::vector<TensorSource>> split(const std::vector<TensorSource>& tensors,
                                             int64_t shard_bytes) {
  std::vector<std::vector<TensorSource>> shards(1);
  int64_t filled = 0;
  for (const TensorSource& tensor : tensors) {
    const int64_t bytes = byte_count(tensor);
    if (!shards.back().empty() && bytes > shard_bytes - filled) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(tensor);
    filled += bytes;
  }
  return shards;
}

}  // namespace

void write_shards(FileSystem& files, const std::string& folder,
                  const std::vector<TensorSource>& tensors, int64_t shard_bytes) {
  const auto shards = split(tensors, shard_bytes);
  if (shards.size() == 1) {
    write_safetensors(files, join(folder, "model.safetensors"), tensors);
    return;
  }
  nlohmann::json weight_map = nlohmann::json::object();
  int64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const auto name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_safetensors(files, join(folder, name), shards[i]);
    for (const TensorSource& tensor : shards[i]) {
      TRIREME_CHECK(!weight_map.contains(tensor.name), "tensor {} twice", tensor.name);
      weight_map[tensor.name] = name;
      total += byte_count(tensor);
    }
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total}}},
                                {"weight_map", std::move(weight_map)}};
  write_text(files, join(folder, "model.safetensors.index.json"), index.dump(2) + "\n");
}

}  // namespace trireme::io
