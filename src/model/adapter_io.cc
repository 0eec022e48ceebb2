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
#include "model/adapter_views.h"
#include "model/model_io.h"
#include "model/params.h"

namespace trireme::model {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kA = ".lora_A.weight", kB = ".lora_B.weight";
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

// Copies to the first rows and columns of `to`, and makes the rest zero: a larger rank of zeros is
// the same adapter.
void copy_padded(const at::Tensor& from, at::Tensor to) {
  if (!from.sizes().equals(to.sizes())) to.zero_();
  for (int64_t i = 0; i < from.dim(); ++i) to = to.narrow(i, 0, from.size(i));
  to.copy_(from);
}

}  // namespace

AdapterFolder::AdapterFolder(const std::string& folder, const config::ModelSpec& spec)
    : path_(folder), spec_(spec), config_(read_config(folder)), file_(tensors_path(folder)) {
  find_tensors();
  check_shapes();
  settle_rank();
}

const io::TensorEntry* AdapterFolder::find(const std::string& name) const {
  const auto found = file_.entries().find(name);
  return found == file_.entries().end() ? nullptr : &found->second;
}

// Sorts the file's tensors into adapters of linears and of 3-D parameters, and makes the layout
// that has them all.
void AdapterFolder::find_tensors() {
  std::set<std::string> known;
  for (int64_t layer = 0; layer < spec_.layers; ++layer) {
    for (std::string& module : layout::layer_linears(spec_, layer)) known.insert(std::move(module));
  }
  std::set<std::string> found;
  for (const auto& [name, entry] : file_.entries()) {
    const std::string_view end = name.ends_with(kA) ? kA : kB;
    const std::string module =
        name.starts_with(kPrefix) && name.ends_with(end)
            ? name.substr(kPrefix.size(), name.size() - kPrefix.size() - end.size())
            : "";
    if (known.contains(module)) {
      found.insert(module);
    } else if (module.ends_with(".mlp.experts") || module.ends_with(".mlp.experts.base_layer")) {
      add_parameter(name, module);
    } else {
      fail("{}: tensor {} is not an adapter of a linear of this {} model with {} layers{}",
           file_.path(), name, config::family_name(spec_.family), spec_.layers,
           config_.base_model.empty() ? "" : ": the adapter is of " + config_.base_model);
    }
  }
  for (const auto& [parameters, parts] :
       {std::pair(&gate_up_, std::vector<std::string>{"gate_proj", "up_proj"}),
        std::pair(&down_, std::vector<std::string>{"down_proj"})}) {
    for (const auto& [layer, parameter] : *parameters) {
      for (int64_t e = 0; e < spec_.moe->experts; ++e) {
        for (const std::string& part : parts) {
          found.insert(fmt::format("model.layers.{}.mlp.experts.{}.{}", layer, e, part));
        }
      }
    }
  }
  if (found.empty()) fail("{}: no adapter in it", file_.path());
  config_.lora.target_modules = targets({found.begin(), found.end()});
  adapters_ = layout::make_adapters(spec_, config_.lora);
}

