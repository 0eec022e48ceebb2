#include "train/output_folder.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "config/json.h"
#include "data/chat_template_source.h"
#include "io/finite.h"
#include "io/publish.h"
#include "io/temporary.h"
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

// N of checkpoint-N.
int64_t step_of(const std::string& name) {
  int64_t step = 0;
  std::from_chars(name.data() + name.rfind('-') + 1, name.data() + name.size(), step);
  return step;
}

// Names that a run writes in output_dir itself.
bool is_of_result(const std::string& name) {
  static constexpr std::string_view kNames[] = {"config.json", "model.safetensors",
                                                "adapter_config.json", "adapter_model.safetensors",
                                                "model.safetensors.index.json"};
  return std::ranges::find(kNames, name) != std::end(kNames) ||
         std::ranges::find(io::tokenizer_files(), name) != io::tokenizer_files().end() ||
         (name.starts_with("model-") && name.ends_with(".safetensors"));
}

// Without it the folder is no model or adapter to any reader.
bool is_configuration(const std::string& name) {
  return name == "config.json" || name == "adapter_config.json";
}

void append_names(std::vector<std::string>& names, const io::Manifest& manifest) {
  for (const auto& [name, sum] : manifest.files) names.push_back(name);
}

bool exists(const std::string& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

// Whether a run of ours wrote this run.json.
bool is_our_run(const std::string& path) {
  return io::is_plain_file(path) && io::read_beginning(path, io::kJsonMark.size()) == io::kJsonMark;
}

// The text of --chat_template; "" where the tokenizer's own was used, which is copied with it.
std::string chosen_chat_template(const config::RunConfig& run) {
  if (run.chat_template.empty()) return "";
  const std::string& folder = run.tokenizer.empty() ? run.model : run.tokenizer;
  return data::find_chat_template(folder, run.chat_template).text;
}

// transformers reads this file before any other place of a template.
void write_chat_template(io::FileSystem& files, const std::string& folder,
                         const std::string& text) {
  if (!text.empty()) io::replace_text(files, folder + "/chat_template.jinja", text);
}

}  // namespace

void publish_adapter(io::FileSystem& files, const std::string& folder, const io::Manifest& manifest,
                     const model::ModelFolder& model, const model::BlockSource& weights,
                     config::ExpertAdapters expert_adapters, const std::string& tokenizer,
                     const std::string& chat_template, const Addition& addition) {
  const layout::Adapters& adapters = *model.adapters;
  const config::ExpertAdapters kind =
      model::resolve_expert_adapters(expert_adapters, model.spec, adapters);
  std::error_code error;  // without a working folder the path stays as it was given
  const fs::path base = fs::absolute(model.path, error);
  const config::Json config = config::peft_config_json(model::peft_config(
      model.spec, adapters, kind, (error ? fs::path(model.path) : base).lexically_normal()));
  io::publish_folder(
      files, folder, manifest,
      [&](io::SummedFiles& summed, const std::string& temporary) {
        if (addition.write) addition.write(summed, temporary);
        std::vector<at::Tensor> blocks;  // on the host: modules_to_save may be large
        for (int64_t b = 0; b <= adapters.layout.head(); ++b) {
          blocks.push_back(weights(b).to(at::kCPU));
        }
        io::write_safetensors(
            summed, temporary + "/adapter_model.safetensors",
            io::require_finite(model::adapter_sources(model.spec, adapters, blocks, kind), folder));
        io::copy_tokenizer_files(summed, model.path, tokenizer, temporary);
        write_chat_template(summed, temporary, chat_template);
        io::write_text(summed, temporary + "/adapter_config.json",
                       config::json_text(config, 2) + "\n");
      },
      static_cast<uint64_t>(4 * adapters.layout.numel()) + addition.bytes);
}

void warn_of_peft(const model::ModelFolder& model, config::ExpertAdapters expert_adapters) {
  const auto kind = model::resolve_expert_adapters(expert_adapters, model.spec, *model.adapters);
  const std::string caveat = model::peft_caveat(model.spec, *model.adapters, kind);
  if (!caveat.empty()) warn("{}", caveat);
}

OutputFolder::OutputFolder(io::FileSystem& files, const config::RunConfig& run,
                           const model::ModelFolder& model, io::Manifest manifest)
    : files_(files),
      run_(run),
      model_(model),
      manifest_(std::move(manifest)),
      path_(run.output_dir) {
  manifest_.kind = model.adapters ? "adapter" : "model";
}

