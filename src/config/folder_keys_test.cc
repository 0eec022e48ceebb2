#include "config/folder_keys.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"

namespace trireme::config {
namespace {

// The error, or else the line for the log.
std::string outcome(const char* key, const Json& value) {
  try {
    return judge_tokenizer_keys({{key, value}}, "t");
  } catch (const UserError& error) {
    return error.what();
  }
}

TEST(FolderKeys, EachStandsOnceAndItsNeutralValueIsNeutral) {
  for (const auto rows : {generation_keys(), tokenizer_keys()}) {
    std::set<std::string_view> paths;
    for (const ModelKey& row : rows) {
      EXPECT_TRUE(paths.insert(row.path).second) << row.path;
      EXPECT_FALSE(row.text.empty()) << row.path;
      EXPECT_EQ(find_key(rows, row.path), &row);
      if (row.fate == ModelKeyFate::kNeutral && !row.scope.empty()) {
        EXPECT_TRUE(is_neutral(row, Json::parse(row.scope))) << row.path;
      }
    }
  }
}

TEST(FolderKeys, OfATokenizerAreRefusedOrNamed) {
  EXPECT_EQ(outcome("split_special_tokens", true),
            "t: split_special_tokens is true: special tokens that are read as text, which is not "
            "built: set it to false to do without");
  EXPECT_EQ(outcome("split_special_tokens", false), "");
  EXPECT_EQ(outcome("fix_mistral_regex", nullptr), "");
  EXPECT_EQ(outcome("padding_side", "left"), "");
  EXPECT_EQ(outcome("made_by", "hand"), "t: keys that are not known, and have no effect: made_by");
  EXPECT_EQ(outcome("made_by", ""), "");
  EXPECT_EQ(outcome("image_token", "<image>"), "");
  EXPECT_NE(outcome("use_token", true), "");
}

}  // namespace
}  // namespace trireme::config
