#include "io/summed_files.h"

#include "io/hash.h"

namespace trireme::io {

class SummedFiles::Summed : public WritableFile {
 public:
  Summed(SummedFiles& files, const std::string& path)
      : files_(files), path_(path), file_(files.files_.create(path)) {}

  void write(std::span<const std::byte> bytes) override {
    file_->write(bytes);
    hash_.add(bytes);
    bytes_ += bytes.size();
  }
  void sync_and_close() override {
    file_->sync_and_close();
    files_.sums_[path_] = {bytes_, hash_.text()};
  }

 private:
  SummedFiles& files_;
  std::string path_;
  std::unique_ptr<WritableFile> file_;
  Hash hash_;
  uint64_t bytes_ = 0;
};

std::unique_ptr<WritableFile> SummedFiles::create(const std::string& path) {
  return std::make_unique<Summed>(*this, path);
}

void SummedFiles::rename(const std::string& from, const std::string& to) {
  files_.rename(from, to);
  if (auto sum = sums_.extract(from)) {
    sum.key() = to;
    sums_.erase(to);
    sums_.insert(std::move(sum));
  }
}

bool SummedFiles::link(const std::string& from, const std::string& to) {
  if (!files_.link(from, to)) return false;
  if (const auto sum = sums_.find(from); sum != sums_.end()) sums_[to] = FileSum(sum->second);
  return true;
}

}  // namespace trireme::io
