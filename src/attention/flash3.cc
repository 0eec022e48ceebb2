#include "attention/flash3.h"

#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/CPUAllocator.h>
#include <dlfcn.h>

#include <filesystem>
#include <map>

#include "base/log.h"

namespace trireme::attention::flash3 {
namespace {

namespace fs = std::filesystem;

// The folder that torch's package stands in: that of torch/lib/libc10.so, twice up.
fs::path site_packages() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&c10::GetCPUAllocator), &info) == 0) return {};
  return fs::path(info.dli_fname).parent_path().parent_path().parent_path();
}

bool load() {
  const fs::path site = site_packages(), library = site / "xformers/flash_attn_3/_C.so";
  if (!fs::exists(library)) return false;
  // What the library was linked with: torch's umbrella, and the CUDA 12 runtime of a package of its
  // own. That it is not this program's runtime does no harm: both use the device's one primary
  // context.
  dlopen((site / "torch/lib/libtorch.so").c_str(), RTLD_NOW | RTLD_GLOBAL);
  dlopen((site / "nvidia/cuda_runtime/lib/libcudart.so.12").c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (dlopen(library.c_str(), RTLD_LAZY | RTLD_LOCAL) != nullptr) return true;
  log("{} does not load, attention is cuDNN's: {} (pip install nvidia-cuda-runtime-cu12)",
      library.string(), dlerror());
  return false;
}

using Values = std::map<std::string, c10::IValue, std::less<>>;

// Calls an operator with arguments by name; the others have their defaults. Versions of the library
// differ in what follows the first few.
torch::jit::Stack call(const c10::OperatorHandle& op, const Values& values) {
  torch::jit::Stack stack;
  for (const c10::Argument& argument : op.schema().arguments()) {
    const auto value = values.find(argument.name());
    stack.push_back(value != values.end() ? value->second : argument.default_value().value());
  }
  op.callBoxed(stack);
  return stack;
}

const c10::OperatorHandle& forward_op() {
  static const c10::OperatorHandle op =
      c10::Dispatcher::singleton().findSchemaOrThrow("flash_attn_3::fwd", "");
  return op;
}

const c10::OperatorHandle& backward_op() {
  static const c10::OperatorHandle op =
      c10::Dispatcher::singleton().findSchemaOrThrow("flash_attn_3::bwd", "");
  return op;
}

void add_documents(Values& values, const at::Tensor& starts, int64_t longest) {
  values["cu_seqlens_q"] = values["cu_seqlens_k"] = starts;
  values["max_seqlen_q"] = values["max_seqlen_k"] = longest;
}

Values forward_values(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool causal,
                      double scale) {
  // One split: the sum over keys has one order whatever the device's occupancy.
  return {{"q", q},
          {"k", k},
          {"v", v},
          {"softmax_scale", scale},
          {"is_causal", causal},
          {"num_splits", int64_t{1}}};
}

Values backward_values(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                       const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                       bool causal, double scale) {
  return {{"dout", dout},
          {"q", q},
          {"k", k},
          {"v", v},
          {"out", out},
          {"softmax_lse", lse.contiguous()},
          {"softmax_scale", scale},
          {"is_causal", causal},
          {"deterministic", at::globalContext().deterministicAlgorithms()}};
}

AttentionGradients gradients(const torch::jit::Stack& results) {
  return {results[0].toTensor(), results[1].toTensor(), results[2].toTensor()};
}

}  // namespace

bool available() {
  static const bool loaded = load();
  return loaded;
}

bool usable(const at::Tensor& q) {
  const bool half = q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf;
  return q.is_cuda() && half && q.size(2) % 8 == 0 && q.size(2) <= 256 && available();
}

AttentionOutput forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, Mask mask,
                        double scale) {
  const auto results = call(
      forward_op(),
      forward_values(q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), mask == Mask::kCausal, scale));
  return {results[0].toTensor().squeeze(0), results[1].toTensor().squeeze(0)};
}

AttentionGradients backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const AttentionOutput& forward, Mask mask,
                            double scale) {
  AttentionGradients grads = gradients(
      call(backward_op(), backward_values(dout.unsqueeze(0), q.unsqueeze(0), k.unsqueeze(0),
                                          v.unsqueeze(0), forward.out.unsqueeze(0),
                                          forward.lse.unsqueeze(0), mask == Mask::kCausal, scale)));
  return {grads.dq.squeeze(0), grads.dk.squeeze(0), grads.dv.squeeze(0)};
}

AttentionOutput varlen_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& starts, int64_t longest, double scale) {
  Values values = forward_values(q, k, v, /*causal=*/true, scale);
  add_documents(values, starts, longest);
  const auto results = call(forward_op(), values);
  return {results[0].toTensor(), results[1].toTensor()};
}

AttentionGradients varlen_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v, const AttentionOutput& forward,
                                   const at::Tensor& starts, int64_t longest, double scale) {
  Values values = backward_values(dout, q, k, v, forward.out, forward.lse, /*causal=*/true, scale);
  add_documents(values, starts, longest);
  return gradients(call(backward_op(), values));
}

}  // namespace trireme::attention::flash3
