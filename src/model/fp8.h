// Fine-grained float8 weights (DeepSeek-V3, section 3.3; transformers
// integrations/finegrained_fp8.py Fp8Dequantize): codes in e4m3, and a scale for each block of rows
// and columns; w = value of the code * scale, in fp32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "config/quantization.h"

namespace trireme::model {

// The scales of a matrix [rows, columns].
class Fp8Scales {
 public:
  // The shape that the scales of a matrix have: a block at an edge may be smaller.
  static std::vector<int64_t> shape(config::Fp8Blocks blocks, int64_t rows, int64_t columns);

  // `scales` in that shape, row after row.
  Fp8Scales(std::vector<float> scales, config::Fp8Blocks blocks, int64_t columns);

  // Writes the weights of these codes, which are those of the matrix from its `first` on, row after
  // row. T: float, or c10::BFloat16, which is rounded to nearest.
  template <typename T>
  void apply(std::span<const std::byte> codes, int64_t first, T* to) const;

 private:
  std::vector<float> scales_;
  int64_t rows_, columns_;  // of a block
  int64_t width_;           // columns of the matrix
  int64_t across_;          // blocks in them
};

}  // namespace trireme::model
