// safetensors: u64 header length (little endian), JSON header {name: {dtype, shape, data_offsets}}, then bytes.
// Reading is hostile-input safe: header over 100 MB, overlap, hole, overflow, duplicate key, trailing or missing bytes,
// size != shape * dtype are each one UserError that names the file and the tensor.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace trireme::io {

enum class DType { kF32, kF16, kBF16, kI64, kI32, kU8, kF64, kI8, kI16, kBool };
int64_t dtype_bytes(DType dtype);
const char* dtype_name(DType dtype);  // "F32", as in the header

struct TensorEntry {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // bytes from the start of the file
  uint64_t end = 0;
};

// A mapped file: reading touches only the pages asked for.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(SafetensorsFile&&) = delete;

  const std::string& path() const { return path_; }
  const std::map<std::string, TensorEntry>& entries() const { return entries_; }
  // The tensor's bytes in the mapping; valid while this object lives.
  std::span<const std::byte> bytes(const TensorEntry& entry) const;
  // Tells the kernel that these bytes are needed soon / no longer needed, so that loading a checkpoint neither waits
  // page by page nor holds the file in this process's memory.
  void will_need(const TensorEntry& entry) const;
  void done_with(const TensorEntry& entry) const;

 private:
  std::string path_;
  std::map<std::string, TensorEntry> entries_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// A tensor to write; bytes stay the caller's until write returns. `bytes` is called once, in order, so that a tensor
// can be produced (copied from a device, converted) just when its turn comes.
struct TensorSource {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::function<std::span<const std::byte>()> bytes;
};

}  // namespace trireme::io
