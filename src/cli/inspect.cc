// trireme inspect: what a folder holds, and whether it is whole.
#include <fmt/ranges.h>

#include <filesystem>
#include <map>
#include <set>

#include "base/error.h"
#include "base/result.h"
#include "base/units.h"
#include "cli/verbs.h"
#include "config/json.h"
#include "io/manifest.h"
#include "io/progress.h"
#include "io/state_files.h"
#include "io/weight_files.h"

namespace trireme::cli {
namespace {

using config::Json;

bool has(const std::string& folder, const char* name) {
  return io::is_plain_file(folder + "/" + name);
}

// Tensors of some files: how many there are, and of which dtypes.
class Tally {
 public:
  void add(const io::TensorEntry& entry) {
    ++tensors_;
    const auto bytes = static_cast<int64_t>(entry.end - entry.begin);
    bytes_[io::dtype_name(entry.dtype)] += bytes;
    total_ += bytes;
    int64_t numel = 1;
    for (const int64_t size : entry.shape) numel *= size;
    numbers_ += numel;
  }
  Json json(size_t files) const {
    return {{"tensors", tensors_},
            {"numbers", numbers_},
            {"bytes", total_},
            {"bytes_by_dtype", bytes_},
            {"files", files}};
  }

 private:
  int64_t tensors_ = 0, numbers_ = 0, total_ = 0;
  std::map<std::string, int64_t> bytes_;
};

Json model_json(const std::string& folder) {
  const Json config = config::read_json(folder + "/config.json");
  Tally tally;
  std::set<std::string> files;
  const io::WeightFiles weights(folder);
  for (const auto& [name, located] : weights.tensors()) {
    tally.add(*located.entry);
    files.insert(located.file->path());
  }
  Json json = tally.json(files.size());
  for (const char* key : {"model_type", "num_hidden_layers", "hidden_size", "vocab_size"}) {
    if (config.is_object() && config.contains(key)) json[key] = config[key];
  }
  return json;
}

Json adapter_json(const std::string& folder) {
  const Json config = config::read_json(folder + "/adapter_config.json");
  const io::SafetensorsFile file(folder + "/adapter_model.safetensors");
  Tally tally;
  for (const auto& [name, entry] : file.entries()) tally.add(entry);
  Json json = tally.json(1);
  for (const char* key : {"peft_type", "base_model_name_or_path", "r", "lora_alpha"}) {
    if (config.is_object() && config.contains(key)) json[key] = config[key];
  }
  return json;
}

Json state_json(const std::string& folder) {
  const io::StateFiles state(folder);
  Tally tally;
  std::set<std::string> files, tensors;
  for (const io::StatePiece& piece : state.pieces()) {
    tensors.insert(piece.name);
    files.insert(piece.file);
  }
  for (const std::string& name : files) {
    const io::SafetensorsFile file(folder + "/" + name);
    for (const auto& [tensor, entry] : file.entries()) tally.add(entry);
  }
  Json json = tally.json(files.size());
  json["trained_tensors"] = tensors.size();
  json["pieces"] = state.pieces().size();
  return json;
}

// What progress.json says, as far as people ask for it.
Json progress_json(const std::string& folder) {
  const io::Record record = io::read_record(folder);
  const io::Progress& progress = record.progress;
  Json json = {{"steps", progress.steps},
               {"planned_steps", progress.planned_steps},
               {"epochs", progress.epochs},
               {"tokens", progress.tokens},
               {"ranks", progress.windows.size()}};
  if (progress.loss_best) json["loss_best"] = *progress.loss_best;
  for (const char* key :
       {"zero_stage", "sequence_parallel_size", "sequence_parallel_type", "moments_dtype"}) {
    if (record.options.contains(key)) json[key] = record.options[key];
  }
  return json;
}

Json inspect(const std::string& folder, bool verify) {
  Json json = {{"folder", folder}};
  if (has(folder, "config.json")) json["model"] = model_json(folder);
  if (has(folder, "adapter_config.json")) json["adapter"] = adapter_json(folder);
  if (has(folder, io::kProgressFile)) json["progress"] = progress_json(folder);
  if (has(folder, io::kStateFile)) json["state"] = state_json(folder);
  const std::optional<io::Manifest> manifest = io::read_manifest(folder);
  if (manifest) {
    json["trireme"] = {
        {"version", manifest->version}, {"commit", manifest->commit}, {"run", manifest->run}};
    const std::string why = io::damage(folder, *manifest, verify);
    if (!why.empty()) fail("{}: {}", folder, why);
    json["files"] = manifest->files.size();
    json["verified"] = verify;
  }
  if (json.size() == 1) {
    fail(
        "{}: holds no model, no adapter and no checkpoint: give a folder with config.json or "
        "adapter_config.json",
        folder);
  }
  return json;
}

std::string text_of(const Json& value) {
  return value.is_string() ? value.get<std::string>() : config::json_text(value);
}

void print_tensors(const char* what, const Json& json) {
  print_result("{:<10} {} tensors of {} numbers, {} in {} {}:", what, text_of(json["tensors"]),
               text_of(json["numbers"]), format_bytes(json["bytes"].get<int64_t>()),
               text_of(json["files"]), json["files"] == 1 ? "file" : "files");
  for (const auto& [dtype, bytes] : json["bytes_by_dtype"].items()) {
    print_result(" {} {}", dtype, format_bytes(bytes.get<int64_t>()));
  }
  print_result("\n");
}

void print_values(const char* what, const Json& json) {
  std::vector<std::string> values;
  for (const auto& [key, value] : json.items()) {
    if (value.is_primitive() && !value.is_null()) values.push_back(key + " " + text_of(value));
  }
  print_result("{:<10} {}\n", what, fmt::join(values, ", "));
}

void print_text(const Json& json) {
  for (const char* what : {"model", "adapter", "state"}) {
    if (!json.contains(what)) continue;
    print_tensors(what, json[what]);
    Json rest = json[what];
    for (const char* key : {"tensors", "numbers", "bytes", "files"}) rest.erase(key);
    print_values("", rest);
  }
  if (json.contains("progress")) print_values("progress", json["progress"]);
  if (!json.contains("trireme")) return;
  print_values("written by", json["trireme"]);
  print_result("{:<10} {} files are {}\n", "whole", text_of(json["files"]),
               json["verified"] == true ? "as they were written" : "there, with their sizes");
}

}  // namespace

int run_inspect(Arguments arguments) {
  if (help_shown(config::kInspect, arguments)) return 0;
  std::vector<std::string> list(arguments.begin(), arguments.end());
  if (!list.empty() && !list.front().starts_with("-")) list.insert(list.begin(), "--folder");
  const config::RunConfig run = parse_options(config::kInspect, list);
  require(run.folder, "folder", "give a folder: trireme inspect DIR");
  const Json json = inspect(run.folder, run.verify);
  if (run.json) {
    print_result("{}\n", config::json_text(json));
  } else {
    print_text(json);
  }
  return 0;
}

}  // namespace trireme::cli
