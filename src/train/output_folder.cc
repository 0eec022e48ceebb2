#include "train/output_folder.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "io/finite.h"
#include "io/publish.h"
#include "io/tokenizer_files.h"
#include "io/weight_files.h"
#include "model/adapter_io.h"

namespace trireme::train {
namespace {

namespace fs = std::filesystem;

io::DType file_dtype(const std::string& name) {
  if (name == "bfloat16") return io::DType::kBF16;
  return name == "float16" ? io::DType::kF16 : io::DType::kF32;
}

bool is_checkpoint(const std::string& name) {
  static const std::string kPrefix = "checkpoint-";
  return name.starts_with(kPrefix) &&
         name.find_first_not_of("0123456789", kPrefix.size()) == std::string::npos;
}

void copy_tokenizers(io::FileSystem& files, const model::ModelFolder& model,
                     const std::string& tokenizer, const std::string& to) {
  io::copy_tokenizer_files(files, model.path, to);
  if (!tokenizer.empty()) io::copy_tokenizer_files(files, tokenizer, to);
}

}  // namespace

bool written_by_a_run(const std::string& name) {
  static constexpr std::string_view kNames[] = {"run.json",
                                                "metrics.jsonl",
                                                "config.json",
                                                "model.safetensors",
                                                "adapter_config.json",
                                                "adapter_model.safetensors",
                                                "model.safetensors.index.json"};
  if (std::ranges::find(kNames, name) != std::end(kNames)) return true;
  if (std::ranges::find(io::tokenizer_files(), name) != io::tokenizer_files().end()) return true;
  if (name.starts_with("model-") && name.ends_with(".safetensors")) return true;
  const std::string stem =
      name.ends_with(".tmp") || name.ends_with(".old") ? name.substr(0, name.size() - 4) : name;
  return stem == "best" || is_checkpoint(stem);
}

bool holds(const std::string& outer, const std::string& inner) {
  fs::path base = fs::weakly_canonical(outer), path = fs::weakly_canonical(inner);
  if (!base.has_filename()) base = base.parent_path();  // a slash at the end
  return std::ranges::mismatch(base, path).in1 == base.end();
}

void publish_adapter(io::FileSystem& files, const std::string& folder,
                     const model::ModelFolder& model, const std::vector<at::Tensor>& blocks,
                     config::ExpertAdapters expert_adapters, const std::string& tokenizer) {
  const layout::Adapters& adapters = *model.adapters;
  const config::ExpertAdapters kind =
      model::resolve_expert_adapters(expert_adapters, model.spec, adapters);
  const auto tensors =
      io::require_finite(model::adapter_sources(model.spec, adapters, blocks, kind), folder);
  const config::Json config = config::peft_config_json(
      model::peft_config(model.spec, adapters, kind, fs::absolute(model.path).lexically_normal()));
  int64_t bytes = 0;
  for (const io::TensorSource& tensor : tensors) bytes += io::byte_count(tensor);
  io::publish_folder(
      files, folder,
      [&](const std::string& temporary) {
        io::write_safetensors(files, temporary + "/adapter_model.safetensors", tensors);
        copy_tokenizers(files, model, tokenizer, temporary);
        io::write_text(files, temporary + "/adapter_config.json", config.dump(2) + "\n");
      },
      bytes);
}

void warn_of_peft(const model::ModelFolder& model, config::ExpertAdapters expert_adapters) {
  const auto kind = model::resolve_expert_adapters(expert_adapters, model.spec, *model.adapters);
  const std::string caveat = model::peft_caveat(model.spec, *model.adapters, kind);
  if (!caveat.empty()) warn("{}", caveat);
}

OutputFolder::OutputFolder(io::FileSystem& files, const config::RunConfig& run,
                           const model::ModelFolder& model)
    : files_(files), run_(run), model_(model), path_(run.output_dir) {}

void OutputFolder::check_target() const {
  std::error_code error;
  if (fs::exists(path_, error) && !fs::is_directory(path_, error)) {
    fail("--output_dir {}: exists and is not a folder", path_);
  }
  check_not_read();
  if (!fs::is_directory(path_, error) || fs::is_empty(path_, error)) return;
  if (!run_.overwrite) {
    fail(
        "--output_dir {}: not empty: choose another, or give --overwrite to replace an earlier run",
        path_);
  }
  if (!earlier_files().empty() && !fs::exists(path_ + "/run.json", error)) {
    fail("--output_dir {}: holds {}, but no run.json of an earlier run: choose another folder",
         path_, earlier_files().front());
  }
}

// This run must not replace what it reads.
void OutputFolder::check_not_read() const {
  std::error_code error;
  for (const auto& [what, source] : {std::pair("model", model_.path),
                                     {"tokenizer", run_.tokenizer},
                                     {"adapter", run_.adapter}}) {
    if (source.empty()) continue;
    bool replaced = fs::equivalent(path_, source, error);
    for (const std::string& name : earlier_files()) replaced |= holds(path_ + "/" + name, source);
    if (!replaced) continue;
    fail("--output_dir {}: is or holds the folder of the {} that is read, {}: choose another",
         path_, what, source);
  }
}

std::vector<std::string> OutputFolder::earlier_files() const {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path_, error)) {
    const std::string name = entry.path().filename();
    if (written_by_a_run(name)) names.push_back(name);
  }
  return names;
}

