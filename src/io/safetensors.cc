#include "io/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "io/posix.h"
#include "io/safetensors_header.h"

namespace trireme::io {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors is little endian");

struct DTypeRow {
  DType dtype;
  const char* name;
  int64_t bytes;
};

constexpr std::array<DTypeRow, 12> kDTypes = {{{DType::kF32, "F32", 4},
                                               {DType::kF16, "F16", 2},
                                               {DType::kBF16, "BF16", 2},
                                               {DType::kF8E4M3, "F8_E4M3", 1},
                                               {DType::kF8E8M0, "F8_E8M0", 1},
                                               {DType::kI64, "I64", 8},
                                               {DType::kI32, "I32", 4},
                                               {DType::kU8, "U8", 1},
                                               {DType::kF64, "F64", 8},
                                               {DType::kI8, "I8", 1},
                                               {DType::kI16, "I16", 2},
                                               {DType::kBool, "BOOL", 1}}};

const DTypeRow& row_of(DType dtype) {
  for (const DTypeRow& row : kDTypes) {
    if (row.dtype == dtype) return row;
  }
  TRIREME_CHECK(false, "dtype {}", static_cast<int>(dtype));
  __builtin_unreachable();
}

constexpr size_t kPrefix = 8;  // the header's length

size_t regular_file_size(const Fd& fd, const std::string& path) {
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) fail_errno(path, "read", errno);
  const auto size = static_cast<size_t>(status.st_size);
  if (size < kPrefix) {
    fail("{}: {} bytes are too few for a safetensors file: download it again", path, size);
  }
  return size;
}

// What a file is whose first bytes are these; nullptr where that is not known.
const char* other_file(std::string_view prefix) {
  if (prefix.starts_with("PK\3\4")) return "a file of torch.save (a zip archive)";
  if (prefix.starts_with("GGUF")) return "a GGUF file of llama.cpp";
  if (prefix.starts_with("<!DOCTYP") || prefix.starts_with("<html")) {
    return "an HTML page (download it again)";
  }
  return nullptr;
}

}  // namespace

std::string read_header(const Fd& fd, uint64_t file_bytes, const std::string& path) {
  std::array<char, kPrefix> prefix;
  read_at(fd, path, 0, std::as_writable_bytes(std::span(prefix)));
  if (std::string_view(prefix.data(), kPrefix) == "version ") {
    fail("{}: a Git LFS pointer, not the file itself: run `git lfs pull` in its folder", path);
  }
  if (const char* other = other_file({prefix.data(), kPrefix})) {
    fail("{}: {}, not a safetensors file", path, other);
  }
  const auto length = std::bit_cast<uint64_t>(prefix);
  if (length > kLongestHeader) {
    fail("{}: a header of {} bytes (at most {} are allowed): not a safetensors file", path, length,
         kLongestHeader);
  }
  if (length > file_bytes - kPrefix) {
    fail("{}: the file is truncated: a header of {} bytes expected, {} found: download it again",
         path, length, file_bytes - kPrefix);
  }
  std::string header(length, '\0');
  read_at(fd, path, kPrefix, std::as_writable_bytes(std::span(header)));
  return header;
}

int64_t dtype_bytes(DType dtype) { return row_of(dtype).bytes; }
const char* dtype_name(DType dtype) { return row_of(dtype).name; }

std::optional<DType> dtype_of(std::string_view name) {
  for (const DTypeRow& row : kDTypes) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

void SafetensorsFile::Unmap::operator()(const std::byte* data) const {
  ::munmap(const_cast<std::byte*>(data), size);
}

SafetensorsFile::SafetensorsFile(const std::string& path)
    : path_(path), fd_(open_for_reading(path)) {
  const size_t size = regular_file_size(fd_, path);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd_.get(), 0);
  if (data == MAP_FAILED) fail_errno(path, "map", errno);
  data_ = {static_cast<const std::byte*>(data), Unmap{size}};
  const std::string header = read_header(fd_, size, path);
  const uint64_t start = kPrefix + header.size();
  entries_ = parse_header(header, size - start, path);
  for (auto& [name, entry] : entries_) {
    entry.begin += start;
    entry.end += start;
  }
}

std::span<const std::byte> SafetensorsFile::bytes(const TensorEntry& entry) const {
  TRIREME_CHECK(entry.begin <= entry.end && entry.end <= data_.get_deleter().size, "{}: [{}, {})",
                path_, entry.begin, entry.end);
  return {data_.get() + entry.begin, entry.end - entry.begin};
}

void SafetensorsFile::read(const TensorEntry& entry, std::span<std::byte> into) const {
  TRIREME_CHECK(into.size() == bytes(entry).size(), "{} bytes for {}", into.size(),
                bytes(entry).size());
  read_at(fd_, path_, entry.begin, into);
}

}  // namespace trireme::io
