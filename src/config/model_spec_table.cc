// The rows. What becomes of a key by its row: model_spec_judge.cc.
#include "config/model_spec_table.h"

#include <algorithm>

namespace trireme::config {
namespace {

using enum ModelKeyFate;

constexpr std::string_view kCausalOnly = "another kind of model than a decoder of text";
constexpr std::string_view kTask = "heads for other tasks, which are not loaded";
constexpr std::string_view kOutput = "what Python's functions return";
constexpr std::string_view kSampling = "options of generate decide";
constexpr std::string_view kBook = "kept in the result, read by nobody";
constexpr std::string_view kKernels = "which kernels compute the same numbers";
constexpr std::string_view kDropout = "dropout within the model (adapters have --lora_dropout)";
constexpr std::string_view kStart = "starting values of weights that are not loaded";
constexpr std::string_view kFork = "the attention of another kind of model";

constexpr ModelKey kKeys[] = {
    // What model it is.
    {"architectures", kUsed, "which of the families"},
    {"model_type", kUsed, "which of the families"},
    {"vocab_size", kUsed, "rows of the embedding and the head"},
    {"hidden_size", kUsed, "width of the model"},
    {"num_hidden_layers", kUsed, "layers"},
    {"num_attention_heads", kUsed, "query heads"},
    {"num_key_value_heads", kUsed, "key and value heads; null: as many as query heads"},
    {"head_dim", kUsed, "size of a head; absent: hidden_size / num_attention_heads, in qwen3 128"},
    {"intermediate_size", kUsed, "width of dense MLPs"},
    {"hidden_act", kUsed, "`silu` or `swish`, which are one function; others are refused"},
    {"rms_norm_eps", kUsed, "epsilon of the norms"},
    {"tie_word_embeddings", kUsed, "whether the head is the embedding"},
    {"attention_bias", kUsed, "biases of q, k, v and o", "llama|qwen3|qwen3_moe"},
    {"mlp_bias", kUsed, "biases of the MLP", "llama"},
    {"max_position_embeddings", kUsed,
     "positions that the model knows: for a warning, and in some rope types"},
    {"dtype", kUsed, "of the result's weights: `float32`, `bfloat16` or `float16`"},
    {"torch_dtype", kUsed, "dtype in old files"},
    {"quantization_config", kUsed,
     "float8 with scales of blocks (fp8) is read; other methods are refused"},
    // Experts.
    {"num_experts", kUsed, "experts of a layer", "qwen3_moe"},
    {"num_local_experts", kUsed, "num_experts in files of transformers 5", "qwen3_moe"},
    {"num_experts_per_tok", kUsed, "experts for each token", "qwen3_moe"},
    {"moe_intermediate_size", kUsed, "width of an expert", "qwen3_moe"},
    {"norm_topk_prob", kUsed, "whether weights of the chosen experts add up to 1", "qwen3_moe"},
    {"decoder_sparse_step", kUsed, "which layers have experts", "qwen3_moe"},
    {"mlp_only_layers", kUsed, "layers without experts", "qwen3_moe"},
    {"output_router_logits", kUsed, "whether the router's loss is trained", "qwen3_moe"},
    {"router_aux_loss_coef", kUsed, "weight of the router's loss", "qwen3_moe"},
    // Attention.
    {"use_sliding_window", kUsed, "refused if a layer slides", "qwen2|qwen3|qwen3_moe"},
    {"sliding_window", kUsed, "as use_sliding_window", "qwen2|qwen3|qwen3_moe"},
    {"max_window_layers", kUsed, "as use_sliding_window", "qwen2|qwen3|qwen3_moe"},
    {"layer_types", kUsed, "`full_attention` for each layer; others are refused"},
    {"attention_dropout", kNeutral, kDropout, "0"},
    {"is_causal", kNeutral, "attention in both directions", "true"},
    {"use_bidirectional_attention", kNeutral, "attention in both directions", "false"},
    {"attention_chunk_size", kNeutral, kFork},
    {"num_kv_shared_layers", kNeutral, kFork, "0"},
    {"dual_chunk_attention_config", kNeutral, "attention in chunks (transformers ignores the key)"},
    {"pruned_heads", kNeutral, "heads that are left out"},
    // Rope.
    {"rope_theta", kUsed, "base of the rotation"},
    {"rope_scaling", kUsed, "the rotation; wins over rope_parameters"},
    {"rope_parameters", kUsed, "the rotation, as transformers 5 writes it"},
    {"partial_rotary_factor", kNeutral, "heads that are rotated in part", "1"},
    {"original_max_position_embeddings", kUsed,
     "positions before scaling; wins over that in rope_parameters"},
    {"rope_parameters.rope_type", kUsed,
     "`default`, `linear`, `dynamic`, `yarn`, `longrope` or `llama3`"},
    {"rope_parameters.type", kUsed, "rope_type in old files"},
    {"rope_parameters.rope_theta", kUsed, "base of the rotation; wins over that outside"},
    {"rope_parameters.partial_rotary_factor", kNeutral, "heads that are rotated in part", "1"},
    {"rope_parameters.factor", kUsed, "how many times longer",
     "linear|dynamic|yarn|longrope|llama3"},
    {"rope_parameters.original_max_position_embeddings", kUsed,
     "positions before scaling; absent: max_position_embeddings", "yarn|longrope|llama3"},
    {"rope_parameters.attention_factor", kUsed, "multiplies cosines and sines", "yarn|longrope"},
    {"rope_parameters.beta_fast", kUsed, "rotations above which nothing is scaled", "yarn"},
    {"rope_parameters.beta_slow", kUsed, "rotations below which all is scaled", "yarn"},
    {"rope_parameters.truncate", kUsed, "whether those bounds are whole dimensions", "yarn"},
    {"rope_parameters.mscale", kUsed, "of the attention factor", "yarn"},
    {"rope_parameters.mscale_all_dim", kUsed, "of the attention factor", "yarn"},
    {"rope_parameters.short_factor", kUsed, "for documents within the original positions",
     "longrope"},
    {"rope_parameters.long_factor", kUsed, "for documents beyond them", "longrope"},
    {"rope_parameters.low_freq_factor", kUsed, "wavelengths that are scaled", "llama3"},
    {"rope_parameters.high_freq_factor", kUsed, "wavelengths that are not", "llama3"},
    {"rope_parameters.finetuned", kHarmless, kBook},
    {"rope_parameters.max_position_embeddings", kHarmless, "that outside is read"},
    // Tokens.
    {"eos_token_id", kUsed, "where generate stops"},
    {"pad_token_id", kUsed, "whose row of the embedding gets no gradient from the lookup"},
    {"bos_token_id", kHarmless, "the tokenizer decides"},
    {"sep_token_id", kHarmless, "the tokenizer decides"},
    {"cls_token_id", kHarmless, "the tokenizer decides"},
    {"unk_token_id", kHarmless, "the tokenizer decides"},
    {"tokenizer_class", kHarmless, "the tokenizer decides"},
    {"prefix", kHarmless, kSampling},
    {"decoder_start_token_id", kHarmless, "for encoder-decoders"},
    // Other kinds of models.
    {"is_encoder_decoder", kNeutral, kCausalOnly, "false"},
    {"is_decoder", kHarmless, "all four families are decoders"},
    {"add_cross_attention", kNeutral, kCausalOnly, "false"},
    {"cross_attention_hidden_size", kNeutral, kCausalOnly},
    {"tie_encoder_decoder", kNeutral, kCausalOnly, "false"},
    {"per_layer_config", kNeutral, "layers that differ from each other"},
    {"configuration_files", kNeutral, "a configuration in another file"},
    {"transformers_weights", kNeutral, "weights in files of other names"},
    {"fusion_config", kNeutral, "modules that are joined"},
    {"chunk_size_feed_forward", kHarmless, "the same numbers in parts"},
    {"pretraining_tp", kHarmless, "the same numbers in parts"},
    {"auto_map", kHarmless, "code of the model's own, which is never run"},
    // Training only.
    {"hidden_dropout", kNeutral, kDropout, "0"},
    {"hidden_dropout_prob", kNeutral, kDropout, "0"},
    {"attention_probs_dropout_prob", kNeutral, kDropout, "0"},
    {"resid_pdrop", kNeutral, kDropout, "0"},
    {"embd_pdrop", kNeutral, kDropout, "0"},
    {"attn_pdrop", kNeutral, kDropout, "0"},
    {"dropout", kNeutral, kDropout, "0"},
    {"residual_dropout", kNeutral, kDropout, "0"},
    {"embedding_dropout", kNeutral, kDropout, "0"},
    {"ffn_dropout", kNeutral, kDropout, "0"},
    {"activation_dropout", kNeutral, kDropout, "0"},
    {"layerdrop", kNeutral, "layers that are left out at random", "0"},
    {"router_jitter_noise", kNeutral, "noise in the router", "0"},
    {"classifier_dropout", kHarmless, kTask},
    {"loss_type", kNeutral, "another loss than that of the next token", "\"ForCausalLM\""},
    {"initializer_range", kHarmless, kStart},
    {"initializer_factor", kHarmless, kStart},
    {"init_std", kHarmless, kStart},
    {"gradient_checkpointing", kHarmless, "the plan decides what is recomputed"},
    {"use_cache", kHarmless, "training has no cache, generate has one"},
    {"cache_implementation", kHarmless, kSampling},
    // Python.
    {"attn_implementation", kHarmless, kKernels},
    {"_attn_implementation", kHarmless, kKernels},
    {"_attn_implementation_autoset", kHarmless, kKernels},
    {"_flash_attn_2_enabled", kHarmless, kKernels},
    {"experts_implementation", kHarmless, kKernels},
    {"output_attentions", kHarmless, kOutput},
    {"output_hidden_states", kHarmless, kOutput},
    {"output_scores", kHarmless, kOutput},
    {"return_dict", kHarmless, kOutput},
    {"return_dict_in_generate", kHarmless, kOutput},
    {"use_return_dict", kHarmless, kOutput},
    {"torchscript", kHarmless, kOutput},
    {"use_bfloat16", kHarmless, kBook},
    {"tf_legacy_loss", kHarmless, "of TensorFlow"},
    {"transformers_version", kHarmless, kBook},
    {"_name_or_path", kHarmless, kBook},
    {"name_or_path", kHarmless, kBook},
    {"_commit_hash", kHarmless, kBook},
    {"unsloth_fixed", kHarmless, kBook},
    {"unsloth_version", kHarmless, kBook},
    {"finetuning_task", kHarmless, kBook},
    // Other tasks.
    {"id2label", kHarmless, kTask},
    {"label2id", kHarmless, kTask},
    {"num_labels", kHarmless, kTask},
    {"problem_type", kHarmless, kTask},
    {"task_specific_params", kHarmless, kTask},
    // Generation, which transformers takes out of config.json.
    {"max_length", kHarmless, kSampling},
    {"min_length", kHarmless, kSampling},
    {"do_sample", kHarmless, kSampling},
    {"temperature", kHarmless, kSampling},
    {"top_k", kHarmless, kSampling},
    {"top_p", kHarmless, kSampling},
    {"typical_p", kHarmless, kSampling},
    {"epsilon_cutoff", kHarmless, kSampling},
    {"eta_cutoff", kHarmless, kSampling},
    {"repetition_penalty", kHarmless, kSampling},
    {"encoder_repetition_penalty", kHarmless, kSampling},
    {"length_penalty", kHarmless, kSampling},
    {"exponential_decay_length_penalty", kHarmless, kSampling},
    {"diversity_penalty", kHarmless, kSampling},
    {"no_repeat_ngram_size", kHarmless, kSampling},
    {"encoder_no_repeat_ngram_size", kHarmless, kSampling},
    {"early_stopping", kHarmless, kSampling},
    {"num_beams", kHarmless, kSampling},
    {"num_beam_groups", kHarmless, kSampling},
    {"num_return_sequences", kHarmless, kSampling},
    {"bad_words_ids", kHarmless, kSampling},
    {"suppress_tokens", kHarmless, kSampling},
    {"begin_suppress_tokens", kHarmless, kSampling},
    {"forced_bos_token_id", kHarmless, kSampling},
    {"forced_eos_token_id", kHarmless, kSampling},
    {"remove_invalid_values", kHarmless, kSampling},
    {"num_assistant_tokens", kHarmless, kSampling},
    {"num_assistant_tokens_schedule", kHarmless, kSampling},
    {"assistant_confidence_threshold", kHarmless, kSampling},
    {"assistant_lookbehind", kHarmless, kSampling},
    {"target_lookbehind", kHarmless, kSampling},
};

}  // namespace

std::span<const ModelKey> model_keys() { return kKeys; }

const ModelKey* find_model_key(std::string_view path) {
  const auto found = std::ranges::find(kKeys, path, &ModelKey::path);
  return found == std::end(kKeys) ? nullptr : found;
}

}  // namespace trireme::config