OutputFolder::Earlier OutputFolder::look() const {
  Earlier earlier;
  std::error_code error;
  if (!fs::exists(fs::status(path_, error))) return earlier;
  if (!fs::is_directory(path_, error)) {
    fail("--output_dir {}: exists and is not a folder", path_);
  }
  const bool ours = is_our_run(path_ + "/run.json");
  earlier.result = io::read_manifest(path_);
  std::string other;      // a file of the user
  std::string misplaced;  // the same, where a run writes
  for (const std::string& name : io::names_in(path_)) {
    const std::string path = path_ + "/" + name;
    if (name == io::FolderLock::kName || io::is_leftover(path)) continue;
    earlier.empty = false;
    const bool listed =
        earlier.result && (name == io::kManifest || earlier.result->files.contains(name));
    if (is_checkpoint(name) || name == "best") {
      const std::string why = io::foreign(path);
      if (why.empty()) {
        earlier.folders.push_back(name);
      } else if (!goes_on_here()) {  // else it is damaged, and not resumed from
        misplaced = name + ", which " + why;
      }
    } else if (name == "run.json" || name == "metrics.jsonl") {
      if (!ours || !io::is_plain_file(path)) misplaced = name;
    } else if (name == io::kManifest || is_of_result(name)) {
      if (!listed || !io::is_plain_file(path)) misplaced = name;
    } else {
      other = name;
    }
  }
  if (earlier.empty) return earlier;
  if (!run_.overwrite && !(ours && goes_on_here())) {
    fail(
        "--output_dir {}: not empty: choose another, or give --overwrite to replace an earlier "
        "run, or --resume auto to go on with it",
        path_);
  }
  if (!misplaced.empty()) {
    fail("--output_dir {}: holds {}: no run of trireme wrote it: choose another folder", path_,
         misplaced);
  }
  if (!ours && !earlier.result && earlier.folders.empty()) {
    fail("--output_dir {}: holds {}, and nothing of an earlier run: choose another folder", path_,
         other);
  }
  return earlier;
}

// Whether --resume is of a run in this folder.
bool OutputFolder::goes_on_here() const {
  return run_.resume == "auto" || (!run_.resume.empty() && holds(run_.resume));
}

bool OutputFolder::holds(const std::string& folder) const {
  std::error_code error;
  const fs::path path = fs::weakly_canonical(fs::absolute(folder, error), error);
  const fs::path parent =
      path.has_filename() ? path.parent_path() : path.parent_path().parent_path();
  return parent == fs::weakly_canonical(fs::absolute(path_, error), error);
}

OutputFolder::LastRun OutputFolder::last_run() const {
  LastRun last;
  try {
    if (!is_our_run(path_ + "/run.json")) return last;
    const config::Json run = config::read_json(path_ + "/run.json");
    if (run.contains("run") && run["run"].is_string()) last.name = run["run"].get<std::string>();
  } catch (const UserError&) {  // not ours after all
  }
  if (last.name.empty()) return last;
  const auto of_it = [&](const std::string& folder) {
    const std::optional<io::Manifest> manifest = io::read_manifest(folder);
    return manifest && manifest->run == last.name ? manifest : std::nullopt;
  };
  if (const auto result = of_it(path_)) {
    last.finished = io::damage(path_, *result, /*all=*/false).empty();
    last.placing = !last.finished && of_it(path_ + "/best");
  }
  last.best = of_it(path_ + "/best").has_value();
  for (const std::string& name : io::names_in(path_)) {
    if (is_checkpoint(name) && of_it(path_ + "/" + name)) last.checkpoints.push_back(name);
  }
  std::ranges::sort(last.checkpoints, std::greater<>(), step_of);
  for (std::string& name : last.checkpoints) name = path_ + "/" + name;
  return last;
}

void OutputFolder::go_on(const std::string& name) {
  manifest_.run = name;
  const LastRun last = last_run();
  checkpoints_.assign(last.checkpoints.rbegin(), last.checkpoints.rend());
}

std::string OutputFolder::set_aside(const std::string& folder) {
  std::string to = folder + ".damaged";
  if (exists(to)) to += "-" + io::random_name();
  files_.rename(folder, to);
  files_.sync_folder(path_);
  return to;
}

std::string OutputFolder::lock_text() const {
  const std::string path = path_ + "/" + io::FolderLock::kName;
  return io::is_plain_file(path) ? io::read_beginning(path, 4096) : "";
}

void OutputFolder::prepare() {
  look();
  if (model_.adapters) warn_of_peft(model_, run_.expert_adapters);
  files_.make_folder(path_);
  lock_.emplace(path_);  // shows as well whether the folder is writable
  io::sweep(files_, path_);
  const Earlier earlier = look();  // another run may just have ended
  earlier_ = earlier.folders;
  std::vector<std::string> names = earlier_;
  if (earlier.result) append_names(names, *earlier.result);
  if (names.empty() || !run_.resume.empty()) return;
  log("--overwrite: of the earlier run in {} the new one will remove at its end: {}", path_,
      fmt::join(names, ", "));
}

uint64_t OutputFolder::metrics_bytes() const {
  std::error_code error;
  const uint64_t bytes = fs::file_size(metrics_path(), error);
  return error ? 0 : bytes;
}

