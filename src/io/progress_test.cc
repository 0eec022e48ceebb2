#include "io/progress.h"

#include <gtest/gtest.h>

#include "base/testing.h"

namespace trireme::io {
namespace {

const Manifest kRun = {.version = "1", .commit = "c", .kind = "", .run = "this"};

TEST(Progress, IsReadAsItWasWritten) {
  const TestFolder place;
  Record record{.progress = {.steps = 7, .epoch = 1, .epochs = 1.0 / 3, .loss_best = 0.1 + 0.2},
                .identity = {{"--max_length", "256"}},
                .options = {{"learning_rate", 1e-5}},
                .metrics_bytes = 12};
  record.progress.windows = {{.loss = 1e-300}, {.loss = 2, .router_choices = {1, 2.5}}};
  place.write("c/progress.json", record_text(record, kRun));
  const Record read = read_record(place / "c");
  EXPECT_EQ(to_json(read.progress), to_json(record.progress));
  EXPECT_EQ(read.identity, record.identity);
  EXPECT_EQ(read.metrics_bytes, 12U);
  EXPECT_FALSE(read.progress.loss_before);
  const auto complaint = [&](const char* key, const config::Json& value) {
    config::Json json = config::parse_json(record_text(record, kRun), "r");
    json["progress"][key] = value;
    place.write("c/progress.json", json.dump());
    const std::string error = user_error([&] { read_record(place / "c"); });
    return error.substr(error.find("progress.json"));
  };
  EXPECT_EQ(complaint("steps", 1.5), "progress.json: steps: expected a whole number");
  EXPECT_EQ(complaint("epochs", "x"), "progress.json: epochs: expected a number");
  EXPECT_EQ(complaint("windows", {{"loss", 1}}), "progress.json: windows: expected a list");
}

TEST(Differences, AreNamed) {
  EXPECT_EQ(
      differences({{"a", "1"}, {"b", ""}, {"c", "x"}}, {{"a", "1"}, {"b", "2"}, {"d", "y"}}),
      (std::vector<std::string>{"b is not given there and 2 here", "c is x there and nothing here",
                                "d is nothing there and y here"}));
}

}  // namespace
}  // namespace trireme::io
