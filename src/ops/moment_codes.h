// A moment between fp32 and 8 bits (ops/eight_bit.h), on the host: for checkpoints, whose blocks of
// 256 may begin elsewhere than those of the ranks that read them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace trireme::ops {

// codes [n] and the scales of their blocks -> fp32 [n]. `phase`: elements of the first block that
// lie before the first code. `second`: a second moment, which has a code book of its own.
at::Tensor decode_moment(const at::Tensor& codes, const at::Tensor& absmax, bool second,
                         int64_t phase);
// fp32 [n] -> codes [n] and scales [ceil(n / 256)], as adamw_ rounds them.
void encode_moment(const at::Tensor& values, bool second, const at::Tensor& codes,
                   const at::Tensor& absmax);
// The code of zero.
uint8_t zero_code(bool second);

}  // namespace trireme::ops