void OutputFolder::begin(const config::Json& run, uint64_t metrics) {
  io::replace_text(files_, path_ + "/run.json", config::json_text(run, 2) + "\n");
  std::string text = metrics > 0 && metrics_bytes() > 0 ? io::read_text(metrics_path()) : "";
  text.resize(std::min<uint64_t>(text.size(), metrics));
  io::replace_text(files_, metrics_path(), text);
}

void OutputFolder::publish(const std::string& folder, const model::BlockSource& weights,
                           const Addition& addition) {
  const std::string chat_template = chosen_chat_template(run_);
  if (model_.adapters) {
    publish_adapter(files_, folder, manifest_, model_, weights, run_.expert_adapters,
                    run_.tokenizer, chat_template, addition);
    return;
  }
  const io::DType dtype = file_dtype(model_.spec.dtype);
  io::publish_folder(
      files_, folder, manifest_,
      [&](io::SummedFiles& files, const std::string& temporary) {
        if (addition.write) addition.write(files, temporary);
        io::write_shards(
            files, temporary,
            io::require_finite(model::tensor_sources(model_.layout, weights, dtype), folder));
        io::copy_tokenizer_files(files, model_.path, run_.tokenizer, temporary);
        write_chat_template(files, temporary, chat_template);
        io::write_text(files, temporary + "/config.json",
                       config::json_text(model_.spec.raw, 2) + "\n");
      },
      static_cast<uint64_t>(model_.layout.numel() * io::dtype_bytes(dtype)) + addition.bytes);
}

std::string OutputFolder::save_checkpoint(int64_t step, const model::BlockSource& weights,
                                          const Addition& addition) {
  const std::string folder = fmt::format("{}/checkpoint-{}", path_, step);
  publish(folder, weights, addition);
  std::erase(checkpoints_, folder);
  checkpoints_.push_back(folder);
  rotate();
  return folder;
}

// What was put into one of our folders meanwhile is no reason to end a run.
void OutputFolder::remove(const std::string& folder) {
  try {
    io::retire(files_, folder);
  } catch (const UserError& error) {
    warn("{}", error.what());
  }
}

void OutputFolder::rotate() {
  while (run_.save_total_limit > 0 &&
         static_cast<int64_t>(checkpoints_.size()) > run_.save_total_limit) {
    remove(checkpoints_.front());
    checkpoints_.erase(checkpoints_.begin());
  }
}

std::string OutputFolder::save_best(const model::BlockSource& weights, const Addition& addition) {
  const std::string folder = path_ + "/best";
  publish(folder, weights, addition);
  return folder;
}

// Links, so that best/ stays whole beside them; copies where the file system has none. The
// configuration last.
void OutputFolder::place_result(const std::string& best, const io::Manifest& manifest) {
  std::vector<std::string> names;
  append_names(names, manifest);
  std::ranges::stable_partition(names, [](const auto& name) { return !is_configuration(name); });
  std::optional<io::TemporaryFolder> copies;
  for (const std::string& name : names) {
    const std::string from = best + "/" + name, to = path_ + "/" + name;
    if (!copies && files_.link(from, to)) continue;
    if (!copies) {
      uint64_t bytes = 0;
      std::error_code error;
      for (const std::string& each : names) bytes += fs::file_size(best + "/" + each, error);
      io::check_space(files_, path_, bytes);
      copies.emplace(files_, path_ + "/result", manifest_);
    }
    io::copy_file(files_, from, copies->path() + "/" + name);
    files_.rename(copies->path() + "/" + name, to);
  }
  files_.sync_folder(path_);
}

void OutputFolder::finish() {
  const std::string best = path_ + "/best";
  const std::optional<io::Manifest> manifest = io::read_manifest(best);
  if (!manifest) fail("{}: was removed or changed during the run", best);
  const std::optional<io::Manifest> earlier = io::read_manifest(path_);
  for (const auto& [name, sum] : manifest->files) {
    if (exists(path_ + "/" + name) && !(earlier && earlier->files.contains(name))) {
      fail("{}/{}: was put there during the run: move it away; the result is {}", path_, name,
           best);
    }
  }
  {
    std::optional<io::TemporaryFolder> aside;
    if (earlier) {
      aside.emplace(files_, path_ + "/result", manifest_);
      std::vector<std::string> names;
      append_names(names, *earlier);
      std::ranges::stable_partition(names, is_configuration);
      for (const std::string& name : names) {
        if (!exists(path_ + "/" + name)) continue;
        files_.rename(path_ + "/" + name, aside->path() + "/" + name);
      }
    }
    io::replace_text(files_, path_ + "/" + io::kManifest, io::manifest_text(*manifest));
    place_result(best, *manifest);
  }
  remove(best);
  for (const std::string& name : earlier_) {
    const auto left = io::read_manifest(path_ + "/" + name);
    if (left && left->run != manifest_.run) remove(path_ + "/" + name);
  }
}

}  // namespace trireme::train
