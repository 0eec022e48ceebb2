#include "train/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
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

}  // namespace

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
std::string CheckpointWriter::write_part(io::FileSystem& files, const std::string& folder) const {
  Json report = Json::object();
  try {
    const std::string name = io::rank_file(mesh_.rank(), mesh_.control().size());
    const state::RankState state = state::rank_state(sources_.layout, sources_.params,
                                                     sources_.optimizer, sources_.zero, name);
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

// The first rank's part of a checkpoint beside the model.
void CheckpointWriter::fill(io::SummedFiles& files, const std::string& folder,
                            const io::Record& record) {
  const auto reports = dist::gather_texts(write_part(files, folder), mesh_.control());
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
      filled = first_error(dist::gather_texts(write_part(files_, folder), control)).empty();
    }
    while (filled && next < blocks) take(next);
  } else {
    enum { kNothing, kBegun, kFilled } stage = kNothing;
    try {
      const auto write = [&](io::SummedFiles& files, const std::string& folder) {
        if (record != nullptr) files.make_folder(folder + "/state");
        stage = kBegun;
        dist::gather_texts(folder, control);
        if (record != nullptr) fill(files, folder, *record);
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
  const Json mine = {{"folder", outcome.folder}, {"error", outcome.error}};
  const Json first = parse_report(dist::gather_texts(config::json_text(mine), control).front());
  return {first["folder"].get<std::string>(), first["error"].get<std::string>()};
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
  const int64_t mine =
      state::rank_state(sources_.layout, sources_.params, sources_.optimizer, sources_.zero, "")
          .bytes();
  return static_cast<uint64_t>(mine * mesh_.control().size());
}

}  // namespace trireme::train
