// The keys that are decided together with others or with the run's options.
#pragma once

#include <string>

#include "deepspeed/deepspeed.h"
#include "deepspeed/file.h"

namespace trireme::deepspeed {

// A file on its way into a run: what is known so far, and where each key ends.
class DeepSpeedRules {
 public:
  DeepSpeedRules(const DeepSpeedFile& file, int64_t ranks, config::RunConfig& run,
                 DeepSpeed& result)
      : file_(file), ranks_(ranks), run_(run), result_(result) {}

  // Ends every key of the file in one of the lists, or throws.
  void apply();

 private:
  // Ends what needs no rule: by the table alone, null, "auto".
  void apply_row(const GivenKey& key);

  // Each ends the keys that it is about.
  void batch();
  void precision();
  void states();
  void moments(const GivenKey& key, bool in_bfloat16);
  void optimizer();
  void schedule();
  void warm_up();
  void total_steps();
  void progress();
  void zero();
  void offload(const std::string& section, const std::string& old_flag,
               DeepSpeedConfig::Offload& offload);
  // Ends the key that says where the parameters or the optimizer are.
  void offloaded(const GivenKey& key, const std::string& section, const std::string& device);
  void parallel();
  int64_t parallel_size(const std::string& path, bool enabled, const char* option);

  int64_t data_parallel_ranks() const;

  void done(const GivenKey& key, std::string_view text);
  void no_effect(const GivenKey& key, std::string_view text);

  // Gives an option its value; a UserError where the option was given and differs.
  void assign(const GivenKey& key, std::string_view name, const std::string& text);
  // The same, and the key is done.
  void set(const GivenKey& key, std::string_view name, const std::string& text);
  // whole / part, which must be a whole number.
  void assign_quotient(const GivenKey& train, std::string_view option, int64_t whole, int64_t part);

  const DeepSpeedFile& file_;
  int64_t ranks_;
  config::RunConfig& run_;
  DeepSpeed& result_;
};

}  // namespace trireme::deepspeed
