#include "model/model_io.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <gtest/gtest.h>

#include "base/testing.h"
#include "io/safetensors.h"
#include "model/params.h"

namespace trireme::model {
namespace {

io::TensorSource source(std::string name, const at::Tensor& tensor,
                        io::DType dtype = io::DType::kF32) {
  return {std::move(name), dtype, tensor.sizes().vec(), [tensor] {
            return std::span(static_cast<const std::byte*>(tensor.const_data_ptr()),
                             tensor.nbytes());
          }};
}

// A rank's block has rows of one matrix, columns of another and of two fused experts, and reads
// exactly these.
TEST(LoadBlock, ReadsTheSlicesThatTheLayoutHas) {
  const TestFolder folder;
  folder.write("config.json", "{}");
  const at::Tensor w = at::arange(48, at::kFloat).view({8, 6}), fused = w.view({2, 4, 6});
  const std::string down = "model.layers.0.mlp.experts.";
  io::write_safetensors(io::posix(), folder / "model.safetensors",
                        {source("a", w), source("b", w), source(down + "down_proj", fused)});
  layout::BlockLayout block;
  block.params = {
      {"a", {2, 6}, 0, 12, {.dim = 0, .first = 4, .whole = 8}},
      {"b", {8, 2}, 12, 16, {.dim = 1, .first = 3, .whole = 6}},
      {down + "1.down_proj.weight", {4, 3}, 28, 12, {.dim = 1, .first = 3, .whole = 6}}};
  block.numel = 40;
  const io::WeightFiles files(folder.path());
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    at::Tensor flat = at::empty({block.numel}, dtype);
    load_block(block, files, flat);
    EXPECT_TRUE(param_view(flat, block.params[0]).equal(w.narrow(0, 4, 2).to(dtype)));
    EXPECT_TRUE(param_view(flat, block.params[1]).equal(w.narrow(1, 3, 2).to(dtype)));
    EXPECT_TRUE(param_view(flat, block.params[2]).equal(fused[1].narrow(1, 3, 3).to(dtype)));
  }
  EXPECT_TRUE(read_param(files, block.params[1]).equal(w.narrow(1, 3, 2)));
}

// Codes of float8 numbers, none of them NaN, and scales of blocks of 3 x 4, in fp32 or bf16.
struct Float8 {
  static constexpr config::Fp8Blocks kBlocks = {.rows = 3, .columns = 4};

  Float8(std::vector<int64_t> sizes, at::ScalarType dtype)
      : codes(at::randint(0x7f, sizes, at::kByte).add(at::randint(2, sizes, at::kByte).mul(0x80))) {
    sizes[sizes.size() - 2] = (sizes[sizes.size() - 2] + 2) / 3;
    sizes.back() = (sizes.back() + 3) / 4;
    scales = at::rand(sizes).add(0.5).to(dtype);
  }

  std::vector<io::TensorSource> sources(const std::string& name) const {
    return {source(name + "_scale_inv", scales,
                   scales.scalar_type() == at::kFloat ? io::DType::kF32 : io::DType::kBF16),
            source(name, codes, io::DType::kF8E4M3)};
  }

  // The formula: each code's value times the scale of its block.
  at::Tensor weights() const {
    const at::Tensor wide = scales.to(at::kFloat)
                                .repeat_interleave(3, -2)
                                .repeat_interleave(4, -1)
                                .narrow(-2, 0, codes.size(-2))
                                .narrow(-1, 0, codes.size(-1));
    return codes.view(at::kFloat8_e4m3fn).to(at::kFloat).mul(wide);
  }

  at::Tensor codes, scales;
};

// Blocks are cut by the edges of the matrices, and by those of the parts.
TEST(LoadBlock, ReadsSlicesOfFloat8WithTheirScales) {
  const TestFolder folder;
  folder.write("config.json", "{}");
  const std::string experts = "model.layers.0.mlp.experts.";
  const Float8 w({8, 6}, at::kFloat), down({2, 5, 6}, at::kBFloat16), pair({2, 10, 5}, at::kFloat);
  std::vector<io::TensorSource> tensors;
  for (const auto& [name, numbers] :
       {std::pair(std::string("a.weight"), &w), std::pair(experts + "down_proj", &down),
        std::pair(experts + "gate_up_proj", &pair)}) {
    for (io::TensorSource& tensor : numbers->sources(name)) tensors.push_back(std::move(tensor));
  }
  std::ranges::stable_sort(tensors, std::greater(),
                           [](const auto& tensor) { return io::dtype_bytes(tensor.dtype); });
  io::write_safetensors(io::posix(), folder / "model.safetensors", tensors);
  io::WeightFiles files(folder.path());
  EXPECT_EQ(files.join_scales(Float8::kBlocks), 3);
  EXPECT_EQ(files.find("a.weight_scale_inv"), nullptr);
  const std::vector<std::pair<layout::ParamInfo, at::Tensor>> parts = {
      {{"a.weight", {8, 6}, 0, 48}, w.weights()},
      {{"a.weight", {2, 6}, 0, 12, {.dim = 0, .first = 5, .whole = 8}},
       w.weights().narrow(0, 5, 2)},
      {{"a.weight", {8, 3}, 0, 24, {.dim = 1, .first = 2, .whole = 6}},
       w.weights().narrow(1, 2, 3)},
      {{experts + "1.down_proj.weight", {5, 6}, 0, 30}, down.weights()[1]},
      {{experts + "1.gate_proj.weight", {5, 5}, 0, 25}, pair.weights()[1].narrow(0, 0, 5)},
      {{experts + "1.up_proj.weight", {2, 5}, 0, 10, {.dim = 0, .first = 1, .whole = 5}},
       pair.weights()[1].narrow(0, 6, 2)}};
  for (const auto& [info, expected] : parts) {
    layout::BlockLayout block;
    block.params = {info};
    block.numel = info.numel;
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      at::Tensor flat = at::empty({block.numel}, dtype);
      load_block(block, files, flat);
      EXPECT_TRUE(param_view(flat, info).equal(expected.to(dtype))) << info.name << flat;
    }
    EXPECT_TRUE(read_param(files, info).equal(expected.to(at::kBFloat16)));
    EXPECT_EQ(stored_dtype(files, info), io::DType::kBF16);
  }
}

}  // namespace
}  // namespace trireme::model