// Which of the two parameters this is: its inputs are as wide as the model or as an expert. Where
// those are the same, the inner one is gate_up_proj, and target_parameters identifies a single one.
void AdapterFolder::add_parameter(const std::string& name, const std::string& module) {
  static constexpr std::string_view kBase = ".base_layer";
  const bool inner = module.ends_with(kBase);
  const std::string experts = inner ? module.substr(0, module.size() - kBase.size()) : module;
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

// The fewest names that mean these modules: the last part where all that end so are adapted.
std::vector<std::string> AdapterFolder::targets(const std::vector<std::string>& modules) const {
  const auto leaf = [](const std::string& module) { return module.substr(module.rfind('.') + 1); };
  std::map<std::string, int64_t> missing;  // by leaf: linears without an adapter
  for (int64_t layer = 0; layer < spec_.layers; ++layer) {
    for (const std::string& module : layout::layer_linears(spec_, layer)) ++missing[leaf(module)];
  }
  for (const std::string& module : modules) --missing[leaf(module)];
  std::vector<std::string> list;
  for (const std::string& module : modules) {
    const std::string target = missing[leaf(module)] == 0 ? leaf(module) : module;
    if (std::ranges::find(list, target) == list.end()) list.push_back(target);
  }
  return list;
}

void AdapterFolder::check_tensor(const std::string& name, const std::vector<int64_t>& shape) const {
  const io::TensorEntry* entry = find(name);
  if (entry == nullptr) {
    fail("{}: tensor {} {} is missing: save the adapter again", file_.path(), name,
         shape_text(shape));
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

void AdapterFolder::check_shapes() const {
  for (int64_t layer = 0; layer < spec_.layers; ++layer) {
    for (const layout::ParamInfo& info :
         adapters_.layout.blocks[layout::ModelLayout::layer(layer)].params) {
      const bool expert = info.name.find(".mlp.experts.") != std::string::npos;
      const bool down = info.name.find(".down_proj.") != std::string::npos;
      if (expert && (down ? down_ : gate_up_).contains(layer)) continue;
      check_tensor(std::string(kPrefix) + info.name, info.shape);
    }
  }
  if (!spec_.moe) return;
  const int64_t experts = spec_.moe->experts, width = spec_.moe->intermediate;
  for (const auto& [layer, parameter] : gate_up_) {
    check_tensor(parameter.a, {experts * gate_up_rank(), spec_.hidden});
    check_tensor(parameter.b, {2 * width, gate_up_rank() * experts});
  }
  for (const auto& [layer, parameter] : down_) {
    check_tensor(parameter.a, {experts * config_.lora.rank, width});
    check_tensor(parameter.b, {spec_.hidden, config_.lora.rank * experts});
  }
}

// Whether gate and up have ranks of their own: then B is zero where one would read the other's
// ranks.
bool AdapterFolder::gate_and_up_apart() const {
  const int64_t r = config_.lora.rank;
  if (gate_up_.empty() || gate_up_rank() != 2 * r) return false;
  const int64_t width = spec_.moe->intermediate;
  for (const auto& [layer, parameter] : gate_up_) {
    const at::Tensor b = read_parameter(parameter).second;  // [E, 2F, 2r]
    const at::Tensor up_of_gate = b.narrow(1, 0, width).narrow(2, r, r);
    const at::Tensor gate_of_up = b.narrow(1, width, width).narrow(2, 0, r);
    if (up_of_gate.ne(0).any().item<bool>() || gate_of_up.ne(0).any().item<bool>()) return false;
  }
  return true;
}

// All adapters here have the same rank. If gate and up share an A of a larger rank, all take that
// rank, padded with zeros, and alpha grows so that the scale stays the same.
void AdapterFolder::settle_rank() {
  apart_ = gate_and_up_apart();
  if (gate_up_.empty() || apart_ || gate_up_rank() <= config_.lora.rank) return;
  config::LoraSpec lora = adapters_.lora;
  lora.rank = gate_up_rank();
  const double growth = static_cast<double>(lora.rank) / static_cast<double>(config_.lora.rank);
  lora.alpha *= lora.rslora ? std::sqrt(growth) : growth;
  adapters_ = layout::make_adapters(spec_, lora);
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
  auto [a, b] = read_parameter(parameter);
  config::LoraSpec own = config_.lora;
  own.rank = gate_up_rank();
  own.alpha = config_.gate_up_alpha.value_or(own.alpha);
  // PEFT with use_rslora scales a doubled rank by sqrt(2) more. B keeps that factor.
  const double factor = own.scale() / config_.lora.scale();
  if (std::abs(factor - 1) > 1e-12) b = b * factor;
  const int64_t r = adapters_.lora.rank, rank = apart_ ? r : a.size(1);
  for (LinearAdapter::Part& part : adapter.parts) {
    const int64_t first = apart_ ? part.first_rank : 0;
    copy_padded(a.narrow(1, first, rank), adapter.a.narrow(1, part.first_rank, r));
    copy_padded(b.narrow(1, part.first_row, part.rows).narrow(2, first, rank), part.b);
  }
}

void AdapterFolder::load_down(const Parameter& parameter, LinearAdapter adapter) const {
  const auto [a, b] = read_parameter(parameter);
  copy_padded(a, adapter.a);
  copy_padded(b, adapter.parts.front().b);
}

void AdapterFolder::load_modules(int64_t layer, at::Tensor& flat) const {
  for (const layout::ParamInfo& info :
       adapters_.layout.blocks[layout::ModelLayout::layer(layer)].params) {
    const std::string name = std::string(kPrefix) + info.name;
    if (find(name) != nullptr) copy_padded(read(name), param_view(flat, info));
  }
}

void AdapterFolder::load(std::vector<at::Tensor>& blocks) const {
  for (int64_t layer = 0; layer < spec_.layers; ++layer) {
    at::Tensor& flat = blocks[layout::ModelLayout::layer(layer)];
    flat.zero_();
    load_modules(layer, flat);
    const LayerAdapters views = layer_adapters(spec_, adapters_, layer, flat);
    if (const auto at = gate_up_.find(layer); at != gate_up_.end()) {
      load_gate_up(at->second, views.expert_gate_up);
    }
    if (const auto at = down_.find(layer); at != down_.end()) {
      load_down(at->second, views.expert_down);
    }
  }
}

}  // namespace trireme::model
