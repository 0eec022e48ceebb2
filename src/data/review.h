// Reviews as they come from any of the inputs, one struct per arrow of the data path.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trireme::data {

struct Turn {
  std::string role;
  std::string content;
  auto operator<=>(const Turn&) const = default;  // NOLINT(modernize-use-nullptr): not here
};

struct Review {
  std::string film;
  std::string text;           // may be empty in the data; then it is no target
  std::string date;           // YYYY-MM-DD
  std::optional<int> stars;   // 1..5
  std::vector<Turn> context;  // earlier turns of a dialogue; empty for DMSC
  int64_t position = 0;       // order of appearance (ID in DMSC), the tie-breaker after date
};

// A user's reviews in time order (date, position).
struct User {
  std::string name;
  std::vector<std::pair<std::string, std::string>>
      profile;       // further fields, in file order (age, ...)
  std::string task;  // task.description
  std::vector<Review> reviews;
};

// Reasons and how often each applied, in order of appearance.
using Tally = std::vector<std::pair<std::string, int64_t>>;
void count(Tally& tally, std::string_view reason, int64_t times = 1);

// What was read, and what was left out and why. Every user has a review.
struct ReviewSet {
  std::vector<User> users;
  bool has_stars = false;
  Tally dropped;
};

// Reads Douban DMSC.csv, a dmsc_v2 folder (movies.csv + ratings.csv; or its ratings.csv), the
// pipeline's train.json, or the users of it one a line, by content. A user's review of a film that
// stands there twice, in the same words and with the same context, counts once. Throws UserError
// with file, line, column (CSV) or JSON path.
ReviewSet read_reviews(const std::string& path);

}  // namespace trireme::data
