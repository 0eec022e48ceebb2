// Reading adapter folders; adapter_write.cc writes them.
#include "model/adapter_io.h"

#include <ATen/ops/zeros.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "model/adapter_views.h"
#include "model/model_io.h"
#include "model/params.h"

namespace trireme::model {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kA = ".lora_A.weight", kB = ".lora_B.weight", kBBias = ".lora_B.bias",
                           kMagnitude = ".lora_magnitude_vector";
constexpr std::string_view kBaseLayer = ".base_layer";
constexpr const char* kConfig = "adapter_config.json";
constexpr const char* kTensors = "adapter_model.safetensors";

config::PeftConfig read_config(const std::string& folder) {
  std::error_code error;
  const std::string path = folder + "/" + kConfig;
  if (!fs::is_directory(folder, error)) {
    fail("--adapter {}: no such folder: give a PEFT adapter folder", folder);
  }
  if (!fs::exists(path, error)) {
    const bool model = fs::exists(folder + "/config.json", error);
    fail("--adapter {}: no {} in it: not a PEFT adapter folder{}", folder, kConfig,
         model ? ", but a model: give it as --model" : "");
  }
  return config::parse_peft_config(io::read_text(path), path);
}

std::string tensors_path(const std::string& folder) {
  std::error_code error;
  const std::string path = folder + "/" + kTensors;
  if (!fs::exists(path, error) && fs::exists(folder + "/adapter_model.bin", error)) {
    fail("{}/adapter_model.bin: not read: save the adapter as safetensors (PEFT's default)",
         folder);
  }
  return path;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// "model.layers.3.mlp.experts" -> 3; -1 where the name is not of that kind.
int64_t layer_of(const std::string& module) {
  static constexpr std::string_view kLayers = "model.layers.";
  if (!module.starts_with(kLayers)) return -1;
  int64_t layer = -1;
  const char* begin = module.data() + kLayers.size();
  const auto [end, error] = std::from_chars(begin, module.data() + module.size(), layer);
  return error == std::errc() && *end == '.' ? layer : -1;
}

// The model's tensors that may be trained whole, by name: all but the weights of linears.
std::set<std::string> whole_tensors(const config::ModelSpec& spec) {
  std::set<std::string> names = {"model.embed_tokens.weight", "lm_head.weight",
                                 "model.norm.weight"};
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    for (const layout::NamedShape& tensor : layout::layer_tensors(spec, layer)) {
      if (!layout::is_linear(tensor)) names.insert(tensor.name);
    }
  }
  return names;
}

// "base_model.model.<module>.base_layer.bias" -> "<module>.bias".
std::string base_tensor(const std::string& name) {
  std::string tensor = name.substr(kPrefix.size());
  const size_t at = tensor.rfind(kBaseLayer);
  return at == std::string::npos ? tensor : tensor.erase(at, kBaseLayer.size());
}

// What else a tensor's name says of where it comes from.
std::string hint(const std::string& name) {
  if (!name.starts_with(kPrefix)) {
    return "a tensor of PEFT begins with base_model.model.: save the adapter with PEFT's "
           "save_pretrained";
  }
  if (name.find(".lora_A.") != std::string::npos || name.find(".lora_B.") != std::string::npos) {
    const std::string end = name.substr(name.find(".lora_") + 8);
    if (end != "weight" && end != "bias") {
      return "it has an adapter's name in it, which PEFT's save_pretrained leaves out, and would "
             "leave the tensor out when it reads it: rename the tensors to ...lora_A.weight";
    }
  }
  if (name.find("lora_embedding_") != std::string::npos ||
      name.find("lm_head.lora_") != std::string::npos) {
    return "adapters of the embedding and the head are not built: merge the adapter with PEFT and "
           "give the merged model, or train them with modules_to_save";
  }
  if (name.find(".modules_to_save.") != std::string::npos) {
    return "PEFT saves modules_to_save without that part of the name: save the adapter with its "
           "save_pretrained";
  }
  return "";
}

}  // namespace

std::string peft_name(const layout::Adapters& adapters, const std::string& tensor) {
  std::string name = std::string(kPrefix) + tensor;
  const std::string module = layout::module_of(tensor);
  if (tensor.ends_with(".bias") && adapters.linears.contains(module)) {
    name.insert(kPrefix.size() + module.size(), kBaseLayer);
  }
  return name;
}

AdapterFolder::AdapterFolder(const std::string& folder, const config::ModelSpec& spec,
                             const io::WeightFiles* base)
    : path_(folder), spec_(spec), config_(read_config(folder)), file_(tensors_path(folder)) {
  find_tensors();
  check_targets();
  for (const std::string& name : whole_) add_whole(name, base);
  size_parameters();
  adapters_ = layout::place_adapters(spec_, config_.lora, sizes());
  check_shapes();
}

