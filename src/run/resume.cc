#include "run/resume.h"

#include <fmt/ranges.h>

#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "config/json.h"
#include "config/schema.h"
#include "dist/gather_texts.h"
#include "io/hash.h"
#include "run/same_on_all_ranks.h"

namespace trireme::run {
namespace {

namespace fs = std::filesystem;

using config::Json;
using Kind = Resumption::Kind;

std::string hash_of(const std::vector<data::TokenizedSample>& samples) {
  io::Hash hash;
  for (const data::TokenizedSample& sample : samples) {
    const int64_t numbers[] = {std::ssize(sample.tokens), sample.trained_from};
    hash.add(std::as_bytes(std::span(numbers)));
    hash.add(std::as_bytes(std::span(sample.tokens)));
  }
  return fmt::format("{} with hash {}", samples.size(), hash.text());
}

// Options that say what is trained on what. The rest is how: it may change.
bool of_identity(const config::Option& option) {
  if (option.must_match != config::MustMatch::kValue) return false;  // files: by their content
  if (option.group == "Samples" || option.group == "LoRA") return true;
  return option.name == "seed" || option.name == "rope_scaling" ||
         option.name == "train_padding_row";
}

// The weights that are not trained, and so not in the checkpoint.
std::string frozen_weights(const model::ModelFolder& model) {
  if (!model.adapters) return "trained";
  io::Hash hash;
  for (const std::string& name : io::names_in(model.path)) {
    if (name.ends_with(".safetensors")) hash.add(content_mark(model.path + "/" + name));
  }
  return "hash " + hash.text();
}

// Values that are others than the checkpoint's run had, for the log.
void log_changes(const Json& there, const Json& here) {
  for (const auto& [name, value] : here.items()) {
    if (name == "resume" || name == "overwrite" || name == "output_dir" || name == "config")
      continue;
    if (!there.contains(name) || there[name] == value) continue;
    log("resumed with --{} {}, not {}", name, config::json_text(value),
        config::json_text(there[name]));
  }
}

// What the first rank found, for all.
struct Found {
  Kind kind = Kind::kNone;
  std::string run;
  bool best = false;                 // its best/ is in the output folder
  std::vector<std::string> folders;  // checkpoints to try, in this order
};

Found look(const config::RunConfig& run, const train::OutputFolder& output) {
  Found found;
  const train::OutputFolder::LastRun last = output.last_run();
  found.run = last.name;
  found.best = last.best;
  if (run.resume != "auto") {
    found.kind = Kind::kGoesOn;
    found.folders = {run.resume};
    return found;
  }
  if (last.finished) {
    found.kind = Kind::kFinished;
  } else if (last.placing) {
    found.kind = Kind::kPlaces;
  } else if (!last.checkpoints.empty()) {
    found.kind = Kind::kGoesOn;
    found.folders = last.checkpoints;
  }
  return found;
}

Found found_by_first(const config::RunConfig& run, const train::OutputFolder& output,
                     const Ranks& ranks) {
  Json json = Json::object();
  if (ranks.first()) {
    const Found found = look(run, output);
    json = {{"kind", static_cast<int>(found.kind)},
            {"run", found.run},
            {"best", found.best},
            {"folders", found.folders}};
  }
  const std::string text =
      dist::gather_texts(config::json_text(json), ranks.mesh.control()).front();
  json = config::parse_json(text, "the first rank");
  return {static_cast<Kind>(json["kind"].get<int>()), json["run"].get<std::string>(),
          json["best"].get<bool>(), json["folders"].get<std::vector<std::string>>()};
}

// What is wrong with a checkpoint, "" if it is whole: each rank looks at a part of it.
std::string damage(const std::string& folder, bool verify, const dist::Group& group) {
  const std::string mine = train::damage_of(folder, verify, group.index(), group.size());
  for (const std::string& each : dist::gather_texts(mine, group)) {
    if (!each.empty()) return each;
  }
  return "";
}

void check_identity(const config::RunConfig& run, const std::string& folder,
                    const io::Identity& there, const io::Identity& here) {
  const std::vector<std::string> list = io::differences(there, here);
  if (list.empty()) return;
  if (!run.resume_anyway) {
    fail("{}: is of another run: {}: give the same, or --resume_anyway", folder,
         fmt::join(list, "; "));
  }
  for (const std::string& difference : list) warn("--resume_anyway: {}", difference);
}

// Why a folder that is no checkpoint of ours cannot be resumed, and what can be done with it.
std::string remedy(const std::string& folder) {
  std::error_code error;
  for (const char* file : {"config.json", "adapter_config.json"}) {
    if (!fs::exists(folder + "/" + file, error)) continue;
    return fmt::format("start a run from its weights with --{} {}",
                       file[0] == 'c' ? "model" : "adapter", folder);
  }
  return "give a checkpoint-N of trireme, or auto";
}

}  // namespace

io::Identity identity_of(const config::RunConfig& run, const model::ModelFolder& model,
                         const train::TrainingSamples& samples) {
  io::Identity identity;
  for (const config::Option& option : config::schema()) {
    if ((option.verbs & config::kTrain) == 0 || !of_identity(option)) continue;
    identity["--" + option.name] = config::option_text(run, option);
  }
  io::Hash config;
  config.add(config::json_text(model.spec.raw));
  identity["the model's config.json"] = "hash " + config.text();
  identity["the frozen weights"] = frozen_weights(model);
  identity["the training samples"] = hash_of(samples.train);
  identity["the validation samples"] = hash_of(samples.validation);
  return identity;
}

Resumption find_resumption(const config::RunConfig& run, train::OutputFolder& output,
                           const io::Identity& identity, const Ranks& ranks) {
  Resumption found;
  if (run.resume.empty()) return found;
  const Found first = found_by_first(run, output, ranks);
  found.kind = first.kind;
  found.run = first.run;
  found.here = found.kind == Kind::kPlaces;
  if (found.kind != Kind::kGoesOn) return found;
  for (const std::string& folder : first.folders) {
    const std::string why = damage(folder, run.verify, ranks.mesh.control());
    if (!why.empty()) {
      if (run.resume != "auto") fail("--resume {}: {}: {}", folder, why, remedy(folder));
      if (ranks.first())
        warn("{}: {}: not resumed from, now {}", folder, why, output.set_aside(folder));
      continue;
    }
    found.record = io::read_record(folder);
    check_identity(run, folder, found.record->identity, identity);
    found.folder = folder;
    const std::optional<io::Manifest> manifest = io::read_manifest(folder);
    found.here = output.holds(folder) && manifest && manifest->run == first.run;
    io::Progress& progress = found.record->progress;
    if (progress.loss_best && !(found.here && first.best)) {
      if (ranks.first())
        warn("{}: its best weights are not in {}: the next evaluation counts as best", folder,
             output.path());
      progress.loss_best.reset();
    }
    log("resuming from {}: step {}, epoch {:.2f}", folder, found.record->progress.steps,
        found.record->progress.epochs);
    log_changes(found.record->options, config::to_json(run, config::kTrain));
    return found;
  }
  // Not one of them is whole. What is there is not thrown away unasked.
  fail(
      "--resume auto: no checkpoint of {} is whole: give --overwrite without --resume to begin "
      "anew",
      output.path());
}

}  // namespace trireme::run
