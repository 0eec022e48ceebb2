#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "io/manifest.h"
#include "io/safetensors.h"
#include "io/safetensors_header.h"

namespace trireme::io {
namespace {

constexpr size_t kAlignment = 8;  // of the first tensor; wider dtypes do not exist

// torch views a slice of the file as the tensor's dtype, which needs an offset divisible by its
// size.
std::vector<const TensorSource*> aligned_order(const std::vector<TensorSource>& tensors) {
  std::vector<const TensorSource*> order;
  for (const TensorSource& tensor : tensors) order.push_back(&tensor);
  std::ranges::stable_sort(order, std::ranges::greater(),
                           [](const auto* tensor) { return dtype_bytes(tensor->dtype); });
  return order;
}

// Row by row: nlohmann's object that keeps its order looks through all its keys for each new one.
std::string header_of(const std::vector<const TensorSource*>& order, std::string_view beginning) {
  std::string header(beginning);
  std::set<std::string_view> names = {"__metadata__"};
  int64_t begin = 0;
  for (const TensorSource* tensor : order) {
    TRIREME_CHECK(names.insert(tensor->name).second, "tensor {} twice", tensor->name);
    const int64_t end = begin + byte_count(*tensor);
    const nlohmann::ordered_json row = {{"dtype", dtype_name(tensor->dtype)},
                                        {"shape", tensor->shape},
                                        {"data_offsets", {begin, end}}};
    header += "," + nlohmann::json(tensor->name).dump() + ":" + row.dump();
    begin = end;
  }
  header += "}";
  header.resize((header.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  return header;
}

void write(FileSystem& files, const std::string& path, const std::vector<TensorSource>& tensors,
           std::string_view beginning) {
  const auto order = aligned_order(tensors);
  const std::string header = header_of(order, beginning);
  const uint64_t length = header.size();
  TRIREME_CHECK(length <= kLongestHeader, "a header of {} bytes: write more shards", length);
  const auto file = files.create(path);
  file->write(std::as_bytes(std::span(&length, 1)));
  file->write(std::as_bytes(std::span(header)));
  for (const TensorSource* tensor : order) {
    const std::span<const std::byte> bytes = tensor->bytes();
    TRIREME_CHECK(bytes.size() == static_cast<size_t>(byte_count(*tensor)),
                  "tensor {}: {} bytes given, {} declared", tensor->name, bytes.size(),
                  byte_count(*tensor));
    file->write(bytes);
  }
  file->sync_and_close();
}

}  // namespace

int64_t byte_count(const TensorSource& tensor) {
  int64_t bytes = dtype_bytes(tensor.dtype);
  for (const int64_t size : tensor.shape) {
    TRIREME_CHECK(size >= 0 && !__builtin_mul_overflow(bytes, size, &bytes), "tensor {}: size {}",
                  tensor.name, size);
  }
  return bytes;
}

void write_safetensors(FileSystem& files, const std::string& path,
                       const std::vector<TensorSource>& tensors) {
  write(files, path, tensors, R"({"__metadata__":{"format":"pt"})");
}

void write_dump(FileSystem& files, const std::string& path,
                const std::vector<TensorSource>& tensors) {
  write(files, path, tensors, kDumpMark);
}

bool is_dump(const std::string& path) {
  if (!is_plain_file(path)) return false;
  const std::string text = read_beginning(path, sizeof(uint64_t) + kDumpMark.size());
  return text.ends_with(kDumpMark) && text.size() == sizeof(uint64_t) + kDumpMark.size();
}

}  // namespace trireme::io
