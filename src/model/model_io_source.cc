#include "model/model_io_source.h"

#include <fmt/ranges.h>

#include <charconv>
#include <optional>

#include "base/error.h"

namespace trireme::model {
namespace {

struct FusedExpert {
  std::string name;
  int64_t expert = 0;
  bool second = false;  // up, behind gate
  bool pair = false;    // the fused matrix holds gate and up
};

std::optional<FusedExpert> fused_expert(const std::string& name) {
  static const std::string kMarker = ".mlp.experts.";
  const size_t at = name.find(kMarker);
  if (at == std::string::npos) return std::nullopt;
  const size_t digits = at + kMarker.size();
  const size_t dot = name.find('.', digits);
  FusedExpert fused;
  std::from_chars(name.data() + digits, name.data() + dot, fused.expert);
  fused.pair = !name.ends_with("down_proj.weight");
  fused.second = name.ends_with("up_proj.weight");
  fused.name = name.substr(0, digits) + (fused.pair ? "gate_up_proj" : "down_proj");
  return fused;
}

}  // namespace

Source find_source(const io::WeightFiles& files, const layout::ParamInfo& info) {
  if (const auto* located = files.find(info.name)) return {located, 0, info.name};
  const auto fused = fused_expert(info.name);
  if (!fused) return {};
  const auto* located = files.find(fused->name);
  if (located == nullptr) return {};
  const layout::Runs runs = info.runs();
  const int64_t whole = runs.stride * runs.count;  // elements of one expert's whole matrix
  const int64_t stride = fused->pair ? 2 * whole : whole;
  return {located, fused->expert * stride + (fused->second ? whole : 0), fused->name};
}

at::ScalarType scalar_type(io::DType dtype, const std::string& name) {
  switch (dtype) {
    case io::DType::kF32:
      return at::kFloat;
    case io::DType::kBF16:
      return at::kBFloat16;
    case io::DType::kF16:
      return at::kHalf;
    default:
      break;
  }
  fail("tensor {}: dtype {} is not one of F32, BF16, F16", name, io::dtype_name(dtype));
}

at::ScalarType scale_type(io::DType dtype, const std::string& name) {
  return dtype == io::DType::kF8E8M0 ? at::kFloat8_e8m0fnu : scalar_type(dtype, name);
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace trireme::model
