// config.json -> ModelSpec. Where a key is absent the value is the one that transformers 5.17 would
// take, so that both programs see the same model in the same folder. Null counts as absent.
#include "config/model_spec.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <string_view>

#include "base/error.h"
#include "config/folder_kind.h"
#include "config/model_spec_keys.h"
#include "config/model_spec_table.h"

namespace trireme::config {
namespace {

// What transformers' configuration classes say where config.json is silent.
struct FamilyDefaults {
  Family family;
  const char* model_type;
  const char* architecture;
  int64_t kv_heads;  // 0: as many as heads
  int64_t head_dim;  // 0: hidden / heads
  int64_t max_position;
  std::vector<int64_t> eos_ids;
};

const std::vector<FamilyDefaults>& families() {
  static const std::vector<FamilyDefaults> list = {
      {Family::kLlama, "llama", "LlamaForCausalLM", 0, 0, 2048, {2}},
      {Family::kQwen2, "qwen2", "Qwen2ForCausalLM", 32, 0, 32768, {}},
      {Family::kQwen3, "qwen3", "Qwen3ForCausalLM", 32, 128, 32768, {}},
      {Family::kQwen3Moe, "qwen3_moe", "Qwen3MoeForCausalLM", 4, 0, 32768, {}},
  };
  return list;
}

[[noreturn]] void refuse_unknown(const Keys& keys, const char* key, const std::string& value) {
  std::string known;
  for (const FamilyDefaults& family : families()) {
    known +=
        fmt::format("{}{} ({})", known.empty() ? "" : ", ", family.architecture, family.model_type);
  }
  fail("{}: {} {} is not supported: trireme knows {}", keys.name(), key, value, known);
}

const FamilyDefaults& find_family(const Keys& keys) {
  const Json* architectures = keys.find("architectures");
  const std::string type = keys.text_or("model_type", "");
  const FamilyDefaults* found = nullptr;
  std::string architecture;
  if (architectures != nullptr && !architectures->empty()) {
    const Json& first = architectures->front();
    architecture = first.is_string() ? first.get<std::string>() : json_text(first);
  }
  if (architecture.empty() && type.empty()) {
    fail("{}: neither architectures nor model_type: is this a Hugging Face config.json?",
         keys.name());
  }
  for (const FamilyDefaults& family : families()) {
    if (architecture.empty() ? type == family.model_type : architecture == family.architecture) {
      found = &family;
    }
  }
  if (found == nullptr && !architecture.empty()) refuse_unknown(keys, "architecture", architecture);
  if (found == nullptr || (!type.empty() && type != found->model_type)) {
    refuse_unknown(keys, "model_type", type);
  }
  return *found;
}

// Where transformers' class takes no null.
void refuse_null(const Keys& keys, const char* key, const FamilyDefaults& family) {
  if (!keys.has(key) || keys.find(key) != nullptr) return;
  fail("{}: {} is null: a number is expected in {}", keys.name(), key, family.model_type);
}

void read_sizes(const Keys& keys, const FamilyDefaults& family, ModelSpec& spec) {
  spec.hidden = keys.size("hidden_size");
  spec.layers = keys.size("num_hidden_layers", 1 << 16);
  spec.heads = keys.size("num_attention_heads", 1 << 16);
  spec.vocab = keys.size("vocab_size");
  // A null key-head count means "as heads" where a missing one means the class's number.
  if (family.family == Family::kQwen3Moe) refuse_null(keys, "num_key_value_heads", family);
  const bool as_heads = family.kv_heads == 0 || keys.has("num_key_value_heads");
  spec.kv_heads =
      keys.size_or("num_key_value_heads", as_heads ? spec.heads : family.kv_heads, 1 << 16);
  if (spec.heads % spec.kv_heads != 0) {
    fail("{}: num_attention_heads {} is not a multiple of num_key_value_heads {}", keys.name(),
         spec.heads, spec.kv_heads);
  }
  if (family.head_dim > 0) refuse_null(keys, "head_dim", family);
  spec.head_dim = keys.size_or("head_dim", family.head_dim, 1 << 16);
  if (spec.head_dim == 0) {
    if (spec.hidden % spec.heads != 0) {
      fail("{}: hidden_size {} is not a multiple of num_attention_heads {}, and head_dim is absent",
           keys.name(), spec.hidden, spec.heads);
    }
    spec.head_dim = spec.hidden / spec.heads;
  }
  if (spec.head_dim % 2 != 0) {
    fail("{}: head_dim is {}: rotary embeddings need an even number", keys.name(), spec.head_dim);
  }
}

void read_scalars(const Keys& keys, const FamilyDefaults& family, ModelSpec& spec) {
  spec.max_position = keys.size_or("max_position_embeddings", family.max_position);
  spec.rms_norm_eps = keys.positive_or("rms_norm_eps", 1e-6);
  spec.tied = keys.flag_or("tie_word_embeddings", false);
  const std::string act = keys.text_or("hidden_act", "silu");
  if (act != "silu" && act != "swish") {
    fail("{}: hidden_act {} is not supported: trireme knows silu", keys.name(), act);
  }
  spec.dtype = keys.text_or("dtype", keys.text_or("torch_dtype", "float32"));
  if (spec.dtype.starts_with("torch.")) spec.dtype.erase(0, 6);
  if (spec.dtype != "float32" && spec.dtype != "bfloat16" && spec.dtype != "float16") {
    fail("{}: dtype {} is not supported: float32, bfloat16 or float16 is expected", keys.name(),
         spec.dtype);
  }
  spec.eos_ids = keys.has("eos_token_id") ? keys.ids("eos_token_id") : family.eos_ids;
}

void read_biases(const Keys& keys, ModelSpec& spec) {
  const bool everywhere = keys.flag_or("attention_bias", false);
  const bool qwen2 = spec.family == Family::kQwen2;
  spec.qkv_bias = qwen2 || everywhere;
  spec.o_bias = !qwen2 && everywhere;
  spec.mlp_bias = spec.family == Family::kLlama && keys.flag_or("mlp_bias", false);
  spec.qk_norm = spec.family == Family::kQwen3 || spec.family == Family::kQwen3Moe;
}

// layer_types decides in qwen2 and qwen3 where it is given; otherwise layers from max_window_layers
// on slide. qwen3_moe knows neither key: all its layers slide. llama never does.
void refuse_sliding_window(const Keys& keys, const ModelSpec& spec) {
  if (const Json* types = keys.find("layer_types")) {
    for (const Json& type : *types) {
      if (type != "full_attention") {
        fail("{}: layer_types has {}: trireme knows full_attention only", keys.name(),
             json_text(type));
      }
    }
    if (types->size() != static_cast<size_t>(spec.layers)) {
      fail("{}: layer_types has {} entries for {} layers", keys.name(), types->size(), spec.layers);
    }
    if (spec.family != Family::kQwen3Moe) return;
  }
  if (spec.family == Family::kLlama && keys.find("sliding_window") != nullptr) {
    fail(
        "{}: sliding_window is {}: in a llama transformers slides in its cache alone: set it to "
        "null",
        keys.name(), json_text(*keys.find("sliding_window")));
  }
  const bool no_window = keys.has("sliding_window") && keys.find("sliding_window") == nullptr;
  if (spec.family == Family::kLlama || !keys.flag_or("use_sliding_window", false) || no_window) {
    return;
  }
  const int64_t first =
      spec.family == Family::kQwen3Moe ? 0 : keys.integer_or("max_window_layers", 28, 0);
  if (first < spec.layers) {
    fail(
        "{}: use_sliding_window is true with a window of {} from layer {} on: trireme knows full "
        "attention only",
        keys.name(), keys.size_or("sliding_window", 4096), first);
  }
}

std::vector<bool> sparse_layers(const Keys& keys, int64_t layers) {
  const int64_t step = keys.size_or("decoder_sparse_step", 1);
  std::vector<bool> sparse(layers);
  for (int64_t i = 0; i < layers; ++i) sparse[i] = (i + 1) % step == 0;
  for (const int64_t dense : keys.ids("mlp_only_layers")) {
    if (dense < layers) sparse[dense] = false;
  }
  return sparse;
}

int64_t expert_count(const Keys& keys) {
  constexpr int64_t most = 1 << 16;
  const int64_t fallback = keys.integer_or("num_local_experts", 128, 0, most);
  const int64_t experts = keys.integer_or("num_experts", fallback, 0, most);
  if (keys.find("num_local_experts") != nullptr && experts != fallback) {
    fail("{}: num_experts {} and num_local_experts {} differ: remove one", keys.name(), experts,
         fallback);
  }
  return experts;
}

// transformers' Qwen3MoeForCausalLM adds router_aux_loss_coef times its load_balancing_loss_func to
// the loss where output_router_logits is true, and fails where no layer has a router.
void read_balance(const Keys& keys, ModelSpec& spec) {
  if (spec.family != Family::kQwen3Moe || !keys.flag_or("output_router_logits", false)) return;
  if (std::ranges::find(spec.sparse_layers, true) == spec.sparse_layers.end()) {
    fail("{}: output_router_logits is true, but no layer has experts: set it to false",
         keys.name());
  }
  spec.moe->balance_coefficient = keys.number_or("router_aux_loss_coef", 0.001);
}

// As torch's Embedding, which transformers gives pad_token_id as padding_idx: a negative number
// counts from the end.
void read_padding(const Keys& keys, ModelSpec& spec) {
  if (keys.find("pad_token_id") == nullptr) return;
  const int64_t id = keys.integer("pad_token_id", -Keys::kMostSize);
  if (id < -spec.vocab || id >= spec.vocab) {
    fail(
        "{}: pad_token_id {} is no row of the embedding, which has vocab_size {} of them: set it "
        "to null, or to a token below {}",
        keys.name(), id, spec.vocab, spec.vocab);
  }
  spec.padding_row = id < 0 ? id + spec.vocab : id;
}

void read_mlp(const Keys& keys, ModelSpec& spec) {
  spec.sparse_layers.assign(spec.layers, false);
  const int64_t experts = spec.family == Family::kQwen3Moe ? expert_count(keys) : 0;
  if (experts > 0) {
    MoeSpec moe;
    moe.experts = experts;
    moe.experts_per_token = keys.size_or("num_experts_per_tok", 8);
    moe.intermediate = keys.size_or("moe_intermediate_size", 768);
    moe.norm_topk_prob = keys.flag_or("norm_topk_prob", false);
    if (moe.experts_per_token > experts) {
      fail("{}: num_experts_per_tok {} exceeds num_experts {}", keys.name(), moe.experts_per_token,
           experts);
    }
    spec.moe = moe;
    spec.sparse_layers = sparse_layers(keys, spec.layers);
  }
  const bool all_sparse = std::ranges::find(spec.sparse_layers, false) == spec.sparse_layers.end();
  spec.intermediate =
      all_sparse ? keys.size_or("intermediate_size", 6144) : keys.size("intermediate_size");
}

// Sizes that pass one by one may still overflow 64 bits together.
void refuse_impossible_total(const Keys& keys, const ModelSpec& spec) {
  const auto c = static_cast<double>(spec.hidden);
  const auto width = static_cast<double>(
      spec.moe ? std::max(spec.moe->experts * spec.moe->intermediate, spec.intermediate)
               : spec.intermediate);
  const auto attention = static_cast<double>(spec.q_dim() + spec.kv_dim());
  const double total = 2.0 * static_cast<double>(spec.vocab) * c +
                       static_cast<double>(spec.layers) * c * (3 * width + 2 * attention);
  if (total > 1e15) {
    fail("{}: the sizes make a model of {:.1e} parameters: is one of them wrong?", keys.name(),
         total);
  }
}

}  // namespace

const char* family_name(Family family) {
  for (const FamilyDefaults& known : families()) {
    if (known.family == family) return known.model_type;
  }
  TRIREME_CHECK(false, "family {}", static_cast<int>(family));
}

ModelSpec parse_model_spec(const Json& json, const std::string& name,
                           const std::string& rope_scaling) {
  if (!json.is_object()) fail("{}: {} where an object is expected", name, json.type_name());
  const Keys keys(json, name);
  const FamilyDefaults& family = find_family(keys);
  ModelSpec spec;
  spec.notes = judge_model_keys(json, name, family.model_type);
  spec.family = family.family;
  spec.architecture = family.architecture;
  read_sizes(keys, family, spec);
  read_scalars(keys, family, spec);
  read_biases(keys, spec);
  const RopeModel model = {spec.head_dim, spec.max_position};
  spec.raw = rope_scaling.empty() ? json : with_rope_scaling(json, rope_scaling, model);
  const Keys final_keys(spec.raw, name);
  spec.rope = read_rope(final_keys, model);
  std::ranges::move(judge_rope_keys(rope_keys(final_keys), spec.rope.type),
                    std::back_inserter(spec.notes));
  refuse_sliding_window(keys, spec);
  read_mlp(keys, spec);
  read_balance(keys, spec);
  read_padding(keys, spec);
  refuse_impossible_total(keys, spec);
  if (const Json* quantization = keys.find("quantization_config")) {
    spec.fp8 = read_fp8(*quantization, name);
    spec.raw.erase("quantization_config");
    if (keys.find("dtype") == nullptr && keys.find("torch_dtype") == nullptr) {
      spec.dtype = "bfloat16";
    }
  }
  return spec;
}

std::string with_tagged_floats(std::string_view text) {
  constexpr std::string_view words[] = {"-Infinity", "Infinity", "NaN"};
  std::string tagged;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto word = std::ranges::find_if(
        words, [&](std::string_view each) { return text.substr(i).starts_with(each); });
    if (!in_string && word != std::end(words)) {
      tagged += fmt::format("{{\"__float__\": \"{}\"}}", *word);
      i += word->size() - 1;
      continue;
    }
    if (text[i] == '"') in_string = !in_string;
    tagged += text[i];
    if (in_string && text[i] == '\\' && i + 1 < text.size()) tagged += text[++i];
  }
  return tagged;
}

ModelSpec read_model_spec(const std::string& folder, const std::string& rope_scaling) {
  constexpr auto expected =
      "a Hugging Face model folder (config.json, *.safetensors, tokenizer.json) on this machine is "
      "expected";
  std::error_code error;
  if (!std::filesystem::exists(folder, error)) fail("{}: no such folder: {}", folder, expected);
  if (!std::filesystem::is_directory(folder, error)) fail("{}: a file: {}", folder, expected);
  const std::string path = (std::filesystem::path(folder) / "config.json").string();
  if (!std::filesystem::exists(path, error)) {
    const std::string other = other_folder(folder);
    fail("{}: no config.json: {}", folder, other.empty() ? expected : other);
  }
  const Json json = parse_json(with_tagged_floats(read_text(path)), path);
  return parse_model_spec(json, path, rope_scaling);
}

}  // namespace trireme::config
