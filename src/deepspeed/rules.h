// The keys that are decided together with others or with the run's options.
#pragma once

#include <string>

#include "config/schema.h"
#include "deepspeed/deepspeed.h"
#include "deepspeed/file.h"

namespace trireme::deepspeed {

// A file on its way into a run: what is known so far, and where each key ends.
class DeepSpeedRules {
 public:
  DeepSpeedRules(const DeepSpeedFile& file, config::Verb verb, int64_t ranks,
                 config::RunConfig& run, DeepSpeed& result)
      : file_(file), verb_(verb), ranks_(ranks), run_(run), result_(result) {}

  // Ends every key of the file in one of the lists, or as a problem. Returns the problems, a line
  // each.
  std::vector<std::string> apply();

 private:
  // Ends what needs no rule: by the table alone, null, "auto".
  void apply_row(const GivenKey& key);

  // Each ends the keys that it is about.
  void batch();
  void precision();
  void states();
  void moments(const GivenKey& key, bool in_bfloat16);
  void optimizer();
  void betas();
  void weight_decay();
  void schedule();
  void peak();
  void warm_up();
  void total_steps();
  void schedule_end();
  void progress();
  void stage();
  void contiguous_gradients();
  void cpu_checkpointing();
  void offload_optimizer();
  void offload_param();
  void offload(const std::string& section, const std::string& old_flag,
               DeepSpeedConfig::Offload& offload);
  // Ends the key that says where the parameters or the optimizer are.
  void offloaded(const GivenKey& key, const std::string& section, const std::string& device);
  void parallel();
  int64_t parallel_size(const std::string& path, bool enabled, const char* option);

  int64_t data_parallel_ranks() const;

  // A key that the file leaves out though its section is there: DeepSpeed's default is as good as
  // written, but gives way to the option `name` where that was given. `text`: the default, as the
  // option reads it.
  void take_default(std::string_view path, std::string_view name, const std::string& text);

  // The verb has the option: others have nothing that the key could set.
  bool takes(std::string_view option) const;
  // The name of what the file chooses; "" where it says nothing.
  std::string text_of(std::string_view path) const;

  // Both say that the verb has no option for the key, where assign() found that.
  void done(const GivenKey& key, std::string_view text);
  void no_effect(const GivenKey& key, std::string_view text);

  // Gives an option its value; a UserError where the option was given and differs.
  void assign(const GivenKey& key, std::string_view name, const std::string& text);
  // The same, and the key is done.
  void set(const GivenKey& key, std::string_view name, const std::string& text);
  // whole / part, which must be a whole number.
  void assign_quotient(const GivenKey& train, std::string_view option, int64_t whole, int64_t part);

  const DeepSpeedFile& file_;
  config::Verb verb_;
  int64_t ranks_;
  config::RunConfig& run_;
  DeepSpeed& result_;
  std::vector<std::string> problems_;
  std::string not_taken_;  // the option that assign() passed over, of the key that ends next
};

}  // namespace trireme::deepspeed
