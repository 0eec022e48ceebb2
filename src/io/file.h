// Files behind an interface, so that tests can inject a full disk, a short write or a crash between two operations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace trireme::io {

// A file being written. Every operation throws UserError with path and errno text.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  virtual void write(std::span<const std::byte> bytes) = 0;
  virtual void sync_and_close() = 0;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual std::unique_ptr<WritableFile> create(const std::string& path) = 0;
  virtual void make_folder(const std::string& path) = 0;  // with parents
  virtual void rename(const std::string& from, const std::string& to) = 0;
  virtual void remove_all(const std::string& path) = 0;
  virtual void sync_folder(const std::string& path) = 0;
  virtual uint64_t free_bytes(const std::string& path) = 0;
};

FileSystem& posix();

std::string read_text(const std::string& path);
void write_text(FileSystem& files, const std::string& path, const std::string& text);
void append_line(const std::string& path, const std::string& line);  // flushed

}  // namespace trireme::io
