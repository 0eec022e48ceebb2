#include "model/model_io_read.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "io/finite.h"
#include "model/model_io_source.h"

namespace trireme::model {
namespace {

constexpr int64_t kTurn = 8 << 20;     // bytes of a thread's turn
constexpr int64_t kPiece = 128 << 10;  // that are looked at while they are in the cache
constexpr float kLargestCode = 448;

// The scales of the matrix that begins at this number of a float8 entry.
Fp8Scales read_scales(const io::WeightFiles::Located& located, int64_t matrix) {
  const io::WeightFiles::Scales& scales = *located.scales;
  const std::vector<int64_t>& shape = located.entry->shape;
  const int64_t rows = shape[shape.size() - 2], columns = shape.back();
  const std::vector<int64_t> grid = Fp8Scales::shape(scales.blocks, rows, columns);
  const std::string name = located.stored + " (its scales)";
  at::Tensor stored = at::empty(grid, scale_type(scales.entry->dtype, name));
  EntryReader(*scales.file, name, *scales.entry, stored)
      .read(matrix / (rows * columns) * stored.numel(), {0, stored.numel(), stored.numel(), 1});
  const at::Tensor wide = stored.to(at::kFloat);
  const std::span values(wide.const_data_ptr<float>(), static_cast<size_t>(wide.numel()));
  for (const float scale : values) {
    if (std::isfinite(scale * kLargestCode)) continue;
    fail("{}: tensor {} has {}, which makes infinite weights: download the file again",
         scales.file->path(), name, scale);
  }
  return {{values.begin(), values.end()}, scales.blocks, columns};
}

}  // namespace

EntryReader::EntryReader(const io::SafetensorsFile& file, const std::string& name,
                         const io::TensorEntry& entry, at::Tensor& to)
    : file_(file), name_(name), entry_(entry), to_(to) {}

EntryReader::EntryReader(const io::WeightFiles::Located& located, int64_t first, at::Tensor& to)
    : EntryReader(*located.file, located.stored, *located.entry, to) {
  if (!located.scales) return;
  const std::vector<int64_t>& shape = entry_.shape;
  const int64_t numel = shape[shape.size() - 2] * shape.back();
  matrix_ = first / numel * numel;
  scales_ = read_scales(located, matrix_);
}

// Fills `into` with the entry's numbers from `from` on.
void EntryReader::fetch(int64_t from, std::span<std::byte> into) const {
  const int64_t each = io::dtype_bytes(entry_.dtype);
  const uint64_t begin = entry_.begin + static_cast<uint64_t>(from * each);
  file_.read({entry_.dtype, {}, begin, begin + into.size()}, into);
  const int64_t bad = io::first_not_finite(into, entry_.dtype);
  if (bad < 0) return;
  fail("{}: tensor {} has {}: its numbers must be finite to be of any use: download the file again",
       file_.path(), name_,
       io::not_finite_text(into.subspan(bad * each), entry_.dtype, from + bad, entry_.shape));
}

// A piece for the cache: `count` numbers of the entry to the tensor, from its `at`-th on.
void EntryReader::read_piece(int64_t from, int64_t at, int64_t count) const {
  auto* to = static_cast<std::byte*>(to_.mutable_data_ptr()) + at * to_.element_size();
  if (!scales_) return fetch(from, {to, static_cast<size_t>(count * to_.element_size())});
  std::array<std::byte, kPiece> codes;
  const std::span piece(codes.data(), static_cast<size_t>(count));
  fetch(from, piece);
  if (to_.scalar_type() == at::kFloat) {
    scales_->apply(piece, from - matrix_, reinterpret_cast<float*>(to));
  } else {
    scales_->apply(piece, from - matrix_, reinterpret_cast<c10::BFloat16*>(to));
  }
}

void EntryReader::read_run(int64_t from, int64_t at, int64_t count) const {
  const int64_t step = kPiece / io::dtype_bytes(entry_.dtype);
  for (int64_t done = 0; done < count; done += step) {
    read_piece(from + done, at + done, std::min(step, count - done));
  }
}

void EntryReader::read(int64_t first, const layout::Runs& runs) const {
  const int64_t from = first + runs.first;
  if (runs.count == 1) {
    const int64_t turn = kTurn / io::dtype_bytes(entry_.dtype);
    at::parallel_for(0, (runs.size + turn - 1) / turn, 1, [&](int64_t begin, int64_t end) {
      const int64_t at = begin * turn;
      read_run(from + at, at, std::min(runs.size, end * turn) - at);
    });
    return;
  }
  at::parallel_for(0, runs.count, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      read_run(from + i * runs.stride, i * runs.size, runs.size);
    }
  });
}

}  // namespace trireme::model
