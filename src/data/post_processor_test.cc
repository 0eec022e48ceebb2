#include "data/post_processor.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace trireme::data {
namespace {

using config::Json;
using Ids = std::vector<int32_t>;

TokenizerFile with(const Json& json) {
  TokenizerFile file;
  file.path = "t.json";
  file.post_processor = json;
  set_special_tokens(file);
  return file;
}

std::string complaint(const Json& json) {
  try {
    with(json);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

Json special(const char* id) { return {{"SpecialToken", {{"id", id}, {"type_id", 0}}}}; }
Json text() { return {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}; }
Json of_template(const Json& single) {
  const Json tokens = {{"<s>", {{"id", "<s>"}, {"ids", {1, 7}}, {"tokens", {"<s>", "x"}}}}};
  return {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", tokens}};
}

TEST(PostProcessor, WhatStandsBeforeAndBehindAText) {
  EXPECT_EQ(with(nullptr).before, Ids{});
  const TokenizerFile file = with(of_template({special("<s>"), text(), special("<s>")}));
  EXPECT_EQ(file.before, (Ids{1, 7}));
  EXPECT_EQ(file.behind, (Ids{1, 7}));
  const TokenizerFile bert =
      with({{"type", "BertProcessing"}, {"sep", {"</s>", 2}}, {"cls", {"<s>", 1}}});
  EXPECT_EQ(bert.before, Ids{1});
  EXPECT_EQ(bert.behind, Ids{2});
  const Json steps = Json::array({{{"type", "ByteLevel"}}, of_template({special("<s>"), text()})});
  EXPECT_EQ(with({{"type", "Sequence"}, {"processors", steps}}).before, (Ids{1, 7}));
}

TEST(PostProcessor, RefusesByName) {
  const Json one = of_template({special("<s>"), text()});
  EXPECT_EQ(complaint({{"type", "Sequence"}, {"processors", {one, one}}}),
            "t.json: post_processor with two steps that add tokens is not supported");
  for (const Json& single : {Json::array({special("<s>")}), Json::array({text(), text()}),
                             Json::array({special("<pad>"), text()}), Json::array({1})}) {
    EXPECT_NE(complaint(of_template(single)).find("is not supported"), std::string::npos);
  }
  EXPECT_NE(complaint({{"type", "RobertaProcessing"}, {"sep", 2}, {"cls", {"<s>", 1}}}), "");
  EXPECT_NE(complaint({{"type", "Doubling"}}).find("'Doubling' is not supported"),
            std::string::npos);
}

}  // namespace
}  // namespace trireme::data
