#include "data/chat_template_known.h"

#include <vector>

namespace trireme::data {
namespace {

constexpr ChatTraits kChatMl = {.name = "chatml",
                                .open = "<|im_start|>",
                                .close_role = "",
                                .after_role = "\n",
                                .end = "<|im_end|>",
                                .after_end = "\n"};

constexpr ChatTraits chatml(std::string_view name, std::string_view default_system) {
  ChatTraits traits = kChatMl;
  traits.name = name;
  traits.default_system = default_system;
  return traits;
}

constexpr ChatTraits qwen3() {
  ChatTraits traits = chatml("qwen3", "");
  traits.hybrid_thinking = true;
  return traits;
}

constexpr ChatTraits llama3(std::string_view name, std::string_view preamble, bool always_prompt) {
  return {.name = name,
          .open = "<|start_header_id|>",
          .close_role = "<|end_header_id|>",
          .after_role = "\n\n",
          .end = "<|eot_id|>",
          .after_end = "",
          .preamble = preamble,
          .bos = true,
          .trim = true,
          .always_prompt = always_prompt};
}

constexpr ChatTraits kSmolLm2 =
    chatml("smollm2", "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
constexpr ChatTraits kQwen15 = chatml("qwen1.5", "You are a helpful assistant");
constexpr ChatTraits kQwen2 = chatml("qwen2", "You are a helpful assistant.");
constexpr ChatTraits kQwen25 =
    chatml("qwen2.5", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.");
constexpr ChatTraits kQwen25Base = chatml("qwen2.5-base", "You are a helpful assistant.");
constexpr ChatTraits kQwen3 = qwen3();
constexpr ChatTraits kQwen3Instruct = chatml("qwen3-instruct-2507", "");
constexpr ChatTraits kLlama3 = llama3("llama3", "", false);
constexpr ChatTraits kLlama3AlwaysPrompt = llama3("llama3-always-prompt", "", true);
// The date is the template's own default. Llama-3.2's takes the day of the run where the caller
// gives no date_string; here it is this one too, so that a run can be repeated.
constexpr ChatTraits kLlama31 =
    llama3("llama3.1", "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n", false);

struct Known {
  uint64_t hash;
  const ChatTraits* traits;
};

// One-line templates come with "\n" written as an escape or as a newline: two rows each.
constexpr Known kKnown[] = {
    {0xa41d6bae9b9141bc, &kChatMl},
    {0x88bf4138d5c826f0, &kChatMl},
    {0xc998f83df310787a, &kChatMl},  // of sample/tokenizer
    {0x09b5156a5cf6abfc, &kSmolLm2},
    {0x45ec583d4d25bc3a, &kSmolLm2},
    {0xaf82eb57e8662e59, &kQwen15},
    {0xc867da37c989d41f, &kQwen15},
    {0x75e88977b2787cd7, &kQwen2},
    {0x8a87094e0e1e24c5, &kQwen2},
    {0xe642ce246d7f2e3d, &kQwen25},
    {0x16bc91fc7006a16d, &kQwen25Base},
    {0x959a4551391a6549, &kQwen3},  // content may be absent
    {0x2bfdb7aa9754484e, &kQwen3},  // as first released
    {0x3751fe8ea48448ab, &kQwen3Instruct},
    {0x0e60067a5537498e, &kLlama3},
    {0xcd237c941bf36faa, &kLlama3},              // written for the tests of this program
    {0x74891e390e614ae2, &kLlama3AlwaysPrompt},  // as first released
    {0xc13a37a76b9060c1, &kLlama3AlwaysPrompt},  // written for the tests of this program
    {0xcc0368e1ffb6b958, &kLlama31},             // Llama-3.1 and 3.3
    {0x368f4c34b8554414, &kLlama31},             // Llama-3.2
    {0xd3fbedc21561e55e, &kLlama31},             // written for the tests of this program
};

}  // namespace

uint64_t template_hash(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3ULL;
  return hash;
}

const ChatTraits* find_template(uint64_t hash) {
  for (const Known& known : kKnown) {
    if (known.hash == hash) return known.traits;
  }
  return nullptr;
}

std::string known_templates() {
  std::string names;
  const ChatTraits* last = nullptr;
  for (const Known& known : kKnown) {
    if (known.traits == last) continue;
    last = known.traits;
    if (!names.empty()) names += ", ";
    names += known.traits->name;
  }
  return names;
}

}  // namespace trireme::data
