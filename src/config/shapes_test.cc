#include "config/shapes.h"

#include <gtest/gtest.h>

#include "base/testing.h"

namespace trireme::config {
namespace {

TEST(KnownShape, IsThatOfThePublishedModel) {
  const ModelSpec spec = known_shape("qwen3-30b-a3b");
  EXPECT_EQ(spec.family, Family::kQwen3Moe);
  EXPECT_EQ(spec.q_dim(), 4096);
  EXPECT_EQ(spec.kv_dim(), 512);
  ASSERT_TRUE(spec.moe);
  EXPECT_EQ(spec.moe->experts, 128);
  EXPECT_TRUE(spec.moe->norm_topk_prob);
  EXPECT_TRUE(spec.sparse(47));
  for (const char* name : {"qwen3-0.6b", "qwen3-1.7b", "qwen3-8b", "llama3-8b"}) {
    EXPECT_FALSE(known_shape(name).moe) << name;
  }
}

TEST(KnownShape, AnUnknownOneIsRefusedWithTheNames) {
  const std::string text = user_error([] { known_shape("qwen3-8"); });
  EXPECT_NE(text.find("qwen3-8b"), std::string::npos) << text;
  EXPECT_NE(text.find("--model"), std::string::npos) << text;
}

}  // namespace
}  // namespace trireme::config