const io::TensorEntry* AdapterFolder::find(const std::string& name) const {
  const auto found = file_.entries().find(name);
  return found == file_.entries().end() ? nullptr : &found->second;
}

void AdapterFolder::refuse_tensor(const std::string& name, const std::string& why) const {
  fail("{}: tensor {} is not an adapter of a linear of this {} model with {} layers{}",
       file_.path(), name, config::family_name(spec_.family), spec_.layers,
       why.empty() ? "" : ": " + why);
}

// Sorts the file's tensors: adapters of linears and of 3-D parameters, and what is trained whole.
void AdapterFolder::find_tensors() {
  std::set<std::string> known;
  for (int64_t layer = 0; layer < spec_.layers; ++layer) {
    for (std::string& module : layout::layer_linears(spec_, layer)) known.insert(std::move(module));
  }
  const std::set<std::string> whole = whole_tensors(spec_);
  const std::string other =
      config_.base_model.empty() ? "" : "the adapter is of " + config_.base_model;
  for (const auto& [name, entry] : file_.entries()) {
    if (!name.starts_with(kPrefix)) refuse_tensor(name, hint(name));
    std::string_view end;
    for (const std::string_view one : {kA, kB, kBBias, kMagnitude}) {
      if (name.ends_with(one)) end = one;
    }
    if (end.empty()) {
      if (!whole.contains(base_tensor(name))) {
        refuse_tensor(name, hint(name).empty() ? other : hint(name));
      }
      whole_.push_back(name);
      continue;
    }
    const std::string module =
        name.substr(kPrefix.size(), name.size() - kPrefix.size() - end.size());
    if (known.contains(module)) {
      add_linear(name, module);
    } else if ((end == kA || end == kB) &&
               (module.ends_with(".mlp.experts") || module.ends_with(".mlp.experts.base_layer"))) {
      add_parameter(name, module);
    } else {
      refuse_tensor(name, hint(name).empty() ? other : hint(name));
    }
  }
  if (linears_.empty() && gate_up_.empty() && down_.empty()) {
    fail("{}: no adapter in it", file_.path());
  }
}

// What the configuration does not explain, PEFT leaves out with a warning.
void AdapterFolder::add_linear(const std::string& name, const std::string& module) {
  if (name.ends_with(kBBias) && !config_.lora.lora_bias) {
    refuse_tensor(name, fmt::format("lora_bias of {} is not true: set it", kConfig));
  }
  if (name.ends_with(kMagnitude) && !config_.lora.dora) {
    refuse_tensor(name, fmt::format("use_dora of {} is not true: set it", kConfig));
  }
  linears_.insert(module);
}

// An adapter of experts, that transformers 5 stores in another way, is found by its names alone.
void AdapterFolder::check_targets() const {
  const config::LoraSpec& lora = config_.lora;
  if (lora.target_modules.empty() && lora.target_pattern.empty()) return;
  const std::set<std::string> targets = layout::target_linears(spec_, lora);
  for (const std::string& module : linears_) {
    if (targets.contains(module) || module.find(".mlp.experts.") != std::string::npos) continue;
    refuse_tensor(
        std::string(kPrefix) + module + std::string(kA),
        fmt::format("target_modules, exclude_modules and layers_to_transform of {} do not "
                    "name it, and PEFT would leave it out: add it there",
                    kConfig));
  }
}

bool AdapterFolder::equals_base(const std::string& name, const std::string& tensor,
                                const io::WeightFiles& base) const {
  const bool embedding = tensor == "lm_head.weight" && base.find(tensor) == nullptr;
  const int64_t numel = spec_.vocab * spec_.hidden;
  const at::Tensor ours = read_param(
      base,
      {embedding ? "model.embed_tokens.weight" : tensor, {spec_.vocab, spec_.hidden}, 0, numel});
  const at::Tensor theirs = read_tensor(file_, name);
  return ours.to(theirs.scalar_type()).equal(theirs);
}

