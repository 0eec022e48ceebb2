#include "train/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <iterator>

#include "base/error.h"
#include "dist/gather_texts.h"
#include "io/finite.h"
#include "io/publish.h"

namespace trireme::train {
namespace {

using config::Json;

std::string path_in(const std::string& folder, const std::string& name) {
  return folder + "/" + name;
}

// What a rank has done for a checkpoint: {"error": "..."}, or its file with size, hash and pieces.
Json parse_report(const std::string& text) { return config::parse_json(text, "a rank's report"); }

std::string first_error(const std::vector<std::string>& reports) {
  for (const std::string& text : reports) {
    const Json report = parse_report(text);
    if (report.contains("error")) return report["error"].get<std::string>();
  }
  return "";
}

std::string outcome_text(const CheckpointWriter::Outcome& outcome) {
  return config::json_text({{"folder", outcome.folder}, {"error", outcome.error}});
}
CheckpointWriter::Outcome parse_outcome(const std::string& text) {
  const Json json = parse_report(text);
  return {json["folder"].get<std::string>(), json["error"].get<std::string>()};
}

}  // namespace

// A save that goes on beside training. Threads and the ranks' main threads meet in the promises.
struct CheckpointWriter::Background {
  explicit Background(const io::Record& of) : record(of) {}

