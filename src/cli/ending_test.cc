#include "cli/ending.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"

namespace trireme::cli {
namespace {

template <typename Error>
Ending ending_with(const Error& error) {
  return ending_of(std::make_exception_ptr(error));
}

TEST(Ending, AMistakeOfTheUsersHasStatus2) {
  const Ending ending = ending_with(UserError("f:1:2: no"));
  EXPECT_EQ(ending.status, 2);
  EXPECT_EQ(ending.words, "f:1:2: no");
}

TEST(Ending, AFileSystemErrorNamesPathAndReasonOnly) {
  const std::filesystem::filesystem_error error("cannot list", "some/folder",
                                                std::make_error_code(std::errc::permission_denied));
  EXPECT_EQ(ending_with(error).status, 2);
  EXPECT_EQ(ending_with(error).words, "some/folder: Permission denied");
}

TEST(Ending, OurBugsSayThatTheyAre) {
  const Ending ending = ending_with(std::logic_error("x"));
  EXPECT_EQ(ending.status, 1);
  EXPECT_EQ(ending.words, "internal error: x");
}

TEST(Ending, WordsOfOtherLibrariesAreOneLine) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(end({1, "InternalError", "a\nb"}), 1);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "trireme: a\\x0ab\n");
}

}  // namespace
}  // namespace trireme::cli
