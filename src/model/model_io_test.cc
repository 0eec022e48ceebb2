#include "model/model_io.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include "base/testing.h"
#include "io/safetensors.h"
#include "model/params.h"

namespace trireme::model {
namespace {

io::TensorSource source(std::string name, const at::Tensor& tensor) {
  return {std::move(name), io::DType::kF32, tensor.sizes().vec(), [tensor] {
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

}  // namespace
}  // namespace trireme::model
