// safetensors: u64 header length (little endian), JSON header {name: {dtype, shape, data_offsets}},
// then bytes. Reading is hostile-input safe: header over 100 MB, overlap, hole, overflow, duplicate
// key, trailing or missing bytes, size != shape * dtype are each one UserError that names the file
// and the tensor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/fd.h"
#include "io/file.h"

namespace trireme::io {

enum class DType { kF32, kF16, kBF16, kF8E4M3, kF8E8M0, kI64, kI32, kU8, kF64, kI8, kI16, kBool };
int64_t dtype_bytes(DType dtype);
const char* dtype_name(DType dtype);  // "F32", as in the header
std::optional<DType> dtype_of(std::string_view name);

struct TensorEntry {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // bytes from the start of the file
  uint64_t end = 0;
};

// A mapped file: reading touches only the pages that are read. Names, shapes and ranges are checked
// when it is opened. If another process shortens the file later, read() throws, and touching
// bytes() faults.
class SafetensorsFile {
 public:
  // Throws UserError for a file that cannot be read or whose header lies.
  explicit SafetensorsFile(const std::string& path);
  SafetensorsFile(SafetensorsFile&&) noexcept = default;
  SafetensorsFile& operator=(SafetensorsFile&&) = delete;

  const std::string& path() const { return path_; }
  const std::map<std::string, TensorEntry>& entries() const { return entries_; }
  // The tensor's bytes in the mapping; valid while this object lives. A part of an entry will do.
  std::span<const std::byte> bytes(const TensorEntry& entry) const;
  // Copies the bytes of an entry, or of a part of one, to memory of that size: at the speed of
  // reading the file in any order, warm or cold, where touching the mapping cold takes about twice
  // as long (it reads and maps page by page). Throws UserError when the disk fails or the file has
  // become shorter.
  void read(const TensorEntry& entry, std::span<std::byte> into) const;

 private:
  struct Unmap {
    size_t size;
    void operator()(const std::byte* data) const;
  };

  std::string path_;
  Fd fd_;
  std::unique_ptr<const std::byte[], Unmap> data_;
  std::map<std::string, TensorEntry> entries_;
};

// A tensor to write; bytes stay the caller's until the next tensor's turn. `bytes` is called once,
// when the turn of the tensor comes, so that it can be produced (copied from a device, converted)
// just then.
struct TensorSource {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::function<std::span<const std::byte>()> bytes;
};

// Size of a tensor to write.
int64_t byte_count(const TensorSource& tensor);

// Writes one safetensors file, synced: header first, then each source in the order given; wider
// dtypes go before narrower ones, so that every tensor is aligned as torch's readers demand.
void write_safetensors(FileSystem& files, const std::string& path,
                       const std::vector<TensorSource>& tensors);

// How the header of a file begins that write_dump wrote.
inline constexpr std::string_view kDumpMark = R"({"__metadata__":{"format":"pt","trireme":"dump"})";

// The same, with metadata that says that a dump of ours may be replaced by the next.
void write_dump(FileSystem& files, const std::string& path,
                const std::vector<TensorSource>& tensors);
// Whether a file begins so, and is no link.
bool is_dump(const std::string& path);

}  // namespace trireme::io
