#include "model/model_io.h"

#include <ATen/ops/empty.h>

#include <memory>

#include "model/model_io_read.h"
#include "model/model_io_source.h"
#include "model/params.h"

namespace trireme::model {
namespace {

// What a source is read as: float8 as fp32 or bf16, whichever is wanted; others as they are.
at::ScalarType read_type(const Source& source, at::ScalarType wanted) {
  const io::WeightFiles::Located& located = *source.located;
  if (located.scales) return wanted;
  return scalar_type(located.entry->dtype, located.file->path() + ": " + located.stored);
}

// Reads the part that `info` has of its source: only the bytes of that part.
void read_part(const Source& source, const layout::ParamInfo& info, at::Tensor& to) {
  EntryReader(*source.located, source.first, to).read(source.first, info.runs());
}

}  // namespace

void load_block(const layout::BlockLayout& block, const io::WeightFiles& files, at::Tensor& flat) {
  at::Tensor staging = at::empty({0}, at::kByte);
  for (const layout::ParamInfo& info : block.params) {
    const Source source = find_source(files, info);
    at::Tensor view = param_view(flat, info);
    const at::ScalarType type = read_type(source, view.scalar_type());
    if (view.is_cpu() && view.scalar_type() == type) {
      read_part(source, info, view);
    } else {
      staging.resize_({info.numel * static_cast<int64_t>(c10::elementSize(type))});
      at::Tensor part = staging.view(type).view(info.shape);
      read_part(source, info, part);
      view.copy_(part);
    }
  }
}

at::Tensor read_tensor(const io::SafetensorsFile& file, const std::string& name) {
  const io::TensorEntry& entry = file.entries().at(name);
  at::Tensor tensor = at::empty(entry.shape, scalar_type(entry.dtype, file.path()));
  EntryReader(file, name, entry, tensor).read(0, {0, tensor.numel(), tensor.numel(), 1});
  return tensor;
}

at::Tensor read_param(const io::WeightFiles& files, const layout::ParamInfo& info) {
  const Source source = find_source(files, info);
  at::Tensor tensor = at::empty(info.shape, read_type(source, at::kBFloat16));
  read_part(source, info, tensor);
  return tensor;
}

io::DType stored_dtype(const io::WeightFiles& files, const layout::ParamInfo& info) {
  const io::WeightFiles::Located& located = *find_source(files, info).located;
  return located.scales ? io::DType::kBF16 : located.entry->dtype;
}

BlockSource held_blocks(const std::vector<at::Tensor>& blocks) {
  return [&blocks](int64_t block) { return blocks[block]; };
}

std::vector<io::TensorSource> tensor_sources(const layout::ModelLayout& layout,
                                             const BlockSource& blocks, io::DType dtype) {
  struct Held {
    at::Tensor block, converted;
    int64_t index = -1;
  };
  auto held = std::make_shared<Held>();
  std::vector<io::TensorSource> sources;
  for (int64_t b = 0; b <= layout.head(); ++b) {
    for (const layout::ParamInfo& info : layout.blocks[b].params) {
      auto bytes = [blocks, b, info, held, type = scalar_type(dtype, info.name)] {
        if (held->index != b) held->block = blocks(b), held->index = b;
        held->converted = param_view(held->block, info).to(at::kCPU, type).contiguous();
        return std::span(static_cast<const std::byte*>(held->converted.const_data_ptr()),
                         held->converted.nbytes());
      };
      sources.push_back({info.name, dtype, info.shape, std::move(bytes)});
    }
  }
  return sources;
}

}  // namespace trireme::model
