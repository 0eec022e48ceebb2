#include "config/folder_keys.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"

namespace trireme::config {
namespace {

using enum ModelKeyFate;

constexpr std::string_view kBeams = "of beam search, which is named by num_beams";
constexpr std::string_view kSpeed = "how fast, not which tokens";
constexpr std::string_view kDraft = "of a draft model, which changes no token";
constexpr std::string_view kOutput = "what Python's functions return";
constexpr std::string_view kBook = "kept in the result, read by nobody";
constexpr std::string_view kEncoder = "for encoder-decoders";
constexpr std::string_view kLength = "--max_length decides";
constexpr std::string_view kToken = "a special token";
constexpr std::string_view kPadding = "nothing is padded or cut by the tokenizer";

constexpr ModelKey kGeneration[] = {
    {"eos_token_id", kUsed, "where generate stops"},
    {"do_sample", kUsed, "false: as temperature 0; absent: --temperature decides"},
    {"temperature", kUsed, "as the option"},
    {"top_k", kUsed, "as the option"},
    {"top_p", kUsed, "as the option"},
    {"repetition_penalty", kUsed, "as the option"},
    {"max_new_tokens", kUsed, "as the option"},
    {"max_length", kNeutral, "a bound for prompt and answer together", "20"},
    {"min_length", kNeutral, "a least length"},
    {"min_new_tokens", kNeutral, "a least length"},
    {"max_time", kNeutral, "an end by the clock"},
    {"stop_strings", kNeutral, "an end at a text"},
    {"num_beams", kNeutral, "beam search", "1"},
    {"num_beam_groups", kNeutral, "beam search", "1"},
    {"diversity_penalty", kNeutral, "beam search"},
    {"constraints", kNeutral, "beam search"},
    {"force_words_ids", kNeutral, "beam search"},
    {"penalty_alpha", kNeutral, "contrastive search"},
    {"dola_layers", kNeutral, "contrast of layers"},
    {"min_p", kNeutral, "another choice of tokens"},
    {"top_h", kNeutral, "another choice of tokens", "1.0"},
    {"typical_p", kNeutral, "another choice of tokens", "1.0"},
    {"epsilon_cutoff", kNeutral, "another choice of tokens"},
    {"eta_cutoff", kNeutral, "another choice of tokens"},
    {"no_repeat_ngram_size", kNeutral, "words that may not come again"},
    {"encoder_no_repeat_ngram_size", kNeutral, "words that may not come again"},
    {"encoder_repetition_penalty", kNeutral, "a penalty for other words than the prompt's", "1.0"},
    {"bad_words_ids", kNeutral, "tokens that are left out"},
    {"suppress_tokens", kNeutral, "tokens that are left out"},
    {"begin_suppress_tokens", kNeutral, "tokens that are left out"},
    {"sequence_bias", kNeutral, "tokens that are preferred"},
    {"forced_bos_token_id", kNeutral, "a token that is forced"},
    {"forced_eos_token_id", kNeutral, "a token that is forced"},
    {"forced_decoder_ids", kNeutral, "a token that is forced"},
    {"exponential_decay_length_penalty", kNeutral, "a preference for short answers"},
    {"guidance_scale", kNeutral, "guidance by a second prompt", "1"},
    {"watermarking_config", kNeutral, "a watermark"},
    {"token_healing", kNeutral, "another end of the prompt"},
    {"num_return_sequences", kNeutral, "several answers", "1"},
    {"length_penalty", kHarmless, kBeams},
    {"early_stopping", kHarmless, kBeams},
    {"renormalize_logits", kHarmless, "the same probabilities"},
    {"remove_invalid_values", kHarmless, "for logits that are not finite"},
    {"bos_token_id", kHarmless, "the tokenizer decides"},
    {"pad_token_id", kHarmless, "one answer has no padding"},
    {"decoder_start_token_id", kHarmless, kEncoder},
    {"use_cache", kHarmless, kSpeed},
    {"cache_implementation", kHarmless, kSpeed},
    {"cache_config", kHarmless, kSpeed},
    {"max_cache_len", kHarmless, kSpeed},
    {"low_memory", kHarmless, kSpeed},
    {"compile_config", kHarmless, kSpeed},
    {"disable_compile", kHarmless, kSpeed},
    {"prefill_chunk_size", kHarmless, kSpeed},
    {"continuous_batching_config", kHarmless, kSpeed},
    {"use_mtp", kHarmless, kDraft},
    {"is_assistant", kHarmless, kDraft},
    {"num_assistant_tokens", kHarmless, kDraft},
    {"num_assistant_tokens_schedule", kHarmless, kDraft},
    {"assistant_confidence_threshold", kHarmless, kDraft},
    {"assistant_early_exit", kHarmless, kDraft},
    {"assistant_lookbehind", kHarmless, kDraft},
    {"assistant_ensemble_weight", kNeutral, "a mixture with a draft model"},
    {"target_lookbehind", kHarmless, kDraft},
    {"prompt_lookup_num_tokens", kHarmless, kDraft},
    {"max_matching_ngram_size", kHarmless, kDraft},
    {"speculation_type", kHarmless, kDraft},
    {"output_attentions", kHarmless, kOutput},
    {"output_hidden_states", kHarmless, kOutput},
    {"output_scores", kHarmless, kOutput},
    {"output_logits", kHarmless, kOutput},
    {"return_dict_in_generate", kHarmless, kOutput},
    {"transformers_version", kHarmless, kBook},
    {"_from_model_config", kHarmless, kBook},
    {"_commit_hash", kHarmless, kBook},
    {"trust_remote_code", kHarmless, "no code of the model's own is run"},
    {"chat_format", kHarmless, "of the first Qwen's own code"},
    {"max_window_size", kHarmless, "of the first Qwen's own code"},
};

constexpr ModelKey kTokenizer[] = {
    {"tokenizer_class", kUsed, "which parts are built in code, see docs/data.md"},
    {"added_tokens_decoder", kUsed, "tokens with their ids and flags"},
    {"bos_token", kUsed, kToken},
    {"eos_token", kUsed, kToken},
    {"unk_token", kUsed, kToken},
    {"sep_token", kUsed, kToken},
    {"pad_token", kUsed, kToken},
    {"cls_token", kUsed, kToken},
    {"mask_token", kUsed, kToken},
    {"extra_special_tokens", kUsed, "special tokens, a list or an object of names"},
    {"additional_special_tokens", kUsed, "extra_special_tokens in old files"},
    {"chat_template", kUsed, "a text, or a list of named ones"},
    {"add_prefix_space", kUsed, "of the classes that are built in code"},
    {"legacy", kUsed, "of LlamaTokenizer: whether each part of a text gets a space before it"},
    {"split_special_tokens", kNeutral, "special tokens that are read as text", "false"},
    {"fix_mistral_regex", kNeutral, "another pattern than that of tokenizer.json", "false"},
    {"clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", kNeutral,
     "another text of tokens", "false"},
    {"add_bos_token", kHarmless, "beside a tokenizer.json its post-processor decides"},
    {"add_eos_token", kHarmless, "beside a tokenizer.json its post-processor decides"},
    {"clean_up_tokenization_spaces", kHarmless, "transformers 5 passes it over for BPE"},
    {"spaces_between_special_tokens", kHarmless, "of tokenizers in Python"},
    {"model_max_length", kHarmless, kLength},
    {"max_len", kHarmless, kLength},
    {"max_length", kHarmless, kLength},
    {"stride", kHarmless, kPadding},
    {"padding_side", kHarmless, kPadding},
    {"truncation_side", kHarmless, kPadding},
    {"truncation_strategy", kHarmless, kPadding},
    {"pad_to_multiple_of", kHarmless, kPadding},
    {"pad_token_type_id", kHarmless, kPadding},
    {"model_input_names", kHarmless, kOutput},
    {"return_token_type_ids", kHarmless, kOutput},
    {"trim_offsets", kHarmless, "of positions, not of ids"},
    {"errors", kHarmless, "ill-formed bytes become U+FFFD, as in tokenizers"},
    {"auto_map", kHarmless, "no code of the model's own is run"},
    {"sp_model_kwargs", kHarmless, "of tokenizer.model, which is not read"},
    {"use_default_system_prompt", kHarmless, "the chat template decides"},
    {"default_system_message", kHarmless, "the chat template decides"},
    {"response_schema", kHarmless, "for answers that Python reads"},
    {"response_template", kHarmless, "for answers that Python reads"},
    {"processor_class", kHarmless, kBook},
    {"name_or_path", kHarmless, kBook},
    {"tokenizer_file", kHarmless, kBook},
    {"vocab_file", kHarmless, kBook},
    {"merges_file", kHarmless, kBook},
    {"special_tokens_map_file", kHarmless, kBook},
    {"tokenizer_type", kHarmless, kBook},
    {"transformers_version", kHarmless, kBook},
    {"from_slow", kHarmless, kBook},
    {"use_fast", kHarmless, kBook},
    {"is_local", kHarmless, kBook},
    {"local_files_only", kHarmless, kBook},
    {"backend", kHarmless, kBook},
    {"init_inputs", kHarmless, kBook},
    {"verbose", kHarmless, kBook},
    {"device_map", kHarmless, kBook},
    {"_commit_hash", kHarmless, kBook},
};

}  // namespace

std::span<const ModelKey> generation_keys() { return kGeneration; }
std::span<const ModelKey> tokenizer_keys() { return kTokenizer; }

const ModelKey* find_key(std::span<const ModelKey> rows, std::string_view path) {
  const auto found = std::ranges::find(rows, path, &ModelKey::path);
  return found == rows.end() ? nullptr : &*found;
}

std::string judge_tokenizer_keys(const Json& settings, const std::string& name) {
  std::vector<std::string> unknown;
  for (const auto& [key, value] : settings.items()) {
    const ModelKey* row = find_key(kTokenizer, key);
    if (row == nullptr) {
      // A name of the model's own for a special token.
      const bool token = key.ends_with("_token") && value.is_string();
      if (!token && !is_nothing(value)) unknown.push_back(escaped(shortened(key, 60)));
    } else if (row->fate == ModelKeyFate::kNeutral && !is_neutral(*row, value)) {
      fail("{}: {} is {}: {}, which is not built: set it to {} to do without", name, key,
           json_text(value), row->text, row->scope);
    }
  }
  if (unknown.empty()) return "";
  return fmt::format("{}: keys that are not known, and have no effect: {}", name,
                     listed_keys(unknown));
}

}  // namespace trireme::config
