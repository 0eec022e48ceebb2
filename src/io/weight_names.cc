#include "io/weight_names.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"

namespace trireme::io {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kBetween[] = {"_orig_mod.", "_fsdp_wrapped_module.",
                                         "_checkpoint_wrapped_module."};
constexpr std::string_view kBefore[] = {"module.", "base_model.", "language_model.", "model."};
constexpr std::string_view kAnchor = "layers.0.input_layernorm.weight";  // every decoder has it
constexpr std::string_view kDecoder = "model.", kHead = "lm_head.";
constexpr std::string_view kOfDecoder[] = {"embed_tokens.", "layers.", "norm."};

// "a." of "a.b.c"; "" of a name without a point.
std::string_view first_part(std::string_view name) { return name.substr(0, name.find('.') + 1); }

template <typename Parts>
bool has(const Parts& parts, std::string_view part) {
  return std::ranges::find(parts, part) != std::end(parts);
}

std::string without_wrappers(std::string_view name) {
  std::string bare;
  while (name.find('.') != std::string_view::npos) {
    const std::string_view part = first_part(name);
    if (!has(kBetween, part)) bare += part;
    name.remove_prefix(part.size());
  }
  return bare.append(name);
}

// What follows the holders of a model.
std::string_view without_holders(std::string_view name) {
  while (has(kBefore, first_part(name))) name.remove_prefix(first_part(name).size());
  return name;
}

// Whether the last parts of a name are these.
bool ends_so(std::string_view name, std::string_view end) {
  return name == end || (name.ends_with(end) && name[name.size() - end.size() - 1] == '.');
}

// What stands before the decoder's parts, in the names without wrappers.
std::string decoder_prefix(const std::vector<std::string>& stored, const std::string& folder) {
  const std::string* found = nullptr;
  for (const std::string& name : stored) {
    if (!ends_so(without_wrappers(name), kAnchor)) continue;
    if (found != nullptr) {
      fail("{}: holds two decoders: tensors {} and {}: save the one that is to be trained alone",
           folder, *found, name);
    }
    found = &name;
  }
  if (found == nullptr) return std::string(kDecoder);
  std::string prefix = without_wrappers(*found);
  prefix.resize(prefix.size() - kAnchor.size());
  if (without_holders(prefix).empty()) return prefix;
  fail(
      "{}: its tensors are named as {}: known are model.*, and these behind module., base_model., "
      "language_model., model. or _orig_mod.: rename them, or save the model itself with "
      "save_pretrained",
      folder, *found);
}

}  // namespace

std::map<std::string, std::string> standard_names(const std::vector<std::string>& stored,
                                                  const std::string& folder) {
  const std::string prefix = decoder_prefix(stored, folder);
  std::map<std::string, std::string> renamed, taken;
  for (const std::string& name : stored) {
    std::string standard = without_wrappers(name);
    if (const std::string_view rest = without_holders(standard); rest.starts_with(kHead)) {
      standard = std::string(rest);
    } else if (standard.starts_with(prefix)) {
      standard = std::string(kDecoder) + standard.substr(prefix.size());
    } else if (prefix == kDecoder && has(kOfDecoder, first_part(standard))) {
      standard = std::string(kDecoder) + standard;
    } else if (prefix != kDecoder) {
      fail(
          "{}: its tensors begin with {}, but {} does not: a folder with more than the language "
          "model: save that alone",
          folder, prefix, name);
    }
    const auto [at, added] = taken.emplace(standard, name);
    if (!added) {
      fail("{}: tensors {} and {} are both {}: remove one of them", folder, at->second, name,
           standard);
    }
    if (standard != name) renamed.emplace(name, standard);
  }
  return renamed;
}

}  // namespace trireme::io