void OutputFolder::prepare() {
  check_target();
  if (model_.adapters) warn_of_peft(model_, run_.expert_adapters);
  const std::vector<std::string> earlier = earlier_files();
  files_.make_folder(path_);
  // The first write shows whether the folder is writable.
  io::write_text(files_, metrics_path(), "");
  for (const std::string& name : earlier) {
    if (name != "metrics.jsonl") files_.remove_all(path_ + "/" + name);
  }
}

void OutputFolder::write_run(const config::Json& run) {
  io::write_text(files_, path_ + "/run.json", run.dump(2) + "\n");
}

void OutputFolder::publish(const std::string& folder, const model::BlockSource& weights) {
  if (model_.adapters) {
    std::vector<at::Tensor> blocks;  // small
    for (int64_t b = 0; b <= model_.trained_layout().head(); ++b) {
      blocks.push_back(weights(b));
    }
    publish_adapter(files_, folder, model_, blocks, run_.expert_adapters, run_.tokenizer);
    return;
  }
  const io::DType dtype = file_dtype(model_.spec.dtype);
  io::publish_folder(
      files_, folder,
      [&](const std::string& temporary) {
        io::write_shards(
            files_, temporary,
            io::require_finite(model::tensor_sources(model_.layout, weights, dtype), folder));
        copy_tokenizers(files_, model_, run_.tokenizer, temporary);
        io::write_text(files_, temporary + "/config.json", model_.spec.raw.dump(2) + "\n");
      },
      model_.layout.numel() * io::dtype_bytes(dtype));
}

std::string OutputFolder::save_checkpoint(int64_t step, const model::BlockSource& weights) {
  const std::string folder = fmt::format("{}/checkpoint-{}", path_, step);
  publish(folder, weights);
  checkpoints_.push_back(folder);
  rotate();
  return folder;
}

void OutputFolder::rotate() {
  while (run_.save_total_limit > 0 &&
         static_cast<int64_t>(checkpoints_.size()) > run_.save_total_limit) {
    files_.remove_all(checkpoints_.front());
    checkpoints_.erase(checkpoints_.begin());
  }
}

void OutputFolder::save_best(const model::BlockSource& weights) {
  publish(path_ + "/best", weights);
}

void OutputFolder::finish() {
  const std::string best = path_ + "/best";
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(best)) names.push_back(entry.path().filename());
  // The configuration last: without it the folder is no model or adapter to any reader.
  std::ranges::sort(names, {}, [](const std::string& name) {
    return name == "config.json" || name == "adapter_config.json";
  });
  for (const std::string& name : names) files_.rename(best + "/" + name, path_ + "/" + name);
  files_.sync_folder(path_);
  files_.remove_all(best);
}

}  // namespace trireme::train
