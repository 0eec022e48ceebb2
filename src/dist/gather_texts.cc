#include "dist/gather_texts.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace trireme::dist {

std::vector<std::string> gather_texts(const std::string& mine, const Group& group) {
  const at::Tensor length = at::empty({1}, at::kLong).fill_(std::ssize(mine));
  const at::Tensor lengths = at::empty({group.size()}, at::kLong);
  group.all_gather(lengths, length)->wait();
  // Texts are padded to the longest.
  const int64_t most = lengths.max().item<int64_t>();
  const at::Tensor padded = at::zeros({1, most}, at::kByte);
  std::ranges::copy(mine, static_cast<char*>(padded.mutable_data_ptr()));
  const at::Tensor all = at::empty({group.size(), most}, at::kByte);
  group.all_gather(all, padded)->wait();
  std::vector<std::string> texts;
  for (int64_t i = 0; i < group.size(); ++i) {
    const auto* begin = static_cast<const char*>(all.const_data_ptr()) + i * most;
    texts.emplace_back(begin, lengths.const_data_ptr<int64_t>()[i]);
  }
  return texts;
}

}  // namespace trireme::dist
