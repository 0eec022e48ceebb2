#include "data/token_decoder.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace trireme::data {
namespace {

using config::Json;
using Entries = std::vector<std::string>;

std::string decoded(const Json& json, const Entries& entries) {
  return TokenDecoder(json, "t.json")(entries);
}

// Expected texts are those of `tokenizers` 0.23.
TEST(TokenDecoder, EachKind) {
  EXPECT_EQ(decoded(nullptr, {"a", "b"}), "a b");
  EXPECT_EQ(decoded({{"type", "Fuse"}}, {"a", "b"}), "ab");
  EXPECT_EQ(decoded({{"type", "ByteLevel"}}, {"Ġa", "Ċ"}), " a\n");
  const Json metaspace = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}};
  EXPECT_EQ(decoded(metaspace, {"▁a", "▁b▁"}), "a b ");
  EXPECT_EQ(
      decoded({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 1}}, {"  a ", " b"}),
      " ab");
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}};
  EXPECT_EQ(decoded(replace, {"▁a", "▁"}), " a ");
}

TEST(TokenDecoder, BytesThatAreNoTextBecomeReplacements) {
  const Json bytes = {{"type", "ByteFallback"}};
  EXPECT_EQ(decoded(bytes, {"<0xE5>", "<0xA5>", "<0xBD>", "a"}), "好a");
  EXPECT_EQ(decoded(bytes, {"<0xE5>", "<0xA5>", "a", "<0x0A>"}), "\uFFFD\uFFFDa\n");
  EXPECT_EQ(decoded(bytes, {"<0xZZ>", "<0x0>"}), "<0xZZ><0x0>");
}

TEST(TokenDecoder, RefusesByName) {
  try {
    const TokenDecoder decoder({{"type", "CTC"}}, "t.json");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("decoder 'CTC' is not supported"), std::string::npos);
  }
}

}  // namespace
}  // namespace trireme::data
