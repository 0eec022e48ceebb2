// What the tests of this folder share.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "io/safetensors.h"

namespace trireme::io {

// An empty folder of the running test, gone with the object.
class TestFolder {
 public:
  explicit TestFolder(const std::string& base = testing::TempDir()) {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::path(base) /
            (std::string("trireme_io_") + test->test_suite_name() + "_" + test->name());
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }

  std::string path() const { return path_.string(); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << text;
    return (path_ / name).string();
  }

 private:
  std::filesystem::path path_;
};

// The message of the UserError that body throws; "" when it throws none.
template <typename Body>
std::string user_error(const Body& body) {
  try {
    body();
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A tensor of bytes, named and filled.
inline TensorSource byte_tensor(const std::string& name, std::string content) {
  const auto size = static_cast<int64_t>(content.size());
  return {name, DType::kU8, {size}, [content = std::move(content)] {
            return std::as_bytes(std::span(content));
          }};
}

inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A file with this header and data, whether they fit or not.
inline std::string safetensors_text(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

}  // namespace trireme::io
