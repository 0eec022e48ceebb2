// Reads numbers of a safetensors file into tensors, with several threads: one does not fill the
// bus. What is not finite is a UserError that names tensor and place. Not for other folders.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "io/weight_files.h"
#include "layout/parameters.h"
#include "model/fp8.h"

namespace trireme::model {

// An entry that is read into a tensor (contiguous, on the host).
class EntryReader {
 public:
  // `to` is of the entry's dtype. All must outlive the reader.
  EntryReader(const io::SafetensorsFile& file, const std::string& name,
              const io::TensorEntry& entry, at::Tensor& to);
  // The same, or float8 with scales into fp32 or bf16: then only numbers of the matrix that holds
  // the entry's `first` may be read.
  EntryReader(const io::WeightFiles::Located& located, int64_t first, at::Tensor& to);

  // The part of the entry that consists of these runs, from the entry's `first` on.
  void read(int64_t first, const layout::Runs& runs) const;

 private:
  void read_run(int64_t from, int64_t at, int64_t count) const;
  void read_piece(int64_t from, int64_t at, int64_t count) const;
  void fetch(int64_t from, std::span<std::byte> into) const;

  const io::SafetensorsFile& file_;
  const std::string& name_;
  const io::TensorEntry& entry_;
  at::Tensor& to_;
  std::optional<Fp8Scales> scales_;
  int64_t matrix_ = 0;  // where the matrix of the scales begins in the entry
};

}  // namespace trireme::model
