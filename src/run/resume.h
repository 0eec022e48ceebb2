// Where a run goes on: the checkpoint that --resume means, found and checked by all ranks together.
#pragma once

#include <optional>
#include <string>

#include "model/model_folder.h"
#include "run/ranks.h"
#include "train/checkpoint.h"
#include "train/trainer.h"

namespace trireme::run {

// What a checkpoint of this run may be resumed by: the same model, samples and prompt settings.
io::Identity identity_of(const config::RunConfig& run, const model::ModelFolder& model,
                         const train::TrainingSamples& samples);

struct Resumption {
  enum class Kind {
    kNone,      // a new run begins
    kGoesOn,    // from `folder`
    kFinished,  // the result is there already: nothing is to be done
    kPlaces,    // the result is to be put into its place: OutputFolder::finish()
  };
  Kind kind = Kind::kNone;
  std::string run;     // its name
  std::string folder;  // the checkpoint
  bool here = false;   // it lies in the output folder
  std::optional<io::Record> record;
};

// All ranks call it together, once the first has prepared the output folder. UserError, on all: the
// folder is no whole checkpoint, or one of another model, data or prompt without --resume_anyway.
Resumption find_resumption(const config::RunConfig& run, train::OutputFolder& output,
                           const io::Identity& identity, const Ranks& ranks);

}  // namespace trireme::run
