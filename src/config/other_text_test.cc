#include "config/other_text.h"

#include <gtest/gtest.h>

namespace trireme::config {
namespace {

TEST(OtherText, WhatIsOftenGivenIsNamed) {
  EXPECT_TRUE(
      other_text("version https://git-lfs.github.com/spec/v1\noid 1").starts_with("a Git LFS"));
  for (const char* page : {"<!DOCTYPE html>", "\n <!doctype html>", "<html><head>"}) {
    EXPECT_TRUE(other_text(page).starts_with("an HTML page")) << page;
  }
  for (const char* yaml :
       {"a: 1", "---\n- 1", "# c\n\n  # d\nzero_optimization:\n  stage: 2", "a.b-c:\r\n"}) {
    EXPECT_TRUE(other_text(yaml).starts_with("YAML")) << yaml;
  }
}

TEST(OtherText, JsonWithAMistakeIsNot) {
  for (const char* text :
       {"", "{", "{a: 1}", "\"a\": 1", "# a: 1", "a:b", "a b: 1", "[1, 2", "://"}) {
    EXPECT_EQ(other_text(text), "") << text;
  }
}

}  // namespace
}  // namespace trireme::config
