// Checkpoints of a run: what one holds, how all ranks write one together, and how one is found and
// checked to resume.
//
//   checkpoint-N/   a Hugging Face model or a PEFT adapter, and beside it
//     state.json, state/    weights and moments, as the ranks held them (io/state_files.h)
//     progress.json         how far the run had come, its options, and what it trained on
//
// Each rank writes its own file into one temporary folder, with sizes and hashes as it writes; the
// first rank lists them in the manifest and gives the folder its name (io/publish.h). Beside
// training a thread of each rank does so, from a copy of what is written (snapshot.h); what ranks
// tell each other then waits for the end of a step.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dist/mesh.h"
#include "io/progress.h"
#include "state/saved_state.h"
#include "train/output_folder.h"
#include "train/snapshot.h"

namespace trireme::train {

// Writes checkpoints with all ranks. Every function but ready() is called by all of them together.
class CheckpointWriter {
 public:
  // `snapshot`: for saving beside training; nullptr: there is no room. All outlive the writer.
  CheckpointWriter(io::FileSystem& files, OutputFolder& output, CheckpointSources sources,
                   const dist::Mesh& mesh, Snapshot* snapshot = nullptr);
  // One rank alone finishes what it has started.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  struct Outcome {
    std::string folder;
    std::string error;  // "" if it was saved; else nothing of it is left, and earlier ones stand
    int64_t step = 0;
  };
  // With the device idle; the outcome is the same on all ranks. only_model: without state and
  // progress.
  Outcome save(const io::Record& record, bool only_model);
  Outcome save_best();

  // The same as save() in the background: copies what is to be written and returns. From then on
  // advance() is called until it returns the outcome: twice, at any time later. It waits for what
  // this rank has begun, which ready() says has ended.
  bool in_background() const { return snapshot_ != nullptr; }
  void start(const io::Record& record);
  bool running() const { return background_ != nullptr; }
  bool ready() const;
  std::optional<Outcome> advance();

 private:
  struct Background;
  // The first rank's publishing of a folder with these weights, and this beside them.
  using Publish = std::function<std::string(const model::BlockSource&, const Addition&)>;
  Outcome together(const io::Record* record, const Publish& publish);
  std::string write_part(io::FileSystem& files, const std::string& folder,
                         const std::vector<state::StatePart>& parts) const;
  std::vector<state::StatePart> live_parts() const;
  void assemble(io::SummedFiles& files, const std::string& folder, const io::Record& record,
                const std::vector<std::string>& reports);
  std::string publish(Background& background);
  uint64_t state_bytes() const;

  io::FileSystem& files_;
  OutputFolder& output_;
  CheckpointSources sources_;
  const dist::Mesh& mesh_;
  Snapshot* snapshot_;
  std::unique_ptr<Background> background_;
};

// What is wrong with a checkpoint of ours, in words; "" if it is whole. `share` of `shares` checks
// its part of the files; with `hashes` it reads them.
std::string damage_of(const std::string& folder, bool hashes, int64_t share = 0,
                      int64_t shares = 1);

}  // namespace trireme::train