// A tensor that neither modules_to_save nor bias explains: PEFT's save_embedding_layers puts the
// embedding and the head beside an adapter, and reads them in the base's place.
void AdapterFolder::add_whole(const std::string& name, const io::WeightFiles* base) {
  const std::string tensor = base_tensor(name), module = layout::module_of(tensor);
  config::LoraSpec& lora = config_.lora;
  const bool bias = tensor.ends_with(".bias");
  if (bias ? lora.bias == config::LoraBias::kAll ||
                 (lora.bias == config::LoraBias::kLoraOnly && linears_.contains(module))
           : layout::is_saved(lora.modules_to_save, module)) {
    return;
  }
  const bool end = module == "lm_head" || module == "model.embed_tokens";
  if (!end || base == nullptr) {
    refuse_tensor(name, fmt::format("{} of {} does not name it: add it there",
                                    bias ? "bias" : "modules_to_save", kConfig));
  }
  check_tensor(name, {spec_.vocab, spec_.hidden});
  if (equals_base(name, tensor, *base)) {
    log("adapter {}: {} is equal to the model's: not read", path_, name);
    return;
  }
  if (spec_.tied && find(std::string(kPrefix) + "lm_head.weight") == nullptr) {
    refuse_tensor(name,
                  "it differs from the model's, whose head is the embedding: save the "
                  "adapter with lm_head too, or merge it with PEFT and give the merged model");
  }
  log("adapter {}: {} differs from the model's: read as one of modules_to_save", path_, name);
  lora.modules_to_save.push_back(layout::leaf_of(module));
}

layout::AdapterSizes AdapterFolder::sizes() const {
  const layout::SizeRules rules(config_.lora);
  layout::AdapterSizes sizes;
  for (const std::string& module : linears_) sizes[module] = rules.of(module);
  const auto add = [&](const Parameters& parameters, std::vector<std::string> parts) {
    for (const auto& [layer, parameter] : parameters) {
      layout::AdapterSize size = parameter.size;
      if (parameter.apart) {
        size.rank /= 2;
        size.alpha /= config_.lora.rslora ? std::sqrt(2.0) : 2.0;
      }
      for (int64_t e = 0; e < spec_.moe->experts; ++e) {
        for (const std::string& part : parts) {
          sizes[fmt::format("model.layers.{}.mlp.experts.{}.{}", layer, e, part)] = size;
        }
      }
    }
  };
  add(gate_up_, {"gate_proj", "up_proj"});
  add(down_, {"down_proj"});
  return sizes;
}

// Which of the two parameters this is: its inputs are as wide as the model or as an expert. Where
// those are the same, the inner one is gate_up_proj, and target_parameters identifies a single one.
void AdapterFolder::add_parameter(const std::string& name, const std::string& module) {
  const bool inner = module.ends_with(kBaseLayer);
  const std::string experts = inner ? module.substr(0, module.size() - kBaseLayer.size()) : module;
  const int64_t layer = layer_of(module);
  if (layer < 0 || layer >= spec_.layers || !spec_.sparse(layer) ||
      experts != fmt::format("model.layers.{}.mlp.experts", layer)) {
    fail("{}: tensor {}: this {} model has no experts there", file_.path(), name,
         config::family_name(spec_.family));
  }
  const std::string stem = std::string(kPrefix) + module;
  const Parameter parameter = {stem + std::string(kA), stem + std::string(kB)};
  const io::TensorEntry* a = find(parameter.a);
  bool gate_up = inner;
  if (spec_.hidden != spec_.moe->intermediate && a != nullptr && a->shape.size() == 2) {
    gate_up = a->shape[1] != spec_.moe->intermediate;
  } else if (find(std::string(kPrefix) + experts + ".base_layer.lora_A.weight") == nullptr) {
    gate_up = std::ranges::none_of(config_.target_parameters,
                                   [](const auto& name) { return name.ends_with("down_proj"); });
  }
  (gate_up ? gate_up_ : down_)[layer] = parameter;
}

void AdapterFolder::check_tensor(const std::string& name, const std::vector<int64_t>& shape) const {
  const io::TensorEntry* entry = find(name);
  if (entry == nullptr) {
    fail("{}: tensor {} {} is missing: save the adapter again", file_.path(), name,
         shape_text(shape));
  }
  const bool rows = entry->shape.size() == 2 && entry->shape[1] == spec_.hidden;
  if (entry->shape != shape && rows && shape.front() == spec_.vocab) {
    fail(
        "{}: tensor {} has {} rows, the model {}: resize the model with transformers "
        "(resize_token_embeddings({})), save it and give that",
        file_.path(), name, entry->shape[0], spec_.vocab, entry->shape[0]);
  }
  if (entry->shape != shape) {
    fail(
        "{}: tensor {} has shape {}, this model and the r of {} ask for {}: is the adapter of "
        "another model{}?",
        file_.path(), name, shape_text(entry->shape), kConfig, shape_text(shape),
        config_.base_model.empty() ? "" : " (" + config_.base_model + ")");
  }
  if (entry->dtype != io::DType::kF32 && entry->dtype != io::DType::kBF16 &&
      entry->dtype != io::DType::kF16) {
    fail("{}: tensor {}: dtype {} is not one of F32, BF16, F16", file_.path(), name,
         io::dtype_name(entry->dtype));
  }
}

