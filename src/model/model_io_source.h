// Where the numbers of a tensor of the layout are among the files of a folder. Not for other
// folders.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

#include "io/weight_files.h"
#include "layout/parameters.h"

namespace trireme::model {

// A whole entry, or an expert's matrix in the fused tensor of its layer:
// mlp.experts.gate_up_proj [E,2F,C], down_proj [E,C,F].
struct Source {
  const io::WeightFiles::Located* located = nullptr;  // nullptr: nowhere
  int64_t first = 0;                                  // elements into the entry
  std::string name;                                   // of the entry
};

Source find_source(const io::WeightFiles& files, const layout::ParamInfo& info);

// UserError unless F32, BF16 or F16; `name` of the file and the tensor.
at::ScalarType scalar_type(io::DType dtype, const std::string& name);

// The same of scales, which may be powers of two in one byte (E8M0) too.
at::ScalarType scale_type(io::DType dtype, const std::string& name);

// "[3, 4]"
std::string shape_text(const std::vector<int64_t>& shape);

}  // namespace trireme::model
