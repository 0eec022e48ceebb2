#include "config/module_pattern.h"

#include <gtest/gtest.h>

#include "base/testing.h"

namespace trireme::config {
namespace {

bool matches(const std::string& pattern, const std::string& name) {
  return ModulePattern(pattern, "p").matches(name);
}

TEST(ModulePattern, DescribesWholeNamesAsPythonDoes) {
  const std::string name = "model.layers.11.self_attn.q_proj";
  EXPECT_TRUE(matches(R"(.*\.(q|k)_proj)", name));
  EXPECT_TRUE(matches(R"(\Amodel\.layers\.(?:1\d)\..*_proj\Z)", name));
  EXPECT_TRUE(matches(R"(model.layers.(?P<layer>\d+).self_attn.[qk]_proj)", name));
  EXPECT_TRUE(matches(R"((?!.*mlp).*q_proj)", name));
  EXPECT_TRUE(matches(R"(.*?(?:self_attn|attention).*?(?:q_proj|v_proj).*?)", name));
  EXPECT_TRUE(matches(R"(model[].[]layers.*)", name));
  EXPECT_FALSE(matches("q_proj", name));
  EXPECT_FALSE(matches(R"(.*\.layers\.1\..*)", name));
  EXPECT_FALSE(matches(R"((?!.*self).*q_proj)", name));
}

TEST(ModulePattern, RefusesByName) {
  const auto error = [](const std::string& text) {
    return user_error([&] { ModulePattern(text, "--target_modules"); });
  };
  EXPECT_EQ(error("(?i)q_proj"),
            "--target_modules: (?i in the pattern '(?i)q_proj' is not built: name the modules in a "
            "list");
  for (const char* bad : {"(?<=a)b", "(?#c)", "(a)\\1", "\\p", "a\\", "[a", "(a", "a)", "*", "a{2"})
    EXPECT_NE(error(bad), "") << bad;
  EXPECT_EQ(error(R"(layers\.\d{1,2})"), "");
  EXPECT_NE(error("((a{1,50}){1,50}){1,50}"), "");
  EXPECT_NE(error(std::string(5000, 'a')), "");
  EXPECT_NE(error(std::string(500, '(') + std::string(500, ')')), "");
}

// A matcher that backtracks would take 2^60 steps.
TEST(ModulePattern, TakesLinearTime) { EXPECT_FALSE(matches("(a*)*b", std::string(60, 'a'))); }

TEST(ModuleKey, DescribesANameOrItsEnd) {
  const auto matches = [](const std::string& key, const std::string& name) {
    return ModuleKey(key, "k").matches(name);
  };
  const std::string name = "model.layers.1.mlp.up_proj";
  EXPECT_TRUE(matches("up_proj", name));
  EXPECT_TRUE(matches("mlp.up_proj", name));
  EXPECT_TRUE(matches("layers.1.mlp.up_proj", name));
  EXPECT_TRUE(matches("model.layers.1.mlp.up_proj", name));
  EXPECT_TRUE(matches(R"(^model\.layers\.\d\.mlp\.up_proj)", name));
  EXPECT_TRUE(matches("up_proj|down_proj", name));
  EXPECT_FALSE(matches("p_proj", name));
  EXPECT_FALSE(matches("mlp", name));
  EXPECT_FALSE(matches(R"(layers\.1)", name));
}

}  // namespace
}  // namespace trireme::config
