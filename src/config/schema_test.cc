#include "config/schema.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.h"
#include "config/lora_spec.h"
#include "config/run_config_file.h"

namespace trireme::config {
namespace {

RunConfig parse(Verb verb, const std::vector<std::string>& arguments) {
  return parse_command_line(verb, arguments);
}

template <typename Function>
std::string error_of(const Function& function) {
  try {
    function();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

std::string error_of_flags(const std::vector<std::string>& arguments, Verb verb = kTrain) {
  return error_of([&] { parse(verb, arguments); });
}

std::string error_of_file(const std::string& text) {
  RunConfig run;
  std::vector<Ablation> ablations = built_in_ablations();
  return error_of([&] { parse_run_config(text, "c.json", run, ablations); });
}

// A run config on disk for as long as the object lives.
class ConfigFile {
 public:
  explicit ConfigFile(const std::string& text)
      : path_(std::filesystem::temp_directory_path() /
              fmt::format("trireme_schema_test_{}.json", static_cast<const void*>(this))) {
    std::ofstream(path_) << text;
  }
  ~ConfigFile() { std::filesystem::remove(path_); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

TEST(Schema, NamesAndKeysAreUnique) {
  std::set<std::string> names, keys;
  for (const Option& option : schema()) {
    EXPECT_TRUE(names.insert(option.name).second) << option.name;
    EXPECT_TRUE(option.json_key.empty() || keys.insert(option.json_key).second) << option.name;
    EXPECT_FALSE(option.help.empty()) << option.name;
  }
}

// A value that the option takes and that is not its default.
std::string other_value(const Option& option) {
  if (!option.choices().empty()) return option.choices().back();
  const std::string value = option_text(RunConfig{}, option);
  if (std::holds_alternative<bool RunConfig::*>(option.field)) {
    return value == "true" ? "off" : "on";
  }
  if (std::holds_alternative<std::string RunConfig::*>(option.field)) return value + "x";
  const double next = std::stod(value) + 1;
  return fmt::format("{}", next <= option.max ? next : std::max(option.min, 0.25));
}

TEST(Schema, EachOptionHasAFieldOfItsOwn) {
  const RunConfig defaults;
  for (const Option& option : schema()) {
    RunConfig run;
    set_option(run, option, other_value(option), option.name);
    for (const Option& each : schema()) {
      const bool same = option_text(run, each) == option_text(defaults, each);
      EXPECT_EQ(same, each.name != option.name) << option.name << " and " << each.name;
    }
  }
}

TEST(Schema, DefaultsAreAllowedAndSurviveText) {
  const RunConfig defaults;
  for (const Option& option : schema()) {
    RunConfig run;
    set_option(run, option, option_text(defaults, option), option.name);
    EXPECT_EQ(option_text(run, option), option_text(defaults, option));
  }
}

TEST(Schema, EveryTrainOptionHasAJsonKey) {
  for (const Option& option : schema()) {
    if ((option.verbs & kTrain) == 0) continue;
    EXPECT_EQ(option.verbs & (kBench | kDump), (kBench | kDump) & ~option.except) << option.name;
    if (option.name == "config") continue;
    EXPECT_EQ(find_option_by_key(option.json_key), &option);
  }
  EXPECT_EQ(find_option_by_key("training.model"), find_option("model"));
  EXPECT_EQ(find_option_by_key("training.config"), nullptr);
  EXPECT_EQ(find_option_by_key("training.top_p"), nullptr);
}

TEST(CommandLine, FormsOfFlagsAndValues) {
  const RunConfig run =
      parse(kTrain, {"--max-length", "4096", "--local-rank=0", "--packing", "off", "--overwrite",
                     "--learning_rate=2e-5", "--save_steps", "1e3", "--one_sample_per_user", "true",
                     "--max_length", "8192", "--local_rank", "-1"});
  EXPECT_EQ(run.max_length, 8192);
  EXPECT_EQ(run.local_rank, -1);
  EXPECT_FALSE(run.packing);
  EXPECT_TRUE(run.overwrite && run.one_sample_per_user);
  EXPECT_EQ(run.learning_rate, 2e-5);
  EXPECT_EQ(run.save_steps, 1000);
  EXPECT_EQ(parse(kGenerate, {"--prompt=--a=b"}).prompt, "--a=b");
}

TEST(CommandLine, SizesTakeUnits) {
  EXPECT_EQ(parse(kTrain, {"--device_memory", "80GiB"}).device_memory, int64_t{80} << 30);
  EXPECT_EQ(parse(kTrain, {"--device_memory=1.5 MiB"}).device_memory, 3 << 19);
  EXPECT_EQ(parse(kTrain, {"--device_memory", "1e9"}).device_memory, 1'000'000'000);
  EXPECT_THROW(parse(kTrain, {"--device_memory", "80GB"}), UserError);
}

// The user's line, apart from the files.
TEST(CommandLine, TakesEveryFlagOfTheOldScript) {
  const RunConfig run = parse(kTrain, {"--ablation_config",
                                       "profile_and_context",
                                       "--data_file",
                                       "d.csv",
                                       "--val_ratio",
                                       "0.1",
                                       "--max_samples_per_user",
                                       "5",
                                       "--one_sample_per_user",
                                       "--sample_seed",
                                       "42",
                                       "--output_dir",
                                       "out",
                                       "--max_epochs",
                                       "1",
                                       "--early_stopping_patience",
                                       "3",
                                       "--early_stopping_threshold",
                                       "0.001",
                                       "--deepspeed",
                                       "ds.json",
                                       "--disable_flash_attn",
                                       "--wandb_project",
                                       "p",
                                       "--wandb_run_name",
                                       "r",
                                       "--local_rank",
                                       "0",
                                       "--prompt_style",
                                       "simple"});
  EXPECT_EQ(run.ablation.name, "profile_and_context");
  EXPECT_TRUE(run.ablation.use_profile && !run.ablation.use_history && run.ablation.use_context);
  EXPECT_EQ(run.max_samples_per_user, 5);
  EXPECT_EQ(run.deepspeed, "ds.json");
  EXPECT_TRUE(run.disable_flash_attn);
}

TEST(CommandLine, MistakesNameTheFlagAndTheNearest) {
  EXPECT_EQ(error_of_flags({"--max_lenght", "5"}),
            "--max_lenght: unknown option (did you mean '--max_length'?): see trireme train "
            "--help");
  EXPECT_EQ(error_of_flags({"--max-lenght=5"}),
            "--max-lenght: unknown option (did you mean '--max_length'?): see trireme train "
            "--help");
  EXPECT_EQ(error_of_flags({"--decode"}),
            "--decode: not an option of trireme train: see trireme train --help");
  EXPECT_EQ(error_of_flags({"config.json"}),
            "'config.json': an option is expected, as --name value: see trireme train --help");
  EXPECT_EQ(error_of_flags({"--max_length"}), "--max_length: a value is missing after it");
  EXPECT_EQ(error_of_flags({"--max_length", "--packing"}),
            "--max_length: a value is missing after it");
  EXPECT_EQ(error_of_flags({"--packing", "maybe"}),
            "--packing: 'maybe' is none of true, false, on, off");
}

TEST(CommandLine, BadValues) {
  EXPECT_EQ(error_of_flags({"--max_length", "4k"}),
            "--max_length: '4k' is not a number: digits are expected, without a unit or suffix");
  EXPECT_EQ(error_of_flags({"--max_length", "2.5"}), "--max_length: 2.5 is not a whole number");
  EXPECT_EQ(error_of_flags({"--max_length", "0"}),
            "--max_length: 0 tokens is out of range: 1 to 1073741824 is expected");
  EXPECT_EQ(error_of_flags({"--val_ratio", "1.5"}),
            "--val_ratio: 1.5 is out of range: 0 to 0.99 is expected");
  EXPECT_EQ(error_of_flags({"--batch_size", "-2"}),
            "--batch_size: -2 sequences is out of range: 1 to 1048576 is expected");
  EXPECT_EQ(error_of_flags({"--max_length", "99999999999999999999"}),
            "--max_length: 99999999999999999999 is too large");
  EXPECT_NE(error_of_flags({"--val_ratio", "nan"}), "no error");
  EXPECT_NE(error_of_flags({"--weight_decay", ""}), "no error");
  EXPECT_EQ(error_of_flags({"--prompt_style", "smple"}),
            "--prompt_style: 'smple' is not known: simple or detailed is expected (did you mean "
            "'simple'?)");
}

// run.json could not hold them, and a path would end at the NUL.
TEST(CommandLine, TextThatIsNoTextIsRefused) {
  EXPECT_EQ(error_of_flags({"--output_dir", "out\xff"}),
            "--output_dir: 'out\\xff' is not UTF-8: rename what it names");
  EXPECT_EQ(error_of_file("{\"data\": {\"train_path\": \"a\\u0000b\"}}"),
            "c.json:1:11: data.train_path: 'a\\x00b' has a NUL: remove it");
}

TEST(RunConfigFile, ChoicesAreWords) {
  RunConfig run;
  std::vector<Ablation> ablations;
  parse_run_config(R"({"training": {"prompt_style": "detailed", "keep": "none"}})", "c.json", run,
                   ablations);
  EXPECT_EQ(option_text(run, *find_option("prompt_style")), "detailed");
  EXPECT_EQ(option_text(run, *find_option("keep")), "none");
  EXPECT_EQ(error_of_file(R"({"training": {"prompt_style": 1}})"),
            "c.json:1:15: training.prompt_style: a string is expected, found 1");
}

TEST(RunConfigFile, ALongOneIsRefused) {
  EXPECT_EQ(error_of_file("{}" + std::string(1 << 20, ' ')),
            "c.json: 1.00 MiB long, at most 1.00 MiB are expected: is it the right file?");
}

TEST(CommandLine, WinsOverTheRunConfigWhichWinsOverDefaults) {
  const ConfigFile file(R"({"training": {"max_length": 16384, "warmup_steps": 100}})");
  const RunConfig run = parse(kTrain, {"--max_length", "4096", "--config", file.path()});
  EXPECT_EQ(run.max_length, 4096);
  EXPECT_EQ(run.warmup_steps, 100);
  EXPECT_EQ(run.max_epochs, RunConfig{}.max_epochs);
}

TEST(CommandLine, AblationsBuiltInAndFromTheFile) {
  EXPECT_FALSE(parse(kData, {"--ablation_config", "baseline"}).ablation.use_profile);
  EXPECT_TRUE(parse(kData, {}).ablation.use_history);
  const ConfigFile file(R"({"ablation_configs": {
    "mine": {"use_profile": false, "use_history": true, "use_context": false, "name": "mine"},
    "baseline": {"use_profile": true, "use_history": true, "use_context": true}}})");
  const RunConfig mine = parse(kData, {"--config", file.path(), "--ablation_config", "mine"});
  EXPECT_TRUE(!mine.ablation.use_profile && mine.ablation.use_history);
  EXPECT_TRUE(parse(kData, {"--config", file.path(), "--ablation_config", "baseline"})
                  .ablation.use_context);
  EXPECT_EQ(error_of_flags({"--ablation_config", "profile_onl"}),
            "--ablation_config: 'profile_onl' is not known (did you mean 'profile_only'?): one of "
            "profile_and_history_and_context, profile_and_history, profile_and_context, "
            "history_and_context, profile_only, history_only, context_only, baseline is expected");
}

TEST(RunConfigFile, SectionsComeHome) {
  RunConfig run;
  std::vector<Ablation> ablations;
  parse_run_config(R"({
    "model": {"name": "n", "path": "/m", "hf_model_name": "h", "checkpoint_dir": "c",
              "use_lora": false, "lora_config": {"r": 32}},
    "data": {"train_path": "/d.json", "test_path": null},
    "training": {"learning_rate": 1e-05, "save_steps": 5e2, "packing": false, "seed": 7}  // mine
  })",
                   "c.json", run, ablations);
  EXPECT_EQ(run.model, "/m");
  EXPECT_EQ(run.data_file, "/d.json");
  EXPECT_EQ(run.test_file, "");
  EXPECT_EQ(run.learning_rate, 1e-5);
  EXPECT_EQ(run.save_steps, 500);
  EXPECT_FALSE(run.packing);
  EXPECT_EQ(run.seed, 7);
}

TEST(RunConfigFile, MistakesNameFileLineAndKey) {
  EXPECT_EQ(error_of_file("{\"training\": {\n  \"max_lenght\": 5}}"),
            "c.json:2:3: training.max_lenght: unknown key (did you mean 'training.max_length'?): "
            "trireme train --help lists the options");
  EXPECT_EQ(error_of_file(R"({"trainin": {}})"),
            "c.json:1:2: trainin: unknown section (did you mean 'training'?): model, data, "
            "training and ablation_configs are expected");
  EXPECT_EQ(error_of_file(R"({"max_length": 5})"),
            "c.json:1:2: max_length: not a section: move the key into 'training'");
  EXPECT_EQ(error_of_file(R"({"training": {"max_length": "2048"}})"),
            "c.json:1:15: training.max_length: a number is expected, found \"2048\"");
  EXPECT_EQ(error_of_file(R"({"training": {"max_length": 0}})"),
            "c.json:1:15: training.max_length: 0 tokens is out of range: 1 to 1073741824 is "
            "expected");
  EXPECT_EQ(error_of_file(R"({"training": {"packing": 1}})"),
            "c.json:1:15: training.packing: true or false is expected, found 1");
  EXPECT_EQ(error_of_file(R"({"training": []})"),
            "c.json:1:2: training: an object is expected, found []");
  EXPECT_EQ(error_of_file(R"({"model": {"path": "a"}, "training": {"model": "b"}})"),
            "c.json:1:39: training.model: --model is given twice in the file: remove one");
  EXPECT_EQ(error_of_file(R"({"ablation_configs": {"x": {"use_profile": true}}})"),
            "c.json:1:23: ablation_configs.x: use_history is missing");
  EXPECT_EQ(error_of_file(R"({"ablation_configs": {"x": {"use_profil": true}}})"),
            "c.json:1:29: ablation_configs.x.use_profil: unknown key (did you mean "
            "'use_profile'?)");
}

TEST(RunConfigFile, LoraAsUsersWriteIt) {
  RunConfig run;
  std::vector<Ablation> ablations;
  parse_run_config(R"({"model": {"path": "/m", "use_lora": true, "lora_config": {
    "r": 32, "lora_alpha": 64, "lora_dropout": 0.05, "target_modules": ["q_proj", "gate_proj"],
    "bias": "none", "task_type": "CAUSAL_LM", "modules_to_save": null, "use_dora": false,
    "inference_mode": false, "rank_pattern": {}}}})",
                   "c.json", run, ablations);
  const std::optional<LoraSpec> lora = lora_of(run);
  ASSERT_TRUE(lora);
  EXPECT_EQ(lora->rank, 32);
  EXPECT_EQ(lora->scale(), 2);
  EXPECT_EQ(lora->dropout, 0.05);
  EXPECT_EQ(lora->target_modules, (std::vector<std::string>{"q_proj", "gate_proj"}));
  run.use_rslora = true;
  EXPECT_NEAR(lora_of(run)->scale(), 11.3137, 1e-4);
  run.use_lora = false;
  EXPECT_FALSE(lora_of(run));
}

