// What the tests of readers share.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/testing.h"
#include "data/review.h"

namespace trireme::data {

// A user with one review a day of films "F0", "F1", ..., all with text, from 2015-01-01 on.
inline User make_user(const std::string& name, const std::vector<std::string>& texts) {
  User user;
  user.name = name;
  for (size_t i = 0; i < texts.size(); ++i) {
    Review review;
    review.film = "F" + std::to_string(i);
    review.text = texts[i];
    review.date = fmt::format("2015-01-{:02}", i + 1);
    review.position = static_cast<int64_t>(i);
    user.reviews.push_back(std::move(review));
  }
  return user;
}

}  // namespace trireme::data
