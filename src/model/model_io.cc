#include "model/model_io.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <set>

#include "base/error.h"
#include "io/finite.h"
#include "model/params.h"

namespace trireme::model {
namespace {

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

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// An expert's matrix inside the fused tensor of its layer: mlp.experts.gate_up_proj [E,2F,C],
// down_proj [E,C,F].
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

// Where a tensor's bytes are: a whole entry, or a slice of a fused one.
struct Source {
  const io::WeightFiles::Located* located = nullptr;
  int64_t first = 0;  // elements into the entry
  std::string name;   // of the entry
};

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

std::vector<int64_t> expected_shape(const layout::ParamInfo& info, const Source& source,
                                    int64_t experts) {
  const std::vector<int64_t> shape = info.global_shape();
  if (source.name == info.name) return shape;
  const int64_t rows = shape[0] * (source.name.ends_with("gate_up_proj") ? 2 : 1);
  return {experts, rows, shape[1]};
}

// A tensor that is read, or the part of one that a rank has: where it comes from, and its own
// shape.
struct Reading {
  const io::SafetensorsFile& file;
  const std::string& name;
  io::DType dtype;
  const std::vector<int64_t>& shape;
};

// Reads bytes of the file, from `begin` on, that are those of the tensor from its byte `at` on.
// Numbers are looked at while they are in the cache.
void read_finite(const Reading& reading, uint64_t begin, int64_t at, std::span<std::byte> bytes) {
  reading.file.read({reading.dtype, {}, begin, begin + bytes.size()}, bytes);
  const int64_t bad = io::first_not_finite(bytes, reading.dtype);
  if (bad < 0) return;
  const int64_t each = io::dtype_bytes(reading.dtype);
  fail("{}: tensor {} has {}: its numbers must be finite to be of any use: download the file again",
       reading.file.path(), reading.name,
       io::not_finite_text(bytes.subspan(bad * each), reading.dtype, at / each + bad,
                           reading.shape));
}

// Several threads read pieces of a tensor's bytes, from `begin` on in the file, into `to`
// (contiguous, on the host): one thread does not fill the bus.
void read_parallel(const Reading& reading, uint64_t begin, at::Tensor& to) {
  constexpr int64_t kPiece = 8 << 20, kLook = 256 << 10;  // of a thread's turn; of the cache
  const auto size = static_cast<int64_t>(to.nbytes());
  const std::span bytes(static_cast<std::byte*>(to.mutable_data_ptr()), to.nbytes());
  at::parallel_for(0, (size + kPiece - 1) / kPiece, 1, [&](int64_t first, int64_t last) {
    const int64_t end = std::min(size, last * kPiece);
    for (int64_t at = first * kPiece; at < end; at += kLook) {
      read_finite(reading, begin + at, at, bytes.subspan(at, std::min(kLook, end - at)));
    }
  });
}

// Reads the part that `info` has of its entry into `to` (contiguous, on the host, of the entry's
// dtype): only the bytes of that part.
void read_part(const Source& source, const layout::ParamInfo& info, at::Tensor& to) {
  const io::TensorEntry& entry = *source.located->entry;
  const Reading reading{*source.located->file, info.name, entry.dtype, info.shape};
  const int64_t each = io::dtype_bytes(entry.dtype);
  const layout::Runs runs = info.runs();
  const uint64_t begin = entry.begin + (source.first + runs.first) * each;
  if (runs.count == 1) return read_parallel(reading, begin, to);
  const std::span bytes(static_cast<std::byte*>(to.mutable_data_ptr()), to.nbytes());
  const int64_t size = runs.size * each;
  at::parallel_for(0, runs.count, 16, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      read_finite(reading, begin + i * runs.stride * each, i * size, bytes.subspan(i * size, size));
    }
  });
}

// Tensors that may lie beside the model's without being parameters.
bool harmless(const config::ModelSpec& spec, const std::string& name) {
  return name.ends_with("rotary_emb.inv_freq") || (spec.tied && name == "lm_head.weight");
}

[[noreturn]] void fail_missing(const io::WeightFiles& files, const layout::ParamInfo& info) {
  if (info.name == "lm_head.weight") {
    fail(
        "{}: tensor lm_head.weight {} is missing, and config.json does not tie it "
        "(tie_word_embeddings): transformers would begin with random numbers there: set "
        "tie_word_embeddings to true if the embedding is the head, otherwise save the model with "
        "its head",
        files.folder(), shape_text(info.shape));
  }
  fail(
      "{}: tensor {} {} is missing: config.json and the weights do not belong together, or a shard "
      "was not downloaded",
      files.folder(), info.name, shape_text(info.shape));
}

}  // namespace

void check_weights(const config::ModelSpec& spec, const layout::ModelLayout& layout,
                   const io::WeightFiles& files) {
  std::set<std::string> used;
  for (const layout::BlockLayout& block : layout.blocks) {
    for (const layout::ParamInfo& info : block.params) {
      const Source source = find_source(files, info);
      if (source.located == nullptr) fail_missing(files, info);
      const auto& entry = *source.located->entry;
      const auto expected = expected_shape(info, source, spec.moe ? spec.moe->experts : 0);
      if (entry.shape != expected) {
        fail("{}: tensor {} has shape {}, config.json asks for {}", source.located->file->path(),
             source.name, shape_text(entry.shape), shape_text(expected));
      }
      scalar_type(entry.dtype, source.located->file->path() + ": " + source.name);
      used.insert(source.name);
    }
  }
  for (const auto& [name, located] : files.tensors()) {
    if (!used.contains(name) && !harmless(spec, name)) {
      fail(
          "{}: tensor {} is not one of a {} model: refused, since leaving it out would change the "
          "model",
          located.file->path(), name, config::family_name(spec.family));
    }
  }
}

void load_block(const layout::BlockLayout& block, const io::WeightFiles& files, at::Tensor& flat) {
  at::Tensor staging = at::empty({0}, at::kByte);
  for (const layout::ParamInfo& info : block.params) {
    const Source source = find_source(files, info);
    const at::ScalarType type = scalar_type(source.located->entry->dtype, info.name);
    at::Tensor view = param_view(flat, info);
    if (view.is_cpu() && view.scalar_type() == type) {
      read_part(source, info, view);
    } else {
      staging.resize_({info.numel * static_cast<int64_t>(c10::elementSize(type))});
      read_part(source, info, staging);
      view.copy_(staging.view(type).view(info.shape));
    }
  }
}

at::Tensor read_tensor(const io::SafetensorsFile& file, const std::string& name) {
  const io::TensorEntry& entry = file.entries().at(name);
  at::Tensor tensor = at::empty(entry.shape, scalar_type(entry.dtype, file.path()));
  read_parallel({file, name, entry.dtype, entry.shape}, entry.begin, tensor);
  return tensor;
}

at::Tensor read_param(const io::WeightFiles& files, const layout::ParamInfo& info) {
  const Source source = find_source(files, info);
  const io::TensorEntry& entry = *source.located->entry;
  at::Tensor tensor = at::empty(info.shape, scalar_type(entry.dtype, info.name));
  read_part(source, info, tensor);
  return tensor;
}

io::DType stored_dtype(const io::WeightFiles& files, const layout::ParamInfo& info) {
  return find_source(files, info).located->entry->dtype;
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
