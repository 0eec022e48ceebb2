// Checkpoints of a run: what one holds, how all ranks write one together, and how one is found and
// checked to resume.
//
//   checkpoint-N/   a Hugging Face model or a PEFT adapter, and beside it
//     state.json, state/    weights and moments, as the ranks held them (io/state_files.h)
//     progress.json         how far the run had come, its options, and what it trained on
//
// Each rank writes its own file into one temporary folder, with sizes and hashes as it writes; the
// first rank lists them in the manifest and gives the folder its name (io/publish.h).
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "dist/mesh.h"
#include "io/progress.h"
#include "state/saved_state.h"
#include "train/output_folder.h"

namespace trireme::train {

// Writes checkpoints with all ranks.
class CheckpointWriter {
 public:
  // What a checkpoint takes its content from; all of it outlives the writer.
  struct Sources {
    const layout::ModelLayout& layout;  // of what is trained
    const state::ResidentParams& params;
    const state::AdamW& optimizer;
    state::Zero zero;
  };
  CheckpointWriter(io::FileSystem& files, OutputFolder& output, Sources sources,
                   const dist::Mesh& mesh)
      : files_(files), output_(output), sources_(std::move(sources)), mesh_(mesh) {}

  struct Outcome {
    std::string folder;
    std::string error;  // "" if it was saved; else nothing of it is left, and earlier ones stand
  };
  // All ranks call them together, with the device idle, and have the same outcome. only_model:
  // without state and progress.
  Outcome save(const io::Record& record, bool only_model);
  Outcome save_best();

 private:
  // The first rank's publishing of a folder with these weights, and this beside them.
  using Publish = std::function<std::string(const model::BlockSource&, const Addition&)>;
  Outcome together(const io::Record* record, const Publish& publish);
  std::string write_part(io::FileSystem& files, const std::string& folder) const;
  void fill(io::SummedFiles& files, const std::string& folder, const io::Record& record);
  uint64_t state_bytes() const;

  io::FileSystem& files_;
  OutputFolder& output_;
  Sources sources_;
  const dist::Mesh& mesh_;
};

// What is wrong with a checkpoint of ours, in words; "" if it is whole. `share` of `shares` checks
// its part of the files; with `hashes` it reads them.
std::string damage_of(const std::string& folder, bool hashes, int64_t share = 0,
                      int64_t shares = 1);

}  // namespace trireme::train
