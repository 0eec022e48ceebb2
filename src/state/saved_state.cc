#include "state/saved_state.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "model/model_io.h"
#include "ops/moment_codes.h"

namespace trireme::state {
namespace {

constexpr const char* kWeight = "weight";
constexpr const char* kMoments[] = {"exp_avg", "exp_avg_sq"};

std::string scales_of(const std::string& kind) { return kind + ".absmax"; }
std::string tensor_name(const std::string& kind, const std::string& name) {
  return kind + "/" + name;
}

io::DType file_dtype(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return io::DType::kF32;
    case at::kBFloat16:
      return io::DType::kBF16;
    default:
      TRIREME_CHECK(type == at::kByte);
      return io::DType::kU8;
  }
}

at::ScalarType scalar_type(io::DType dtype, const std::string& tensor) {
  if (dtype == io::DType::kF32) return at::kFloat;
  if (dtype == io::DType::kBF16) return at::kBFloat16;
  if (dtype == io::DType::kU8) return at::kByte;
  fail("tensor {}: dtype {} is not one of F32, BF16, U8", tensor, io::dtype_name(dtype));
}

// What of a tensor lies in a part of its block: the tensor's elements [first, first + count), which
// begin `offset` elements behind the part's.
struct Held {
  const layout::ParamInfo* param;
  int64_t first, count, offset;
};

std::vector<Held> held_of(const layout::BlockLayout& block, int64_t first, int64_t count) {
  std::vector<Held> list;
  for (const layout::ParamInfo& param : block.params) {
    const int64_t begin = std::max(param.offset, first);
    const int64_t end = std::min(param.offset + param.numel, first + count);
    if (end > begin) list.push_back({&param, begin - param.offset, end - begin, begin - first});
  }
  return list;
}

// The scales of the blocks that a held tensor's codes belong to.
at::Tensor scales_for(const at::Tensor& absmax, const Held& held) {
  const int64_t first = held.offset / kQuantBlock;
  return absmax.narrow(0, first, quant_blocks(held.offset + held.count) - first);
}

// Copies of a buffer on the host, the last one kept: the tensors of a block have their turns one
// after the other, and one copy of the block is faster than one for each.
class HostCopy {
 public:
  at::Tensor of(const at::Tensor& buffer) {
    if (buffer.is_cpu()) return buffer;
    if (!from_.is_same(buffer)) from_ = buffer, copy_ = buffer.to(at::kCPU);
    return copy_;
  }

 private:
  at::Tensor from_, copy_;
};

io::TensorSource source(const std::string& name, const at::Tensor& buffer, int64_t first,
                        int64_t count, const std::shared_ptr<HostCopy>& copy) {
  return {name, file_dtype(buffer.scalar_type()), {count}, [=] {
            const at::Tensor part = copy->of(buffer).narrow(0, first, count);
            return std::as_bytes(std::span(static_cast<const char*>(part.const_data_ptr()),
                                           static_cast<size_t>(part.nbytes())));
          }};
}

bool is_whole_piece(const io::StatePiece& piece, const Held& held) {
  const layout::Slice &a = piece.slice, &b = held.param->slice;
  return a.dim == b.dim && a.first == b.first && a.whole == b.whole &&
         piece.shape == held.param->shape && piece.first == held.first && piece.count == held.count;
}

class Loader {
 public:
  Loader(const io::StateFiles& files, const layout::ModelLayout& layout, ResidentParams& params)
      : files_(files), layout_(layout), params_(params) {}

  void load(const AdamW::Part& part) {
    const std::vector<Held> held = held_of(layout_.blocks[part.block], part.first, part.count);
    const at::Tensor weights = params_.master()[part.block].narrow(0, part.offset, part.count);
    for (const Held& each : held) {
      read(kWeight, each, weights.narrow(0, each.offset, each.count));
    }
    const ops::Moments& moments = part.moments;
    load(held, false, moments.first, moments.first_absmax);
    load(held, true, moments.second, moments.second_absmax);
  }

