#include "targets.h"

#include <unistd.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "cli/tokenize.h"
#include "config/launch.h"
#include "config/model_spec.h"
#include "config/peft_config.h"
#include "config/run_config_file.h"
#include "config/schema.h"
#include "data/batch_file.h"
#include "data/chat_template.h"
#include "data/jinja.h"
#include "data/pretokenizer.h"
#include "data/review.h"
#include "data/sample.h"
#include "data/tokenizer.h"
#include "data/tokenizer_testing.h"
#include "deepspeed/deepspeed.h"
#include "deepspeed/hjson.h"
#include "io/manifest.h"
#include "io/progress.h"
#include "io/safetensors_header.h"
#include "io/state_files.h"
#include "io/weight_files.h"
#include "layout/model.h"

namespace trireme::fuzz {
namespace {

using config::Json;

// In every name that is given to a reader, so that messages can be seen to name the file.
constexpr const char* kName = "input";

// What a reader's result must be like; a finding where it is not.
struct Broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};
void require(bool holds, const char* promise) {
  if (!holds) throw Broken(promise);
}

// The texts of an input: `count` of them, the last with all that is left, missing ones empty.
std::vector<std::string> parts(const std::string& input, size_t count) {
  std::vector<std::string> result;
  size_t at = 0;
  while (result.size() + 1 < count && at <= input.size()) {
    const size_t nul = std::min(input.find('\0', at), input.size());
    result.push_back(input.substr(at, nul - at));
    at = nul + 1;
  }
  result.push_back(at <= input.size() ? input.substr(at) : "");
  result.resize(count);
  return result;
}

// A folder for readers of files; gone when the process ends.
class Folder {
 public:
  Folder() { std::filesystem::create_directories(path_); }
  ~Folder() { std::filesystem::remove_all(path_.parent_path()); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string path() const { return path_.string(); }
  std::string write(const std::string& name, std::string_view text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return (path_ / name).string();
  }

 private:
  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / fmt::format("trireme-{}", getpid()) / kName;
};

const Folder& folder() {
  static const Folder the_folder;
  return the_folder;
}

// ------------------------------------------------------------------------------------------------
// Weights

// The size of the data, and a header.
void safetensors_header(const std::string& input) {
  const auto texts = parts(input, 2);
  uint64_t bytes = 0;
  std::from_chars(texts[0].data(), texts[0].data() + texts[0].size(), bytes);
  for (const auto& [name, entry] : io::parse_header(texts[1], bytes, kName)) {
    require(entry.begin <= entry.end && entry.end <= bytes, "an entry lies in the data");
  }
}

// An index, and the file that is its one shard; without an index the folder's only file.
void weight_files(const std::string& input) {
  const auto texts = parts(input, 2);
  const std::string file =
      texts[0].empty() ? "model.safetensors" : "model-00001-of-00001.safetensors";
  std::filesystem::remove(folder().path() + "/model.safetensors");
  folder().write("config.json", "{}");
  folder().write("model.safetensors.index.json", texts[0]);
  folder().write(file, texts[1]);
  io::WeightFiles weights(folder().path());
  const size_t count = weights.tensors().size();
  weights.use_standard_names();
  require(weights.tensors().size() == count, "no tensor is lost by its name");
  const int64_t scales = weights.join_scales({});
  require(weights.tensors().size() + scales == count, "a tensor or the scales of one");
  for (const auto& [name, located] : weights.tensors()) {
    const auto mapped = located.file->bytes(*located.entry);
    std::vector<std::byte> read(mapped.size());
    located.file->read(*located.entry, read);
    require(std::ranges::equal(read, mapped), "the bytes of a tensor can be read");
  }
}

// ------------------------------------------------------------------------------------------------
// JSON

void json(const std::string& input) {
  config::KeyPlaces places;
  const Json read = config::parse_json(input, kName, &places);
  const std::string written = config::json_text(read);
  require(config::json_text(config::parse_json(written, kName)) == written,
          "what is written reads as what was read");
}

void hjson(const std::string& input) { config::parse_json(deepspeed::without_hjson(input), kName); }

void model_config(const std::string& input) {
  const Json json = config::parse_json(config::with_tagged_floats(input), kName);
  const layout::Model model(config::parse_model_spec(json, kName));
  require(std::ssize(model.layout.blocks) > model.spec.layers, "each layer has a block");
}

void peft_config(const std::string& input) {
  const config::PeftConfig read = config::parse_peft_config(input, kName);
  config::parse_peft_config(config::json_text(config::peft_config_json(read)), kName);
}

void run_config(const std::string& input) {
  config::RunConfig run;
  auto ablations = config::built_in_ablations();
  config::parse_run_config(input, kName, run, ablations);
  config::json_text(config::to_json(run, config::kTrain));
}

void deepspeed_config(const std::string& input) {
  config::RunConfig run;
  const deepspeed::DeepSpeed read =
      deepspeed::apply_deepspeed(input, kName, config::kTrain, 4, run);
  config::json_text(deepspeed::to_json(read));
  deepspeed::lines(read.done);
  deepspeed::lines(read.no_effect);
}

// ------------------------------------------------------------------------------------------------
// The start of a process

// The verb's number, and the arguments, each on a line of its own.
void command_line(const std::string& input) {
  std::vector<std::string> arguments;
  for (size_t at = 0; at < input.size();) {
    const size_t end = std::min(input.find('\n', at), input.size());
    arguments.push_back(input.substr(at, end - at));
    at = end + 1;
  }
  if (arguments.empty() || arguments[0].size() != 1) return;
  const auto verb =
      static_cast<config::Verb>(1u << (static_cast<unsigned char>(arguments[0][0]) % 7));
  const config::RunConfig run = config::parse_command_line(verb, std::span(arguments).subspan(1));
  config::json_text(config::to_json(run, verb));
}

// What says that a folder is ours. Another program's file is no error.
void manifest(const std::string& input) {
  folder().write(io::kManifest, input);
  const auto read = io::read_manifest(folder().path());
  if (!read) return;
  folder().write(io::kManifest, io::manifest_text(*read));
  const auto again = io::read_manifest(folder().path());
  require(
      again && again->files == read->files && again->run == read->run && again->was == read->was,
      "what is written reads as what was read");
}

// What resuming reads of a checkpoint before any weight.
void checkpoint_state(const std::string& input) {
  const auto pieces = io::parse_state(input, kName);
  for (const io::StatePiece& piece : pieces) {
    if (piece.count > 4096) continue;  // a file has what it says it has; this text has no file
    for (const layout::Overlap& part : layout::overlaps(piece.piece(), pieces.front().piece())) {
      require(part.to >= 0 && part.to + part.count <= piece.count, "an overlap lies in its piece");
    }
  }
  const std::string text = io::state_text(pieces);
  require(io::state_text(io::parse_state(text, kName)) == text, "what is written reads as it was");
}

void progress(const std::string& input) {
  folder().write(io::kProgressFile, input);
  const io::Record record = io::read_record(folder().path());
  folder().write(io::kProgressFile, io::record_text(record, {}));
  const io::Record again = io::read_record(folder().path());
  require(io::to_json(again.progress) == io::to_json(record.progress) &&
              again.identity == record.identity,
          "what is written reads as what was read");
}

void slurm_hosts(const std::string& input) { config::first_host(input); }

// ------------------------------------------------------------------------------------------------
// Data

void use(const data::ReviewSet& reviews) {
  const config::RunConfig run;
  for (int64_t user = 0; user < std::ssize(reviews.users); ++user) {
    const auto& written = reviews.users[static_cast<size_t>(user)].reviews;
    require(!written.empty(), "every user has a review");
    const data::SampleRef last{user, std::ssize(written) - 1};
    require(!data::prompt_messages(reviews, last, run).empty(), "there is a prompt");
  }
}

// DMSC.csv, or ratings.csv with the movies.csv behind it.
void reviews_csv(const std::string& input) {
  const auto texts = parts(input, 2);
  folder().write("movies.csv", texts[1]);
  use(data::read_reviews(folder().write("input.csv", texts[0])));
}

void reviews_json(const std::string& input) {
  use(data::read_reviews(folder().write("input.json", input)));
}

// A pattern, and a text that it cuts.
void piece_regex(const std::string& input) {
  const auto texts = parts(input, 2);
  const data::PieceRegex regex(texts[0], kName);
  if (!is_utf8(texts[1])) return;
  data::PieceRegex::Scratch scratch;
  std::vector<std::string_view> pieces;
  regex.split(texts[1], pieces, scratch);
  std::string joined;
  for (const std::string_view piece : pieces) joined += piece;
  require(joined == texts[1], "the pieces are the text");
}

void tokenizer(const std::string& input) {
  folder().write("tokenizer.json", input);
  const data::Tokenizer tokenizer(folder().path());
  const std::string text = "Hello <|im_end|> \xE4\xB8\x96\xE7\x95\x8C  a\n\n b 123 e\xCC\x81 \xFF";
  tokenizer.decode(tokenizer.encode(text));
  const data::TextRun runs[] = {{text, data::Author::kUser}, {text, data::Author::kAssistant}};
  tokenizer.decode(tokenizer.encode(runs, {}), true);
  for (int32_t id = -1; id < std::min<int64_t>(tokenizer.size() + 1, 300); ++id) {
    require(is_utf8(tokenizer.decode({id})), "tokens are shown as UTF-8");
  }
}

const data::Tokenizer& chat_tokenizer() {
  static const data::Tokenizer tokenizer = [] {
    const std::vector<std::string> added = {"<|im_start|>",      "<|im_end|>",
                                            "<|begin_of_text|>", "<|start_header_id|>",
                                            "<|end_header_id|>", "<|eot_id|>"};
    folder().write("tokenizer.json",
                   data::testing_tools::small_tokenizer({{"a", "b"}}, added).dump());
    return data::Tokenizer(folder().path());
  }();
  return tokenizer;
}

// The documents of dump, for a model of 300 tokens.
void batch_file(const std::string& input) {
  const data::PackedBatch batch = data::read_batch(folder().write("input.json", input), 300);
  require(batch.trained_tokens > 0, "something is trained on");
}

// Lines of tokenize: of ids where the first byte is odd.
void tokenize_lines(const std::string& input) {
  if (input.empty()) return;
  config::TextOptions options;
  options.decode = static_cast<unsigned char>(input[0]) % 2 == 1;
  const std::string line = input.substr(1);
  const std::string ids = cli::tokenize_line(chat_tokenizer(), line, options, kName);
  config::parse_json(ids, kName);
}

// tokenizer_config.json, and chat_template.jinja where there is a second text.
void chat_template(const std::string& input) {
  const auto texts = parts(input, 2);
  folder().write("tokenizer_config.json", texts[0]);
  std::filesystem::remove(folder().path() + "/chat_template.jinja");
  if (!texts[1].empty()) folder().write("chat_template.jinja", texts[1]);
  const data::ChatTemplate chat(folder().path(), chat_tokenizer());
  chat.encode_prompt({{"system", "<|im_end|>"}, {"user", " a "}});
  chat.encode_answer("ab\n");
}

// A template alone, over messages of all forms.
void jinja(const std::string& input) {
  static const config::Json messages = config::Json::parse(R"([
    {"role": "system", "content": " sys <|x|> "}, {"role": "user", "content": [{"type": "text", "text": "a\u00e9"}]},
    {"role": "assistant", "content": null, "tool_calls": [
      {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": 1.5, "y": [true, null]}}}]},
    {"role": "tool", "content": "{}"}, {"role": "assistant", "content": "<think>b</think>c"}])");
  const data::jinja::Template chat(input, kName);
  const data::jinja::Text text = chat.render({{"messages", data::jinja::from_json(messages, 2)},
                                              {"add_generation_prompt", true},
                                              {"tools", data::jinja::Value()},
                                              {"bos_token", data::jinja::text("<s>")}},
                                             1'700'000'000);
  require(text.marks.size() == text.size(), "each byte of the output has a mark");
  require(is_utf8(text.bytes), "the output is UTF-8");
}

constexpr std::array kTargets = {
    Target{"batch_file", batch_file},
    Target{"chat_template", chat_template},
    Target{"checkpoint_state", checkpoint_state},
    Target{"command_line", command_line},
    Target{"deepspeed", deepspeed_config},
    Target{"hjson", hjson},
    Target{"jinja", jinja},
    Target{"json", json},
    Target{"manifest", manifest},
    Target{"model_config", model_config},
    Target{"peft_config", peft_config},
    Target{"piece_regex", piece_regex},
    Target{"progress", progress},
    Target{"reviews_csv", reviews_csv},
    Target{"reviews_json", reviews_json},
    Target{"run_config", run_config},
    Target{"safetensors_header", safetensors_header},
    Target{"slurm_hosts", slurm_hosts},
    Target{"tokenize_lines", tokenize_lines},
    Target{"tokenizer", tokenizer},
    Target{"weight_files", weight_files},
};

// ------------------------------------------------------------------------------------------------
// Messages

// The program's own rule for what a line may hold is not asked here: this is utf8proc's view.
bool shows_as_it_is(std::string_view line) {
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(line.data());
  auto left = static_cast<utf8proc_ssize_t>(line.size());
  while (left > 0) {
    utf8proc_int32_t c = 0;
    const utf8proc_ssize_t length = utf8proc_iterate(bytes, left, &c);
    if (length < 1) return false;
    const utf8proc_property_t& property = *utf8proc_get_property(c);
    for (const auto category :
         {UTF8PROC_CATEGORY_CC, UTF8PROC_CATEGORY_ZL, UTF8PROC_CATEGORY_ZP, UTF8PROC_CATEGORY_CS}) {
      if (property.category == category) return false;
    }
    for (const auto turn : {UTF8PROC_BIDI_CLASS_LRE, UTF8PROC_BIDI_CLASS_RLE,
                            UTF8PROC_BIDI_CLASS_LRO, UTF8PROC_BIDI_CLASS_RLO}) {
      if (property.bidi_class == turn) return false;
    }
    bytes += length;
    left -= length;
  }
  return true;
}

std::string wrong_with(std::string_view line, const std::string& input) {
  if (line.empty()) return "an empty message";
  if (line.size() > 1000) return fmt::format("a message of {} bytes", line.size());
  if (!shows_as_it_is(line)) return "a message that a terminal does not show as it is";
  // They begin with what no escaped byte ends with, so that \xfe and "ilesystem error" make none.
  // What the input itself says may stand in a line, with that line's own colon behind it.
  for (const std::string_view bare :
       {"[json.exception", " filesystem error:", " std::bad_", " basic_string::"}) {
    const std::string_view word = bare.substr(1, bare.find_last_not_of(':'));
    if (line.find(bare) != line.npos && input.find(word) == input.npos) {
      return "a message with a library's bare exception";
    }
  }
  return "";
}

// Options and variables are no file.
bool names_its_place(const Target& target, std::string_view line) {
  return target.read == command_line || target.read == slurm_hosts || line.find(kName) != line.npos;
}

}  // namespace

std::span<const Target> targets() { return kTargets; }

std::string finding(const Target& target, const std::string& input) {
  try {
    target.read(input);
  } catch (const UserError& error) {
    const std::string wrong = wrong_with(error.what(), input);
    if (!wrong.empty()) return fmt::format("{}: {}", wrong, error.what());
    if (names_its_place(target, error.what())) return "";
    return fmt::format("a message that does not name the file: {}", error.what());
  } catch (const Broken& promise) {
    return fmt::format("not so: {}", promise.what());
  } catch (const std::exception& error) {
    return fmt::format("another exception than UserError: {}", error.what());
  }
  return "";
}

}  // namespace trireme::fuzz