// Whether a tensor of the layout is a part of a 3-D parameter in the file.
bool AdapterFolder::in_parameter(int64_t block, const std::string& tensor) const {
  if (tensor.find(".mlp.experts.") == std::string::npos) return false;
  const bool down = tensor.find(".down_proj.") != std::string::npos;
  return (down ? down_ : gate_up_).contains(block - layout::ModelLayout::layer(0));
}

void AdapterFolder::check_shapes() const {
  for (int64_t block = 0; block <= adapters_.layout.head(); ++block) {
    for (const layout::ParamInfo& info : adapters_.layout.blocks[block].params) {
      if (in_parameter(block, info.name)) continue;
      check_tensor(peft_name(adapters_, info.name), info.shape);
    }
  }
}

// Whether gate and up have ranks of their own: then B is zero where one would read the other's
// ranks. A B of zeros alone says nothing, but a rank that is twice r does.
bool AdapterFolder::gate_and_up_apart(const Parameter& parameter) const {
  if (parameter.size.rank % 2 != 0) return false;
  const int64_t width = spec_.moe->intermediate, r = parameter.size.rank / 2;
  const at::Tensor b = read_parameter(parameter).second;  // [E, 2F, R]
  const auto zero = [&](int64_t row, int64_t rank) {
    return !b.narrow(1, row, width).narrow(2, rank, r).ne(0).any().item<bool>();
  };
  if (!zero(0, r) || !zero(width, 0)) return false;
  return r == config_.lora.rank || !zero(0, 0) || !zero(width, r);
}

// Finds ranks and alphas of the 3-D parameters, as PEFT does, by their names.
void AdapterFolder::size_parameters() {
  const layout::SizeRules rules(config_.lora);
  for (auto& [layer, parameter] : gate_up_) {
    parameter.size = rules.of(fmt::format("model.layers.{}.mlp.experts.gate_up_proj", layer));
    const int64_t experts = spec_.moe->experts, rank = parameter.size.rank;
    check_tensor(parameter.a, {experts * rank, spec_.hidden});
    check_tensor(parameter.b, {2 * spec_.moe->intermediate, rank * experts});
    parameter.apart = gate_and_up_apart(parameter);
  }
  for (auto& [layer, parameter] : down_) {
    parameter.size = rules.of(fmt::format("model.layers.{}.mlp.experts.down_proj", layer));
    const int64_t experts = spec_.moe->experts, rank = parameter.size.rank;
    check_tensor(parameter.a, {experts * rank, spec_.moe->intermediate});
    check_tensor(parameter.b, {spec_.hidden, rank * experts});
  }
}

at::Tensor AdapterFolder::read(const std::string& name) const {
  return read_tensor(file_, name).to(at::kFloat);
}

// A [E, R, in] and B [E, out, R].
std::pair<at::Tensor, at::Tensor> AdapterFolder::read_parameter(const Parameter& parameter) const {
  const int64_t experts = spec_.moe->experts;
  const at::Tensor a = read(parameter.a), b = read(parameter.b);
  return {a.view({experts, -1, a.size(1)}), b.view({b.size(0), -1, experts}).permute({2, 0, 1})};
}

void AdapterFolder::load_gate_up(const Parameter& parameter, LinearAdapter adapter) const {
  const auto [a, b] = read_parameter(parameter);
  for (LinearAdapter::Part& part : adapter.parts) {
    const int64_t r = part.b.size(-1), first = parameter.apart ? part.first_rank : 0;
    adapter.a.narrow(1, part.first_rank, r).copy_(a.narrow(1, first, r));
    part.b.copy_(b.narrow(1, part.first_row, part.rows).narrow(2, first, r));
  }
}

void AdapterFolder::load_down(const Parameter& parameter, LinearAdapter adapter) const {
  const auto [a, b] = read_parameter(parameter);
  adapter.a.copy_(a);
  adapter.parts.front().b.copy_(b);
}

void AdapterFolder::load(std::vector<at::Tensor>& blocks) const {
  for (int64_t block = 0; block <= adapters_.layout.head(); ++block) {
    at::Tensor& flat = blocks[block];
    flat.zero_();
    for (const layout::ParamInfo& info : adapters_.layout.blocks[block].params) {
      if (in_parameter(block, info.name)) continue;
      param_view(flat, info).copy_(read(peft_name(adapters_, info.name)));
    }
    const int64_t layer = block - layout::ModelLayout::layer(0);
    const auto gate_up = gate_up_.find(layer), down = down_.find(layer);
    if (gate_up == gate_up_.end() && down == down_.end()) continue;
    const LayerAdapters views = layer_adapters(spec_, adapters_, layer, flat);
    if (gate_up != gate_up_.end()) load_gate_up(gate_up->second, views.expert_gate_up.adapter);
    if (down != down_.end()) load_down(down->second, views.expert_down.adapter);
  }
}

}  // namespace trireme::model
