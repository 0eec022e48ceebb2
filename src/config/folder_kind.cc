#include "config/folder_kind.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"

namespace trireme::config {
namespace {

namespace fs = std::filesystem;

class Names {
 public:
  explicit Names(const std::string& folder) {
    std::error_code error;
    fs::directory_iterator item(folder, error);
    for (; !error && item != fs::directory_iterator(); item.increment(error)) {
      names_.insert(item->path().filename().string());
    }
    if (error) fail("{}: cannot be listed: {}", folder, error.message());
  }

  bool has(const std::string& name) const { return names_.contains(name); }

  // The first in alphabetical order that begins and ends so; "" when none does.
  std::string first(std::string_view begin, std::string_view end) const {
    const auto found = std::ranges::find_if(names_, [&](const std::string& name) {
      return name.starts_with(begin) && name.ends_with(end);
    });
    return found == names_.end() ? "" : *found;
  }

  const std::set<std::string>& all() const { return names_; }

 private:
  std::set<std::string> names_;
};

// A model one or two folders below: snapshots/HASH of the hub's cache, checkpoint-500 of a run. The
// last in alphabetical order.
std::string model_below(const std::string& folder, const Names& names) {
  std::error_code error;
  std::string found;
  for (const std::string& name : names.all()) {
    const fs::path path = fs::path(folder) / name;
    if (name == "snapshots" || name == "best" || name.starts_with("checkpoint-")) {
      if (fs::exists(path / "config.json", error)) found = path.string();
    }
    if (name != "snapshots") continue;
    const Names snapshots(path.string());
    for (const std::string& snapshot : snapshots.all()) {
      if (fs::exists(path / snapshot / "config.json", error)) found = (path / snapshot).string();
    }
  }
  return found;
}

}  // namespace

std::string other_folder(const std::string& folder) {
  const Names names(folder);
  if (names.has("adapter_config.json")) {
    return "an adapter, not a model: give the model that it was trained on "
           "(base_model_name_or_path in its adapter_config.json) as --model, and this folder as "
           "--adapter";
  }
  if (const std::string file = names.first("", ".gguf"); !file.empty()) {
    return fmt::format(
        "{} is for llama.cpp: give the Hugging Face folder (safetensors) that it was made from",
        file);
  }
  using Pattern = std::pair<std::string_view, std::string_view>;
  for (const auto& [begin, end] :
       {Pattern("pytorch_model", ".bin"), Pattern("model", ".bin"), Pattern("consolidated", ".pth"),
        Pattern("model", ".pt"), Pattern("model", ".pth")}) {
    const std::string file = names.first(begin, end);
    if (file.empty()) continue;
    return fmt::format(
        "its weights are in {}, which is not read: convert the model to safetensors: "
        "AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW) of transformers",
        file);
  }
  if (names.has("zero_to_fp32.py") || !names.first("global_step", "").empty()) {
    return "a checkpoint of DeepSpeed's states: zero_to_fp32.py in it makes weights of them, which "
           "belong beside the model's config.json";
  }
  if (names.has("optimizer.pt") || names.has("trainer_state.json") || names.has("scheduler.pt")) {
    return "a checkpoint of HF Trainer without the model: give one that has config.json and "
           "model.safetensors";
  }
  if (const std::string below = model_below(folder, names); !below.empty()) {
    return fmt::format("the model is a folder deeper: give {}", below);
  }
  if (names.has("tokenizer.json") || names.has("tokenizer_config.json")) {
    return "only a tokenizer is here: download config.json and the *.safetensors too";
  }
  return "";
}

}  // namespace trireme::config
