// What the tests of readers share: a folder of their own, and the message of a UserError.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "data/review.h"

namespace trireme::data {

// A folder that is gone with the object.
class TestFolder {
 public:
  TestFolder() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::path(testing::TempDir()) /
            (std::string("trireme_") + test->test_suite_name() + "_" + test->name());
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return (path_ / name).string();
  }
  std::string path() const { return path_.string(); }

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

// A user with one review a day of films "F0", "F1", ..., all with text, from 2015-01-01 on.
inline User make_user(const std::string& name, const std::vector<std::string>& texts) {
  User user;
  user.name = name;
  for (size_t i = 0; i < texts.size(); ++i) {
    Review review;
    review.film = "F" + std::to_string(i);
    review.text = texts[i];
    review.date = fmt::format("2015-01-{:02}", i + 1);
    review.position = static_cast<int64_t>(i);
    user.reviews.push_back(std::move(review));
  }
  return user;
}

}  // namespace trireme::data
