// Files whose sizes and hashes are known once they have been written: a manifest lists them without
// reading anything again.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "io/file.h"
#include "io/manifest.h"

namespace trireme::io {

class SummedFiles : public FileSystem {
 public:
  explicit SummedFiles(FileSystem& files) : files_(files) {}

  std::unique_ptr<WritableFile> create(const std::string& path) override;
  void make_folder(const std::string& path) override { files_.make_folder(path); }
  void rename(const std::string& from, const std::string& to) override;
  bool link(const std::string& from, const std::string& to) override;
  bool exchange(const std::string& one, const std::string& other) override {
    return files_.exchange(one, other);
  }
  void remove_all(const std::string& path) override { files_.remove_all(path); }
  void sync_folder(const std::string& path) override { files_.sync_folder(path); }
  uint64_t free_bytes(const std::string& path) override { return files_.free_bytes(path); }

  // By path, of each file that was closed in order.
  const std::map<std::string, FileSum>& sums() const { return sums_; }
  // Adds a file that another process has written.
  void add(const std::string& path, FileSum sum) { sums_[path] = std::move(sum); }

 private:
  class Summed;

  FileSystem& files_;
  std::map<std::string, FileSum> sums_;
};

}  // namespace trireme::io
