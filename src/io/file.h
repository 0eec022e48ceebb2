// Files behind an interface, so that tests can inject a full disk, a short write or a crash between
// two operations. Only writing goes through it: a reader cannot damage anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/regular_file.h"

namespace trireme::io {

// A file being written. Every operation throws UserError with path and errno text. Destroyed before
// sync_and_close, it is closed and its content is undefined.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  virtual void write(std::span<const std::byte> bytes) = 0;  // all of them
  // Returns once the bytes would survive a power failure; the name does after sync_folder of its
  // folder.
  virtual void sync_and_close() = 0;
};

// Every operation throws UserError that names path, reason and remedy.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual std::unique_ptr<WritableFile> create(
      const std::string& path) = 0;  // nothing may have its name; mode 0644
  virtual void make_folder(
      const std::string& path) = 0;  // with parents, which are synced; mode 0755
  virtual void rename(const std::string& from, const std::string& to) = 0;
  // Another name for a file, which must be free. False, and nothing done, where the file system
  // cannot.
  virtual bool link(const std::string& from, const std::string& to) = 0;
  // Swaps two names that exist, in one step. False, and nothing done, where the file system cannot
  // (NFS).
  virtual bool exchange(const std::string& one, const std::string& other) = 0;
  virtual void remove_all(const std::string& path) = 0;  // fine when there is nothing
  virtual void sync_folder(const std::string& path) = 0;
  // Bytes an ordinary user may still write at `path`, which need not exist yet.
  virtual uint64_t free_bytes(const std::string& path) = 0;
};

// The operating system's files.
FileSystem& posix();

// The whole file. UserError: missing, a folder, no regular file (a pipe, a device), longer than
// `most` bytes, not permitted.
std::string read_text(const std::string& path, uint64_t most = kAnyLength);

// The first bytes of a file, at most `most`.
std::string read_beginning(const std::string& path, size_t most);

// Creates a file, synced. io/temporary.h replaces one.
void write_text(FileSystem& files, const std::string& path, const std::string& text);

// Copies a file to a free name, synced.
void copy_file(FileSystem& files, const std::string& from, const std::string& to);

// Appends line and line break in one write, so that lines of several processes do not mix. It
// reaches the kernel, not necessarily the disk: for logs. Never through a link.
void append_line(const std::string& path, const std::string& line);

}  // namespace trireme::io
