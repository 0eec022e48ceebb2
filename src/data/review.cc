#include "data/review.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <tuple>

#include "base/error.h"
#include "data/review_formats.h"
#include "data/review_text.h"
#include "io/file.h"

namespace trireme::data {
namespace {

std::string ratings_of(const std::string& folder) {
  std::error_code error;
  for (const char* name : {"ratings.csv", "DMSC.csv"}) {
    const std::filesystem::path file = std::filesystem::path(folder) / name;
    if (std::filesystem::exists(file, error)) return file.string();
  }
  fail("{}: no ratings.csv (with movies.csv) or DMSC.csv in this folder: give the data file itself",
       folder);
}

bool is_json(std::string_view text, const std::string& path) {
  if (path.ends_with(".json")) return true;
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first != text.npos && (text[first] == '[' || text[first] == '{' || text[first] == '/');
}

// Users one a line, as tools for large data write them, without a list around them.
bool is_json_lines(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  const size_t end = text.find('\n', first);
  if (first == text.npos || end == text.npos || text[first] != '{') return false;
  const size_t last = text.find_last_not_of(" \t\r", end - 1);
  const size_t next = text.find_first_not_of(" \t\r\n", end);
  return text[last] == '}' && next != text.npos && text[next] == '{';
}

// A page that was crawled twice: the model would find the words that it must write in its prompt.
// Of a user's reviews, in time order, the first stays.
void drop_repeated(User& user, Tally& dropped) {
  const auto words = [](const Review* r) { return std::tie(r->film, r->text, r->context); };
  const auto less = [&](const Review* a, const Review* b) { return words(a) < words(b); };
  std::set<const Review*, decltype(less)> seen(less);
  std::vector<bool> again;
  for (const Review& review : user.reviews) again.push_back(!seen.insert(&review).second);
  const auto times = std::ranges::count(again, true);
  if (times == 0) return;
  std::vector<Review> kept;
  for (size_t i = 0; i < again.size(); ++i) {
    if (!again[i]) kept.push_back(std::move(user.reviews[i]));
  }
  user.reviews = std::move(kept);
  count(dropped, "the same review of a film again", times);
}

void sort_by_time(User& user) {
  const auto key = [](const Review& review) { return std::tie(review.date, review.position); };
  const auto earlier = [&](const Review& a, const Review& b) { return key(a) < key(b); };
  if (!std::ranges::is_sorted(user.reviews, earlier)) {
    std::ranges::stable_sort(user.reviews, earlier);
  }
}

}  // namespace

void count(Tally& tally, std::string_view reason, int64_t times) {
  constexpr size_t kMost = 100;  // reasons come from the data: as many as it likes
  constexpr std::string_view kOther = "other reasons";
  const auto known = std::ranges::find(tally, reason, &Tally::value_type::first);
  if (known == tally.end() && tally.size() >= kMost && reason != kOther) {
    count(tally, kOther, times);
  } else if (known == tally.end()) {
    tally.emplace_back(reason, times);
  } else {
    known->second += times;
  }
}

ReviewSet read_reviews(const std::string& path) {
  std::error_code error;
  const std::string file = std::filesystem::is_directory(path, error) ? ratings_of(path) : path;
  const std::string bytes = io::read_text(file);
  require_utf8(bytes, file);
  const std::string_view text = without_bom(bytes);
  if (is_blank(text)) fail("{}:1:1: the file is empty: no header, no reviews", file);
  ReviewSet set = is_json_lines(text)   ? read_json_lines(text, file)
                  : is_json(text, file) ? read_json_reviews(text, file)
                                        : read_csv_reviews(text, file);
  std::erase_if(set.users, [](const User& user) { return user.reviews.empty(); });
  if (set.users.empty()) {
    std::string reasons;
    for (const auto& [reason, times] : set.dropped)
      reasons += fmt::format(", {} dropped: {}", times, reason);
    fail("{}: no reviews in this file{}", file, reasons);
  }
  for (User& user : set.users) {
    sort_by_time(user);
    drop_repeated(user, set.dropped);
  }
  return set;
}

}  // namespace trireme::data