TEST(RunConfigFile, LoraMistakesNameFileLineAndKey) {
  const auto error_of_lora = [](const std::string& fields) {
    return error_of_file("{\"model\": {\"lora_config\": {\n" + fields + "}}}");
  };
  EXPECT_EQ(error_of_lora(R"("r": 0)"),
            "c.json:2:1: model.lora_config.r: 0 is out of range: 1 to 65536 is expected");
  EXPECT_EQ(error_of_lora(R"("lora_alpa": 3)"),
            "c.json:2:1: model.lora_config.lora_alpa: unknown key (did you mean 'lora_alpha'?): "
            "trireme train --help lists the options");
  EXPECT_EQ(error_of_lora(R"("use_qalora": true)"),
            "c.json:2:1: model.lora_config.use_qalora: true is not built: leave the field out");
  EXPECT_EQ(error_of_lora(R"("bias": "both")"),
            "c.json:2:1: model.lora_config.bias: 'both' is not known: none, all or lora_only is "
            "expected");
  EXPECT_EQ(error_of_lora(R"("target_modules": [1])"),
            "c.json:2:1: model.lora_config.target_modules: a list of names is expected, found [1]");
  EXPECT_EQ(error_of_file(R"({"model": {"lora_config": 5}})"),
            "c.json:1:12: model.lora_config: an object is expected, found 5");
}

