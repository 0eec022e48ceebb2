// Two distributions of Douban Movie Short Comments. DMSC.csv is one table, a review a row. dmsc_v2
// is ratings.csv with numbers for films and unix seconds for dates, and movies.csv with the films'
// titles.
#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <span>
#include <unordered_map>

#include "base/error.h"
#include "base/nearest.h"
#include "data/csv.h"
#include "data/review_formats.h"
#include "data/review_text.h"
#include "io/file.h"

namespace trireme::data {
namespace {

constexpr std::string_view kDmscHeader =
    "ID,Movie_Name_EN,Movie_Name_CN,Crawl_Date,Number,Username,Date,Star,Comment,Like";
constexpr std::string_view kRatingsHeader = "userId,movieId,rating,timestamp,comment,like";
constexpr std::string_view kMoviesHeader = "movieId,title,title_cn";

struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
template <typename Value>
using TextMap = std::unordered_map<std::string, Value, TextHash, std::equal_to<>>;

// Trimmed of spaces, which some exporters put after commas.
std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// A table read row by row, its columns found by the header's names, which may stand in any order.
class Table {
 public:
  // Reads the header: every name of `expected` (comma-separated) once, in any order; further
  // columns are passed over.
  Table(std::string_view text, const std::string& name, std::string_view expected)
      : csv_(text, name), expected_(expected) {
    csv_.next();
    width_ = csv_.size();
    for (size_t at = 0; at <= expected.size();) {
      const size_t comma = std::min(expected.find(',', at), expected.size());
      columns_.push_back(find_column(expected.substr(at, comma - at)));
      at = comma + 1;
    }
  }

  // The next row; throws for one that is short or long.
  bool next() {
    if (!csv_.next()) return false;
    if (csv_.size() != width_) fail_width();
    if (csv_.cut_by_end() && csv_[width_ - 1].empty()) {
      fail("{}: the file ends inside this row: truncated? copy it again", csv_.place(width_ - 1));
    }
    return true;
  }

  std::string_view field(int column) const { return csv_[columns_[column]]; }
  std::string place(int column) const { return csv_.place(columns_[column]); }

  int64_t integer(int column) const {
    const std::string_view text = trimmed(field(column));
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size()) return value;
    fail("{}: {} is {}, a whole number is expected", place(column), name(column),
         in_quotes(field(column)));
  }

  // 1..5, also as "3.0"; empty when the field is.
  std::optional<int> stars(int column) const {
    const std::string_view text = trimmed(field(column));
    if (text.empty()) return std::nullopt;
    const bool plain = text.size() == 1 || (text.size() > 2 && text[1] == '.' &&
                                            text.find_first_not_of('0', 2) == text.npos);
    if (plain && text[0] >= '1' && text[0] <= '5') return text[0] - '0';
    fail("{}: {} is {}: 1, 2, 3, 4, 5 or nothing is expected", place(column), name(column),
         in_quotes(field(column)));
  }

 private:
  // Name of the column-th expected column.
  std::string_view name(int column) const {
    size_t at = 0;
    for (int i = 0; i < column; ++i) at = expected_.find(',', at) + 1;
    return expected_.substr(at, expected_.find(',', at) - at);
  }

  size_t find_column(std::string_view name) const {
    std::vector<std::string> names;
    for (size_t i = 0; i < width_; ++i) names.emplace_back(trimmed(csv_[i]));
    const auto found = std::ranges::find(names, name);
    if (found == names.end()) {
      fail("{}: bad header: no column {}{}; expected {}", csv_.place(), name,
           did_you_mean(name, names), expected_);
    }
    const size_t column = found - names.begin();
    if (const auto again = std::find(found + 1, names.end(), name); again != names.end()) {
      fail("{}: bad header: two columns {}: remove one", csv_.place(again - names.begin()), name);
    }
    return column;
  }

  [[noreturn]] void fail_width() const {
    const bool is_short = csv_.size() < width_;
    const char* remedy = !is_short ? "is a comma or a quote inside a field not quoted?"
                         : csv_.cut_by_end()
                             ? "the file ends inside this row: truncated? copy it again"
                             : "is a line break inside a field not quoted?";
    fail("{}: {} row: {} fields, the header has {}: {}", csv_.place(), is_short ? "short" : "long",
         csv_.size(), width_, remedy);
  }

  CsvReader csv_;
  std::string_view expected_;
  size_t width_ = 0;
  std::vector<size_t> columns_;
};

// Groups rows by user, in order of appearance.
class Users {
 public:
  void add(std::string_view name, Review review) {
    if (is_blank(name)) return count(set_.dropped, "no user name");
    if (is_blank(review.text)) return count(set_.dropped, "empty comment");
    auto known = index_.find(name);
    if (known == index_.end()) {
      known = index_.emplace(name, set_.users.size()).first;
      set_.users.emplace_back().name = name;
    }
    set_.has_stars |= review.stars.has_value();
    set_.users[known->second].reviews.push_back(std::move(review));
  }

