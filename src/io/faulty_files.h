// For tests: files that fail, or die, at one of their operations.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "io/file.h"

namespace trireme::io {

struct Fault {
  int at = 0;          // the operation that fails, from 1; 0 is none
  bool crash = false;  // nothing is executed from then on
};

// The operating system's files with a fault and a log. A failing write takes half of its bytes, a
// failing remove_all one of the files: as a full disk, a dying disk and kill -9 leave them. Syncs
// are only logged: this runs hundreds of publishes, and what syncs are for is tested by the order
// of the log.
class FaultyFiles : public FileSystem {
 public:
  FaultyFiles(Fault fault, bool can_exchange) : fault_(fault), can_exchange_(can_exchange) {}

  std::unique_ptr<WritableFile> create(const std::string& path) override;
  void make_folder(const std::string& path) override {
    step("make " + path, [] {});
    std::filesystem::create_directories(path);
  }
  bool link(const std::string& from, const std::string& to) override {
    if (!can_exchange_) return false;
    step("link " + from + " " + to, [] {});
    return posix().link(from, to);
  }
  void rename(const std::string& from, const std::string& to) override {
    step("rename " + from + " " + to, [] {});
    posix().rename(from, to);
  }
  bool exchange(const std::string& one, const std::string& other) override {
    if (!can_exchange_) return false;
    step("exchange " + one + " " + other, [] {});
    return posix().exchange(one, other);
  }
  void remove_all(const std::string& path) override {
    step("remove " + path, [&] { remove_one(path); });
    posix().remove_all(path);
  }
  void sync_folder(const std::string& path) override {
    step("sync " + path, [] {});
  }
  uint64_t free_bytes(const std::string&) override { return room; }

  uint64_t room = uint64_t{1} << 30;

  // Counts an operation; when it is the one that fails, leaves what `partly` leaves of it.
  void step(const std::string& text, const std::function<void()>& partly) {
    log_.push_back(text);
    if (crashed_) throw UserError("crashed");
    if (static_cast<int>(log_.size()) != fault_.at) return;
    partly();
    crashed_ = fault_.crash;
    throw UserError("injected at " + text);
  }
  const std::vector<std::string>& log() const { return log_; }

 private:
  static void remove_one(const std::string& path) {
    namespace fs = std::filesystem;
    if (fs::is_directory(path) && !fs::is_empty(path)) {
      fs::remove_all(fs::directory_iterator(path)->path());
    }
  }

  Fault fault_;
  bool can_exchange_;
  bool crashed_ = false;
  std::vector<std::string> log_;
};

class FaultyFile : public WritableFile {
 public:
  FaultyFile(FaultyFiles& files, const std::string& path)
      : files_(files), path_(path), file_(posix().create(path)) {}
  void write(std::span<const std::byte> bytes) override {
    files_.step("write " + path_, [&] { file_->write(bytes.first(bytes.size() / 2)); });
    file_->write(bytes);
  }
  void sync_and_close() override {
    files_.step("close " + path_, [] {});
    file_.reset();
  }

 private:
  FaultyFiles& files_;
  std::string path_;
  std::unique_ptr<WritableFile> file_;
};

inline std::unique_ptr<WritableFile> FaultyFiles::create(const std::string& path) {
  step("create " + path, [] {});
  return std::make_unique<FaultyFile>(*this, path);
}

// Hundreds of folders come and go, which takes a disk 10 s and memory less than one.
inline std::string quick_place() {
  return std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : "/tmp";
}

}  // namespace trireme::io