 private:
  void load(const std::vector<Held>& held, bool second, const at::Tensor& moment,
            const at::Tensor& absmax) {
    const std::string kind = kMoments[second ? 1 : 0];
    if (!absmax.defined()) {
      for (const Held& each : held) read(kind, each, moment.narrow(0, each.offset, each.count));
      return;
    }
    const bool as_stored = std::ranges::all_of(held, [&](const Held& each) {
      const auto found = located(each);
      return found.size() == 1 && is_whole_piece(*found.front().piece, each) &&
             found.front().piece->phase == each.offset % kQuantBlock &&
             entry(found.front(), kind).dtype == io::DType::kU8;
    });
    if (as_stored) return load_codes(held, second, moment, absmax);
    // Blocks of 256 begin elsewhere: they are rounded once more.
    const at::Tensor values = at::full({moment.numel()}, 0.0, at::kFloat);
    for (const Held& each : held) read(kind, each, values.narrow(0, each.offset, each.count));
    const at::Tensor codes = at::empty({moment.numel()}, at::kByte);
    const at::Tensor scales = at::empty({absmax.numel()}, at::kFloat);
    ops::encode_moment(values, second, codes, scales);
    moment.copy_(codes);
    absmax.copy_(scales);
  }

  // Between tensors the moments are zero.
  void load_codes(const std::vector<Held>& held, bool second, const at::Tensor& moment,
                  const at::Tensor& absmax) {
    const std::string kind = kMoments[second ? 1 : 0];
    const at::Tensor codes = at::full({moment.numel()}, ops::zero_code(second), at::kByte);
    const at::Tensor scales = at::full({absmax.numel()}, 0.0, at::kFloat);
    for (const Held& each : held) {
      const auto found = located(each).front();
      codes.narrow(0, each.offset, each.count).copy_(stored(found, kind, 0, each.count));
      const at::Tensor part = scales_for(scales, each);
      part.copy_(stored(found, scales_of(kind), 0, part.numel()));
    }
    moment.copy_(codes);
    absmax.copy_(scales);
  }

  std::span<const io::StateFiles::Located> located(const Held& held) const {
    const auto found = files_.find(held.param->name);
    if (found.empty()) fail("{}: has no state of tensor {}", files_.folder(), held.param->name);
    const std::vector<int64_t> shape = found.front().piece->whole_shape();
    if (shape != held.param->global_shape()) {
      fail("{}: tensor {} has shape [{}] there and [{}] here", files_.folder(), held.param->name,
           fmt::join(shape, ", "), fmt::join(held.param->global_shape(), ", "));
    }
    return found;
  }

  static const io::TensorEntry& entry(const io::StateFiles::Located& found,
                                      const std::string& kind) {
    return found.file->entries().at(tensor_name(kind, found.piece->name));
  }

  // Elements of a stored tensor, on the host.
  static at::Tensor stored(const io::StateFiles::Located& found, const std::string& kind,
                           int64_t first, int64_t count) {
    io::TensorEntry part = entry(found, kind);
    const auto size = static_cast<uint64_t>(io::dtype_bytes(part.dtype));
    part.begin += static_cast<uint64_t>(first) * size;
    part.end = part.begin + static_cast<uint64_t>(count) * size;
    at::Tensor values =
        at::empty({count}, scalar_type(part.dtype, tensor_name(kind, found.piece->name)));
    found.file->read(part, std::as_writable_bytes(std::span(
                               static_cast<char*>(values.mutable_data_ptr()), values.nbytes())));
    return values;
  }

  // The same as numbers: codes are decoded.
  static at::Tensor numbers(const io::StateFiles::Located& found, const std::string& kind,
                            int64_t first, int64_t count) {
    const at::Tensor values = stored(found, kind, first, count);
    if (values.scalar_type() != at::kByte) return values;
    const int64_t begin = found.piece->phase + first, block = begin / kQuantBlock;
    const at::Tensor scales =
        stored(found, scales_of(kind), block, quant_blocks(begin + count) - block);
    return ops::decode_moment(values, scales, kind == kMoments[1], begin % kQuantBlock);
  }

