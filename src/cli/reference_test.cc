#include "cli/reference.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "config/schema.h"
#include "deepspeed/keys.h"

namespace trireme::cli {
namespace {

int64_t times(std::string_view text, std::string_view part) {
  int64_t found = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

// The row of a table that begins with this cell.
std::string row_of(const std::string& page, const std::string& first) {
  const size_t begin = page.find("\n| `" + first + "` |");
  return begin == page.npos ? "" : page.substr(begin + 1, page.find('\n', begin + 1) - begin - 1);
}

TEST(Reference, EveryOptionHasOneRow) {
  const std::string page = options_reference();
  for (const config::Option& option : config::schema()) {
    EXPECT_EQ(times(page, fmt::format("\n| `--{}` |", option.name)), 1) << option.name;
    EXPECT_EQ(times(page, fmt::format("\n## {}\n", option.group)), 1) << option.group;
  }
}

TEST(Reference, ARowSaysWhatTheSchemaKnows) {
  const std::string page = options_reference();
  EXPECT_EQ(row_of(page, "--max_length"),
            fmt::format("| `--max_length` | integer, tokens, 1 to 1073741824 | `2048` | {} | "
                        "`training.max_length` | train, data, generate | yes |",
                        config::find_option("max_length")->help));
  EXPECT_EQ(row_of(page, "--keep"),
            fmt::format("| `--keep` | `auto`, `all`, `none` | `auto` | {} | `training.keep` | "
                        "train, bench, dump | no |",
                        config::find_option("keep")->help));
  EXPECT_EQ(row_of(page, "--decode"), fmt::format("| `--decode` | `on`, `off` | `off` | {} | - | "
                                                  "tokenize | no |",
                                                  config::find_option("decode")->help));
}

TEST(Reference, EveryDeepSpeedKeyHasARowUnderItsSection) {
  const std::string page = deepspeed_reference();
  const auto rows = times(page, "\n| `");
  int64_t keys = 0;
  for (const deepspeed::DeepSpeedKey& key : deepspeed::deepspeed_keys())
    keys += key.fate != deepspeed::KeyFate::kOpen;
  EXPECT_EQ(rows, keys);
  EXPECT_LT(page.find("\n## Top level\n"), page.find("\n## bf16\n"));
  EXPECT_EQ(row_of(page, "gradient_clipping"),
            "| `gradient_clipping` | `1.0` | done | sets --max_grad_norm |");
  EXPECT_EQ(row_of(page, "offload_param.pin_memory"),
            "| `offload_param.pin_memory` | `true` | no effect | weights on the host are pinned |");
  EXPECT_EQ(row_of(page, "prefetch_bucket_size"),
            "| `prefetch_bucket_size` | - | other name | of "
            "`zero_optimization.stage3_prefetch_bucket_size` |");
}

// What ends a cell, or is a tag, is in no row: all rows have as many bars as their head.
TEST(Reference, TablesAreRegular) {
  for (const std::string& page : {options_reference(), deepspeed_reference(), names_reference()}) {
    int64_t bars = 0;
    for (size_t at = 0, end; at < page.size(); at = end + 1) {
      end = page.find('\n', at);
      const std::string line = page.substr(at, end - at);
      if (!line.starts_with('|')) {
        bars = 0;
        continue;
      }
      const int64_t here = times(line, "|") - times(line, "\\|");
      if (bars == 0) bars = here;
      EXPECT_EQ(here, bars) << line;
      EXPECT_EQ(line.find('<'), line.npos) << line;
    }
  }
}

TEST(Reference, GeneratedTextTakesThePlaceBetweenTheMarkers) {
  const std::string page = fmt::format("a\n{}old\n{}z\n", kGeneratedBegin, kGeneratedEnd);
  EXPECT_EQ(with_generated(page, "new\n", "p.md"),
            fmt::format("a\n{}new\n{}z\n", kGeneratedBegin, kGeneratedEnd));
  EXPECT_EQ(with_generated(with_generated(page, "new\n", "p.md"), "old\n", "p.md"), page);
  EXPECT_THROW(with_generated(fmt::format("a\n{}", kGeneratedEnd), "", "p.md"), UserError);
  EXPECT_THROW(with_generated(fmt::format("a\n{}", kGeneratedBegin), "", "p.md"), UserError);
}

}  // namespace
}  // namespace trireme::cli
