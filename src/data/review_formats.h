// The readers behind read_reviews, one a format. Text is valid UTF-8 without BOM; users come back
// in order of appearance, their reviews in file order.
#pragma once

#include <string>
#include <string_view>

#include "data/review.h"

namespace trireme::data {

// DMSC.csv, or ratings.csv of dmsc_v2 (by header), which then needs the movies.csv beside it.
ReviewSet read_csv_reviews(std::string_view text, const std::string& path);

// The existing pipeline's train.json: a list of users, or one.
ReviewSet read_json_reviews(std::string_view text, const std::string& path);

// The same users, one a line.
ReviewSet read_json_lines(std::string_view text, const std::string& path);

}  // namespace trireme::data