  io::Record record;
  bool reported = false;                           // the ranks have told each other their parts
  std::promise<std::string> folder;                // the first rank's; "": there is none
  std::promise<std::string> report;                // of this rank's part
  std::promise<std::vector<std::string>> reports;  // of all, for the first rank's thread
  std::future<std::string> folder_known = folder.get_future(), report_known = report.get_future();
  std::future<std::vector<std::string>> reports_known = reports.get_future();
  std::future<std::string> ended;  // the thread; on the first rank with the outcome
};

CheckpointWriter::CheckpointWriter(io::FileSystem& files, OutputFolder& output,
                                   CheckpointSources sources, const dist::Mesh& mesh,
                                   Snapshot* snapshot)
    : files_(files),
      output_(output),
      sources_(std::move(sources)),
      mesh_(mesh),
      snapshot_(snapshot) {}

CheckpointWriter::~CheckpointWriter() {
  if (!background_) return;
  try {
    while (mesh_.control().size() == 1 && running()) advance();
  } catch (const std::exception&) {  // it was told when it came
  }
  if (!background_ || background_->reported) return;
  background_->reports.set_exception(
      std::make_exception_ptr(UserError("the run ended before it was saved")));
}

void CheckpointWriter::start(const io::Record& record) {
  snapshot_->take();
  background_ = std::make_unique<Background>(record);
  Background& mine = *background_;
  if (mesh_.rank() == 0) {
    mine.ended = std::async(std::launch::async, [this, &mine] { return publish(mine); });
    dist::gather_texts(mine.folder_known.get(), mesh_.control());
    return;
  }
  const std::string folder = dist::gather_texts("", mesh_.control()).front();
  mine.ended = std::async(std::launch::async, [this, &mine, folder] {
    mine.report.set_value(folder.empty() ? "{}" : write_part(files_, folder, snapshot_->parts()));
    return std::string();
  });
}

// The first rank's thread. Whatever happens, the promises are kept.
std::string CheckpointWriter::publish(Background& mine) {
  Outcome outcome;
  bool announced = false, written = false;
  const auto write = [&](io::SummedFiles& files, const std::string& folder) {
    files.make_folder(folder + "/state");
    announced = true;
    mine.folder.set_value(folder);
    const std::string report = write_part(files, folder, snapshot_->parts());
    written = true;
    mine.report.set_value(report);
    assemble(files, folder, mine.record, mine.reports_known.get());
  };
  try {
    outcome.folder =
        output_.save_checkpoint(mine.record.progress.steps, model::held_blocks(snapshot_->blocks()),
                                {write, state_bytes()});
  } catch (const std::exception& error) {
    outcome.error = error.what();
  }
  if (!announced) mine.folder.set_value("");
  if (!written) mine.report.set_value(config::json_text({{"error", outcome.error}}));
  return outcome_text(outcome);
}

bool CheckpointWriter::ready() const {
  const auto known = [](const std::future<std::string>& future) {
    return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  };
  return known(background_->reported ? background_->ended : background_->report_known);
}

std::optional<CheckpointWriter::Outcome> CheckpointWriter::advance() {
  Background& mine = *background_;
  if (!mine.reported) {
    mine.reports.set_value(dist::gather_texts(mine.report_known.get(), mesh_.control()));
    mine.reported = true;
    return std::nullopt;
  }
  Outcome outcome = parse_outcome(
      dist::gather_texts(mesh_.rank() == 0 ? mine.ended.get() : "{}", mesh_.control()).front());
  outcome.step = mine.record.progress.steps;
  background_.reset();
  return outcome;
}

std::string damage_of(const std::string& folder, bool hashes, int64_t share, int64_t shares) {
  const std::optional<io::Manifest> manifest = io::read_manifest(folder);
  if (!manifest) return fmt::format("has no {} of ours", io::kManifest);
  for (const char* needed : {io::kProgressFile, io::kStateFile}) {
    if (!manifest->files.contains(needed)) return fmt::format("has no {}", needed);
  }
  try {
    return io::damage(folder, *manifest, hashes, share, shares);
  } catch (const UserError& error) {  // the disk
    return error.what();
  }
}

// Writes this rank's file and says so. An error is its report too: the other ranks wait for one.
std::string CheckpointWriter::write_part(io::FileSystem& files, const std::string& folder,
                                         const std::vector<state::StatePart>& parts) const {
  Json report = Json::object();
  try {
    const std::string name = io::rank_file(mesh_.rank(), mesh_.control().size());
    const state::RankState state = state::rank_state(sources_.layout, parts, name);
    report["pieces"] = io::state_text(state.pieces);
    if (!state.pieces.empty()) {
      io::SummedFiles summed(files);
      const std::string path = path_in(folder, name);
      io::write_safetensors(summed, path, io::require_finite(state.tensors, path));
      const io::FileSum& sum = summed.sums().at(path);
      report["file"] = name;
      report["bytes"] = sum.bytes;
      report["hash"] = sum.hash;
    }
  } catch (const UserError& error) {
    report = {{"error", error.what()}};
  }
  return config::json_text(report);
}

std::vector<state::StatePart> CheckpointWriter::live_parts() const {
  return state::state_parts(sources_.params, sources_.optimizer, sources_.zero);
}

// What the first rank writes beside the model, once all have written theirs.
void CheckpointWriter::assemble(io::SummedFiles& files, const std::string& folder,
                                const io::Record& record, const std::vector<std::string>& reports) {
  if (const std::string error = first_error(reports); !error.empty()) throw UserError(error);
  std::vector<io::StatePiece> pieces;
  for (const std::string& text : reports) {
    const Json report = parse_report(text);
    std::ranges::move(io::parse_state(report["pieces"].get<std::string>(), "a rank's pieces"),
                      std::back_inserter(pieces));
    if (!report.contains("file")) continue;
    files.add(path_in(folder, report["file"].get<std::string>()),
              {report["bytes"].get<uint64_t>(), report["hash"].get<std::string>()});
  }
  io::write_text(files, path_in(folder, io::kStateFile), io::state_text(pieces));
  io::write_text(files, path_in(folder, io::kProgressFile),
                 io::record_text(record, output_.manifest()));
}

CheckpointWriter::Outcome CheckpointWriter::together(const io::Record* record,
                                                     const Publish& publish) {
  const dist::Group& control = mesh_.control();
  const int64_t blocks = std::ssize(sources_.layout.blocks);
  int64_t next = 0;
  const auto take = [&](int64_t block) {
    TRIREME_CHECK(block == next++, "blocks are gathered in their order");
    return sources_.params.whole(block);
  };
  Outcome outcome;
  if (mesh_.rank() != 0) {
    const std::string folder = dist::gather_texts("", control).front();
    bool filled = !folder.empty();
    if (filled && record != nullptr) {
      filled = first_error(dist::gather_texts(write_part(files_, folder, live_parts()), control))
                   .empty();
    }
    while (filled && next < blocks) take(next);
  } else {
    enum { kNothing, kBegun, kFilled } stage = kNothing;
    try {
      const auto write = [&](io::SummedFiles& files, const std::string& folder) {
        if (record != nullptr) files.make_folder(folder + "/state");
        stage = kBegun;
        dist::gather_texts(folder, control);
        if (record != nullptr) {
          assemble(files, folder, *record,
                   dist::gather_texts(write_part(files, folder, live_parts()), control));
        }
        stage = kFilled;
      };
      outcome.folder = publish(take, {write, record != nullptr ? state_bytes() : 0});
    } catch (const UserError& error) {
      outcome.error = error.what();
    }
    // The others wait for the folder, or for the blocks that were not asked for.
    if (stage == kNothing) dist::gather_texts("", control);
    while (stage == kFilled && next < blocks) take(next);
  }
  outcome = parse_outcome(dist::gather_texts(outcome_text(outcome), control).front());
  outcome.step = record != nullptr ? record->progress.steps : 0;
  return outcome;
}

CheckpointWriter::Outcome CheckpointWriter::save(const io::Record& record, bool only_model) {
  return together(only_model ? nullptr : &record, [&](const auto& weights, const auto& addition) {
    return output_.save_checkpoint(record.progress.steps, weights, addition);
  });
}

CheckpointWriter::Outcome CheckpointWriter::save_best() {
  return together(nullptr, [&](const auto& weights, const auto& addition) {
    return output_.save_best(weights, addition);
  });
}

// Of all ranks: this one's, where they are alike.
uint64_t CheckpointWriter::state_bytes() const {
  return state::byte_count(live_parts()) * static_cast<uint64_t>(mesh_.control().size());
}

}  // namespace trireme::train