  ReviewSet take() && { return std::move(set_); }

 private:
  ReviewSet set_;
  TextMap<size_t> index_;
};

void require_rows(bool any, const std::string& path) {
  if (!any) fail("{}:2:1: no rows after the header", path);
}

ReviewSet read_dmsc(std::string_view text, const std::string& path) {
  enum { kId, kFilmEn, kFilm, kCrawlDate, kNumber, kUser, kDate, kStar, kComment, kLike };
  Table table(text, path, kDmscHeader);
  Users users;
  bool any = false;
  while (table.next()) {
    any = true;
    Review review;
    review.position = table.integer(kId);
    review.film = is_blank(table.field(kFilm)) ? table.field(kFilmEn) : table.field(kFilm);
    if (is_blank(review.film)) fail("{}: no film: Movie_Name_CN is empty", table.place(kFilm));
    review.date = trimmed(table.field(kDate));
    if (!is_date(review.date)) {
      fail("{}: Date is {}: a day as YYYY-MM-DD is expected", table.place(kDate),
           in_quotes(table.field(kDate)));
    }
    review.stars = table.stars(kStar);
    review.text = table.field(kComment);
    users.add(table.field(kUser), std::move(review));
  }
  require_rows(any, path);
  return std::move(users).take();
}

// movieId -> title, the Chinese one where there is one.
TextMap<std::string> read_movies(const std::string& path) {
  enum { kId, kTitle, kTitleCn };
  const std::string bytes = io::read_text(path);
  require_utf8(bytes, path);
  const std::string_view text = without_bom(bytes);
  if (is_blank(text)) fail("{}:1:1: the file is empty: expected {}", path, kMoviesHeader);
  Table table(text, path, kMoviesHeader);
  TextMap<std::string> titles;
  while (table.next()) {
    const std::string_view title =
        is_blank(table.field(kTitleCn)) ? table.field(kTitle) : table.field(kTitleCn);
    if (is_blank(title)) fail("{}: no title", table.place(kTitle));
    if (!titles.emplace(trimmed(table.field(kId)), title).second) {
      fail("{}: movieId {} stands twice", table.place(kId), in_quotes(table.field(kId)));
    }
  }
  require_rows(!titles.empty(), path);
  return titles;
}

// Position is the second, so that two reviews of a day keep their order.
ReviewSet read_dmsc_v2(std::string_view text, const std::string& path) {
  enum { kUser, kFilm, kRating, kSeconds, kComment, kLike };
  constexpr int64_t kLatest = 4102444800;  // 2100-01-01
  const std::string movies = (std::filesystem::path(path).parent_path() / "movies.csv").string();
  std::error_code error;
  if (!std::filesystem::exists(movies, error))
    fail("{}: no such file: ratings.csv needs movies.csv beside it", movies);
  const TextMap<std::string> titles = read_movies(movies);
  Table table(text, path, kRatingsHeader);
  Users users;
  bool any = false;
  while (table.next()) {
    any = true;
    Review review;
    const auto title = titles.find(trimmed(table.field(kFilm)));
    if (title == titles.end()) {
      fail("{}: movieId is {}, which {} does not have", table.place(kFilm),
           in_quotes(table.field(kFilm)), movies);
    }
    review.film = title->second;
    review.position = table.integer(kSeconds);
    if (review.position < 0 || review.position >= kLatest) {
      fail("{}: timestamp is {}: seconds since 1970 are expected", table.place(kSeconds),
           review.position);
    }
    review.date = date_of_unix_seconds(review.position);
    review.stars = table.stars(kRating);
    review.text = table.field(kComment);
    users.add(table.field(kUser), std::move(review));
  }
  require_rows(any, path);
  return std::move(users).take();
}

// Known columns of a header among its names: which layout a header with a mistake in it was meant
// to be.
int hits(const CsvReader& header, std::string_view expected) {
  const std::string list = fmt::format(",{},", expected);
  int found = 0;
  for (size_t i = 0; i < header.size(); ++i) {
    found += list.find(fmt::format(",{},", trimmed(header[i]))) != list.npos;
  }
  return found;
}

}  // namespace

ReviewSet read_csv_reviews(std::string_view text, const std::string& path) {
  CsvReader header(text, path);
  header.next();
  const int dmsc = hits(header, kDmscHeader), ratings = hits(header, kRatingsHeader);
  if (hits(header, kMoviesHeader) > std::max(dmsc, ratings)) {
    fail("{}:1:1: this is the list of films: give its folder, or the ratings.csv beside it", path);
  }
  if (dmsc == 0 && ratings == 0) {
    fail("{}:1:1: bad header {}: expected {} (DMSC) or {} (dmsc_v2)", path, in_quotes(header[0]),
         kDmscHeader, kRatingsHeader);
  }
  return ratings > dmsc ? read_dmsc_v2(text, path) : read_dmsc(text, path);
}

}  // namespace trireme::data
