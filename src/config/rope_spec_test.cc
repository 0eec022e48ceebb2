#include "config/rope_spec.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "config/model_spec.h"

namespace trireme::config {
namespace {

// Heads of 8, 4096 positions.
Json config_with(const char* key, const Json& rope) {
  return {{"model_type", "llama"},
          {"hidden_size", 32},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"vocab_size", 1000},
          {"intermediate_size", 512},
          {"rope_theta", 500000.0},
          {"max_position_embeddings", 4096},
          {key, rope}};
}

RopeSpec parse(const char* key, const Json& rope) {
  return parse_model_spec(config_with(key, rope), "config.json").rope;
}

RopeSpec parse(const Json& rope) { return parse("rope_parameters", rope); }

template <typename Act>
std::string error_of(Act act) {
  try {
    act();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

std::string refusal(const Json& rope) {
  return error_of([&] { parse("rope_scaling", rope); });
}

TEST(RopeSpec, OldAndNewKeys) {
  const Json old = {{"factor", 8.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}};
  Json fresh = old;
  fresh["rope_theta"] = 1e6;
  for (const char* type : {"type", "rope_type"}) {
    Json both = old;
    both[type] = "llama3";
    EXPECT_EQ(parse("rope_scaling", both).type, RopeType::kLlama3);
    EXPECT_EQ(parse("rope_scaling", both).theta, 500000);
    EXPECT_EQ(parse("rope_scaling", both).original_positions, 4096);
    fresh[type] = "llama3";
    EXPECT_EQ(parse(fresh).theta, 1e6);
  }
}

// transformers reads `rope_scaling or rope_parameters`, and rope_type before type.
TEST(RopeSpec, WhatWinsOverWhat) {
  Json json = config_with("rope_parameters", {{"rope_type", "linear"}, {"factor", 2}});
  EXPECT_EQ(parse_model_spec(json, "c").rope.type, RopeType::kLinear);
  json["rope_scaling"] = Json::object();
  EXPECT_EQ(parse_model_spec(json, "c").rope.type, RopeType::kLinear);
  json["rope_scaling"] = {{"rope_type", "dynamic"}, {"type", "linear"}, {"factor", 3}};
  EXPECT_EQ(parse_model_spec(json, "c").rope.type, RopeType::kDynamic);
  EXPECT_EQ(parse_model_spec(json, "c").rope.factor, 3);
}

// The positions of pretraining beside the object win over those in it, as in Phi-3's files.
TEST(RopeSpec, OriginalPositions) {
  Json json = config_with("rope_scaling", {{"type", "yarn"}, {"factor", 4}});
  EXPECT_EQ(parse_model_spec(json, "c").rope.original_positions, 4096);
  json["rope_scaling"]["original_max_position_embeddings"] = 1024;
  EXPECT_EQ(parse_model_spec(json, "c").rope.original_positions, 1024);
  json["original_max_position_embeddings"] = 2048;
  EXPECT_EQ(parse_model_spec(json, "c").rope.original_positions, 2048);
}

// The numbers that transformers 5.17 prints for these.
TEST(RopeSpec, AttentionFactorOfYarn) {
  Json rope = {{"rope_type", "yarn"}, {"factor", 4.0}};
  EXPECT_NEAR(parse(rope).attention_factor, 1.138629436111989, 1e-15);
  rope["mscale"] = 0.707;  // alone it does nothing
  EXPECT_NEAR(parse(rope).attention_factor, 1.138629436111989, 1e-15);
  rope["mscale_all_dim"] = 1.0;
  EXPECT_NEAR(parse(rope).attention_factor, 0.964326914892074, 1e-12);
  rope["attention_factor"] = 0.5;
  EXPECT_EQ(parse(rope).attention_factor, 0.5);
  EXPECT_EQ(parse({{"rope_type", "yarn"}, {"factor", 0.5}}).attention_factor, 1);
  // A factor of null is the ratio of the lengths; zeros and null count as left out.
  rope = {{"rope_type", "yarn"},
          {"factor", nullptr},
          {"original_max_position_embeddings", 1024},
          {"beta_fast", 0},
          {"beta_slow", nullptr}};
  EXPECT_EQ(parse(rope).factor, 4);
  EXPECT_EQ(parse(rope).beta_fast, 32);
  EXPECT_EQ(parse(rope).beta_slow, 1);
  EXPECT_TRUE(parse(rope).truncate);
  rope["truncate"] = nullptr;
  EXPECT_FALSE(parse(rope).truncate);
}

TEST(RopeSpec, NumbersBeyondFloat32AreRefused) {
  EXPECT_EQ(refusal({{"type", "linear"}, {"factor", 1e300}}),
            "config.json: a number of the rope is 1e+300: 1e-30 to 1e30 is expected");
  EXPECT_EQ(refusal({{"type", "linear"}, {"factor", 1e-300}}),
            "config.json: a number of the rope is 1e-300: 1e-30 to 1e30 is expected");
}

TEST(RopeSpec, RefusedByName) {
  EXPECT_EQ(refusal({{"type", "su"}}),
            "config.json: rope_scaling.rope_type su is not supported: trireme knows default, "
            "linear, dynamic, yarn, longrope and llama3");
  EXPECT_EQ(refusal({{"type", "yarn"}}), "config.json: the key rope_scaling.factor is missing");
  EXPECT_EQ(refusal({{"type", "linear"}, {"factor", "2"}}),
            "config.json: rope_scaling.factor is \"2\": a number above 0 is expected");
  EXPECT_EQ(refusal({{"type", "longrope"}, {"short_factor", {1, 2}}}),
            "config.json: rope_scaling.short_factor has 2 numbers: 4 are expected, one for each "
            "pair of a head's 8 dimensions");
  EXPECT_EQ(refusal({{"type", "linear"}, {"factor", 2}, {"partial_rotary_factor", 0.5}}),
            "config.json: rope_scaling.partial_rotary_factor is 0.5: heads that are rotated in "
            "part, which is not built: set it to 1 to do without");
  EXPECT_EQ(refusal({{"type", "yarn"}, {"factor", 2}, {"mscale", -100}, {"mscale_all_dim", 1}}),
            "config.json: rope_scaling.mscale -100 and mscale_all_dim 1 scale attention by "
            "-5.54698416232671");
  EXPECT_EQ(error_of([] {
              parse({{"full_attention", {{"rope_type", "default"}}}});
            }),
            "config.json: rope_parameters.full_attention is {\"rope_type\":\"default\"}: a number "
            "or a string is expected");
}

// --rope_scaling.

constexpr auto kYarn = R"({"type": "yarn", "factor": 4})";

TEST(RopeScaling, StandsInTheConfigUnderTheKeysThatItHad) {
  const Json original = {
      {"factor", 4}, {"rope_type", "yarn"}, {"original_max_position_embeddings", 4096}};
  const ModelSpec old = parse_model_spec(config_with("rope_scaling", nullptr), "c", kYarn);
  EXPECT_EQ(old.rope.type, RopeType::kYarn);
  EXPECT_EQ(old.raw["rope_scaling"], original);
  EXPECT_EQ(old.raw["rope_theta"], 500000);
  EXPECT_FALSE(old.raw.contains("rope_parameters"));
  const Json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8},
                       {"low_freq_factor", 1},
                       {"high_freq_factor", 4.0},
                       {"rope_theta", 10000.0}};
  const ModelSpec fresh = parse_model_spec(config_with("rope_parameters", llama3), "c", kYarn);
  Json with_theta = original;
  with_theta["rope_theta"] = 10000.0;
  EXPECT_EQ(fresh.raw["rope_parameters"], with_theta);
  EXPECT_EQ(fresh.rope.theta, 10000);
  for (const ModelSpec* spec : {&old, &fresh}) {
    const RopeSpec again = parse_model_spec(spec->raw, "c").rope;
    EXPECT_EQ(again.type, spec->rope.type);
    EXPECT_EQ(again.theta, spec->rope.theta);
    EXPECT_EQ(again.attention_factor, spec->rope.attention_factor);
    EXPECT_EQ(again.original_positions, spec->rope.original_positions);
  }
}

TEST(RopeScaling, ItsOriginalPositionsWinOverThoseBesideTheObject) {
  Json json = config_with("rope_scaling", nullptr);
  json["original_max_position_embeddings"] = 2048;
  EXPECT_EQ(parse_model_spec(json, "c", kYarn).rope.original_positions, 2048);
  const ModelSpec spec = parse_model_spec(
      json, "c", R"({"type": "yarn", "factor": 4, "original_max_position_embeddings": 512})");
  EXPECT_EQ(spec.rope.original_positions, 512);
  EXPECT_EQ(parse_model_spec(spec.raw, "c").rope.original_positions, 512);
}

TEST(RopeScaling, RefusedByName) {
  const auto refused = [](const char* text) {
    return error_of([&] { parse_model_spec(config_with("rope_scaling", nullptr), "c", text); });
  };
  EXPECT_EQ(refused("yarn"), "--rope_scaling:1:1: expected a value, found 'yarn'");
  EXPECT_EQ(refused("4"), "--rope_scaling: 4 where an object is expected, as in config.json");
  EXPECT_EQ(refused(R"({"type": "yarn"})"), "--rope_scaling: the key factor is missing");
  EXPECT_EQ(refused(R"({"type": "ntk", "factor": 2})"),
            "--rope_scaling: rope_type ntk is not supported: trireme knows default, linear, "
            "dynamic, yarn, longrope and llama3");
}

TEST(RopeSpec, PositionsThatAreCovered) {
  const auto covered = [](const Json& rope) { return covered_positions(parse(rope), 4096); };
  EXPECT_EQ(covered({{"rope_type", "default"}}), 4096);
  EXPECT_EQ(covered({{"rope_type", "linear"}, {"factor", 2.5}}), 10240);
  EXPECT_EQ(covered({{"rope_type", "dynamic"}, {"factor", 2}}), 8192);
  const Json yarn = {
      {"rope_type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 3000}};
  EXPECT_EQ(covered(yarn), 12000);
  EXPECT_EQ(length_warning(parse(yarn), 4096, 12000, "a"), "");
  EXPECT_EQ(length_warning(parse(yarn), 4096, 30001, "the longest sample"),
            "the longest sample has 30001 tokens, the model's rope covers 12000 positions: what "
            "lies beyond is new to it; YaRN covers it: --rope_scaling '{\"rope_type\": \"yarn\", "
            "\"factor\": 10.1, \"original_max_position_embeddings\": 3000}'");
}

}  // namespace
}  // namespace trireme::config