TEST(CommandLine, Lora) {
  const RunConfig run = parse(kTrain, {"--use_lora", "--lora_r", "16", "--target_modules",
                                       "q_proj, v_proj,", "--lora_alpha", "32"});
  EXPECT_EQ(lora_of(run)->target_modules, (std::vector<std::string>{"q_proj", "v_proj"}));
  EXPECT_EQ(lora_of(run)->scale(), 2);
  EXPECT_EQ(lora_of(parse(kTrain, {"--use_lora"}))->target_modules,
            (std::vector<std::string>{"q_proj", "v_proj"}));  // PEFT's default, as r and alpha 8
  const RunConfig nameless = parse(kTrain, {"--use_lora", "--target_modules", " ,"});
  EXPECT_EQ(error_of([&] { lora_of(nameless); }),
            "--target_modules: no name in it: give some, as q_proj,v_proj, or all-linear");
  EXPECT_EQ(error_of_flags({"--lora_r", "16"}),
            "--lora_r: without effect, since LoRA is off: give --use_lora too, or leave it out");
  EXPECT_EQ(error_of_flags({"--use_lora", "--lora_r", "-1"}),
            "--lora_r: -1 is out of range: 1 to 65536 is expected");
}

TEST(Help, FitsInAHundredColumnsAndListsEachOptionOnce) {
  for (Verb verb : {kTrain, kData, kTokenize, kGenerate, kBench, kDump, kExport}) {
    const std::string text = help_text(verb);
    for (const Option& option : schema()) {
      const std::string line = "\n  --" + option.name + " ";
      const size_t at = text.find(line);
      EXPECT_EQ(at != std::string::npos, (option.verbs & verb) != 0) << option.name;
      EXPECT_EQ(text.rfind(line), at) << option.name << " is listed twice";
    }
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
  }
}

TEST(ToJson, HoldsTheVerbsOptionsAndTheAblation) {
  const RunConfig run = parse(kData, {"--max_length", "512", "--ablation_config", "profile_only"});
  const Json json = to_json(run, kData);
  EXPECT_EQ(json["max_length"], 512);
  EXPECT_EQ(json["one_sample_per_user"], false);
  EXPECT_EQ(json["ablation"]["use_history"], false);
  EXPECT_FALSE(json.contains("learning_rate"));
  EXPECT_FALSE(to_json(run, kTokenize).contains("ablation"));
}

}  // namespace
}  // namespace trireme::config
