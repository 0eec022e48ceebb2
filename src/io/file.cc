#include "io/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "base/regular_file.h"
#include "io/posix.h"

namespace trireme::io {
namespace {

namespace fs = std::filesystem;

// write(2) may take a part, and a signal may interrupt it before it takes any.
void write_all(int fd, const std::string& path, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_errno(path, "write", errno);
    if (written == 0) fail_errno(path, "write", ENOSPC);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

class PosixFile : public WritableFile {
 public:
  PosixFile(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  // In pieces, each of which begins its way to the disk at once: left to itself the kernel waits
  // for a tenth of the memory, and the disk stands still meanwhile.
  void write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const auto piece = bytes.first(std::min(bytes.size(), kPiece - unsent_));
      write_all(fd_.get(), path_, piece);
      bytes = bytes.subspan(piece.size());
      unsent_ += piece.size();
      if (unsent_ < kPiece) continue;
      unsent_ = 0;
      (void)::sync_file_range(fd_.get(), 0, 0, SYNC_FILE_RANGE_WRITE);  // fsync tells of errors
    }
  }

  void sync_and_close() override {
    if (::fsync(fd_.get()) != 0) fail_errno(path_, "sync", errno);
    // Network file systems report a full disk only here.
    if (::close(fd_.release()) != 0 && errno != EINTR) fail_errno(path_, "close", errno);
  }

 private:
  static constexpr size_t kPiece = size_t{64} << 20;

  Fd fd_;
  std::string path_;
  size_t unsent_ = 0;  // bytes since the last piece
};

std::string parent_of(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

class PosixFileSystem : public FileSystem {
 public:
  std::unique_ptr<WritableFile> create(const std::string& path) override {
    Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (fd.get() < 0) fail_errno(path, "create", errno);
    // For as long as it is written it is no leftover to others; a file system without locks has no
    // more to give.
    (void)::flock(fd.get(), LOCK_EX | LOCK_NB);
    return std::make_unique<PosixFile>(std::move(fd), path);
  }

  void make_folder(const std::string& path) override {
    if (path.empty() || kind_of(path) == Kind::kFolder) return;
    make_folder(fs::path(path).parent_path().string());
    if (::mkdir(path.c_str(), 0755) != 0) {
      const int error = errno;
      if (error == EEXIST && kind_of(path) == Kind::kFolder) return;  // another rank was faster
      fail_errno(path, "create the folder", error);
    }
    sync_folder(parent_of(path));
  }

  void rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) fail_errno(to, "rename " + from + " to it", errno);
  }

  bool link(const std::string& from, const std::string& to) override {
    if (::link(from.c_str(), to.c_str()) == 0) return true;
    if (errno == EPERM || errno == ENOSYS || errno == EOPNOTSUPP || errno == EMLINK) return false;
    fail_errno(to, "link " + from + " to it", errno);
  }

  bool exchange(const std::string& one, const std::string& other) override {
    if (::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) == 0)
      return true;
    if (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP) return false;
    fail_errno(other, "exchange it with " + one, errno);
  }

  void remove_all(const std::string& path) override {
    std::error_code error;
    fs::remove_all(path, error);
    if (error) fail_errno(path, "remove", error.value());
  }

  void sync_folder(const std::string& path) override {
    Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() < 0) fail_errno(path, "sync the folder", errno);
    // EINVAL: a file system without a sync for folders (some FUSE ones); there is nothing more to
    // do on it.
    if (::fsync(fd.get()) != 0 && errno != EINVAL) fail_errno(path, "sync the folder", errno);
  }

  uint64_t free_bytes(const std::string& path) override {
    std::error_code error;
    fs::path existing = fs::absolute(path, error);
    if (error) fail_errno(path, "resolve its path", error.value());
    while (kind_of(existing.string()) == Kind::kNothing && existing.has_relative_path()) {
      existing = existing.parent_path();
    }
    struct statvfs status;
    if (::statvfs(existing.c_str(), &status) != 0)
      fail_errno(path, "ask for its free space", errno);
    return uint64_t{status.f_bavail} * status.f_frsize;
  }
};

}  // namespace

FileSystem& posix() {
  static PosixFileSystem files;
  return files;
}

std::string read_text(const std::string& path, uint64_t most) {
  constexpr size_t kStep = size_t{1} << 16;
  require_regular_file(path, most);
  const Fd fd = open_for_reading(path);
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) fail_errno(path, "read", errno);
  // One byte more than the size, so that the first read of a whole file is followed by one that
  // finds its end. It may have grown meanwhile, and files of /proc have no size.
  std::string text(static_cast<size_t>(status.st_size) + 1, '\0');
  size_t filled = 0;
  while (true) {
    if (filled == text.size()) text.resize(text.size() + std::max(kStep, text.size() / 2));
    const ssize_t count = ::read(fd.get(), text.data() + filled, text.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_errno(path, "read", errno);
    if (count == 0) break;
    filled += static_cast<size_t>(count);
    require_length(filled, most, path);
  }
  text.resize(filled);
  return text;
}

std::string read_beginning(const std::string& path, size_t most) {
  const Fd fd = open_for_reading(path);
  std::string text(most, '\0');
  const ssize_t count = ::pread(fd.get(), text.data(), most, 0);
  if (count < 0) fail_errno(path, "read", errno);
  text.resize(static_cast<size_t>(count));
  return text;
}

void write_text(FileSystem& files, const std::string& path, const std::string& text) {
  const auto file = files.create(path);
  file->write(std::as_bytes(std::span(text)));
  file->sync_and_close();
}

void copy_file(FileSystem& files, const std::string& from, const std::string& to) {
  const Fd source = open_for_reading(from);
  const auto file = files.create(to);
  std::vector<std::byte> piece(size_t{1} << 20);
  while (true) {
    const ssize_t count = ::read(source.get(), piece.data(), piece.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_errno(from, "read", errno);
    if (count == 0) break;
    file->write(std::span(piece).first(static_cast<size_t>(count)));
  }
  file->sync_and_close();
}

void append_line(const std::string& path, const std::string& line) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (fd.get() < 0) fail_errno(path, "append", errno);
  const std::string text = line + '\n';
  write_all(fd.get(), path, std::as_bytes(std::span(text)));
}

}  // namespace trireme::io