  // Fills `into` with the held elements of a tensor.
  void read(const std::string& kind, const Held& held, const at::Tensor& into) const {
    const layout::Piece wanted{held.param->runs(), held.first, held.count};
    int64_t read = 0;
    for (const io::StateFiles::Located& found : located(held)) {
      for (const layout::Overlap& part : layout::overlaps(wanted, found.piece->piece())) {
        into.narrow(0, part.to, part.count).copy_(numbers(found, kind, part.from, part.count));
        read += part.count;
      }
    }
    if (read == held.count) return;
    fail("{}: tensor {}: {} of {} elements are there: the checkpoint is not whole", files_.folder(),
         tensor_name(kind, held.param->name), read, held.count);
  }

  const io::StateFiles& files_;
  const layout::ModelLayout& layout_;
  ResidentParams& params_;
};

}  // namespace

uint64_t byte_count(const std::vector<StatePart>& parts) {
  uint64_t sum = 0;
  for (const StatePart& part : parts) {
    const ops::Moments& moments = part.moments;
    for (const at::Tensor& tensor : {part.weight, moments.first, moments.second,
                                     moments.first_absmax, moments.second_absmax}) {
      if (tensor.defined()) sum += tensor.nbytes();
    }
  }
  return sum;
}

std::vector<StatePart> state_parts(const ResidentParams& params, const AdamW& optimizer,
                                   const Zero& zero) {
  std::vector<StatePart> parts;
  for (const AdamW::Part& part : optimizer.parts()) {
    if (!zero.states() && static_cast<int64_t>(part.block) % zero.ranks != zero.index) continue;
    parts.push_back({part.block, part.first, part.count,
                     params.master()[part.block].narrow(0, part.offset, part.count), part.moments});
  }
  return parts;
}

RankState rank_state(const layout::ModelLayout& layout, const std::vector<StatePart>& parts,
                     const std::string& file) {
  RankState state;
  const auto copy = std::make_shared<HostCopy>();
  const auto add = [&](const std::string& kind, const std::vector<Held>& held,
                       const at::Tensor& buffer) {
    for (const Held& each : held) {
      state.tensors.push_back(
          source(tensor_name(kind, each.param->name), buffer, each.offset, each.count, copy));
    }
  };
  const auto add_moment = [&](const std::string& kind, const std::vector<Held>& held,
                              const at::Tensor& moment, const at::Tensor& absmax) {
    add(kind, held, moment);
    if (!absmax.defined()) return;
    for (const Held& each : held) {
      const at::Tensor scales = scales_for(absmax, each);
      state.tensors.push_back(source(tensor_name(scales_of(kind), each.param->name), absmax,
                                     scales.storage_offset() - absmax.storage_offset(),
                                     scales.numel(), copy));
    }
  };
  for (const StatePart& part : parts) {
    const std::vector<Held> held = held_of(layout.blocks[part.block], part.first, part.count);
    for (const Held& each : held) {
      const int64_t phase = part.moments.first_absmax.defined() ? each.offset % kQuantBlock : 0;
      state.pieces.push_back({each.param->name, each.param->shape, each.param->slice, each.first,
                              each.count, phase, file});
    }
    add(kWeight, held, part.weight);
    add_moment(kMoments[0], held, part.moments.first, part.moments.first_absmax);
    add_moment(kMoments[1], held, part.moments.second, part.moments.second_absmax);
  }
  return state;
}

void load_state(const io::StateFiles& files, const layout::ModelLayout& layout,
                ResidentParams& params, AdamW& optimizer) {
  for (const at::Tensor& master : params.master()) master.zero_();  // gaps and padding stay so
  Loader loader(files, layout, params);
  for (const AdamW::Part& part : optimizer.parts()) loader.load(part);
  params.masters_set();
}

}  // namespace trireme::state
