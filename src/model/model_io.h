// Between Hugging Face weight files and flat blocks: reads any dtype, float8 with scales too, and
// either expert layout, and writes them back. Whatever is read here is finite: NaN or infinity is a
// UserError that names the tensor and the place in it.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "config/model_spec.h"
#include "io/weight_files.h"
#include "layout/parameters.h"

namespace trireme::model {

// Checks that the files have every tensor of the layout with its shape, and no unknown one.
// UserError names the tensor, and what was found and expected. Reads headers only: call before
// allocating anything.
void check_weights(const config::ModelSpec& spec, const layout::ModelLayout& layout,
                   const io::WeightFiles& files);

// The part of it for one tensor: that its dtype is read, and that a float8 one has its scales.
void check_readable(const config::ModelSpec& spec, const io::WeightFiles::Located& located);

// Fills a block (allocated by the caller, any device, fp32 or bf16) one tensor at a time.
void load_block(const layout::BlockLayout& block, const io::WeightFiles& files, at::Tensor& flat);

// One tensor of a safetensors file that has it, as stored, on the host. UserError unless F32, BF16
// or F16.
at::Tensor read_tensor(const io::SafetensorsFile& file, const std::string& name);

// One tensor of the layout on the host, as stored, float8 as bf16. check_weights has accepted the
// files.
at::Tensor read_param(const io::WeightFiles& files, const layout::ParamInfo& info);
io::DType stored_dtype(const io::WeightFiles& files, const layout::ParamInfo& info);

// A block's flat buffer, fp32 or bf16, on any device; asked for once a block, ascending.
using BlockSource = std::function<at::Tensor(int64_t block)>;
// The source of blocks that all exist already; they outlive it.
BlockSource held_blocks(const std::vector<at::Tensor>& blocks);

// The model's tensors as files want them, in the layout's order, converted to `dtype` when their
// turn comes; one block and one tensor are held at a time.
std::vector<io::TensorSource> tensor_sources(const layout::ModelLayout& layout,
                                             const BlockSource& blocks, io::DType dtype);

}  // namespace trireme::model
