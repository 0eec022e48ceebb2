// Two distributions of Douban Movie Short Comments. DMSC.csv is one table, a review a row. dmsc_v2
// is ratings.csv with numbers for films and unix seconds for dates, and movies.csv with the films'
// titles.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <iterator>
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

// The headers as they are published, for messages and to tell layouts apart.
constexpr std::string_view kDmscHeader =
    "ID,Movie_Name_EN,Movie_Name_CN,Crawl_Date,Number,Username,Date,Star,Comment,Like";
constexpr std::string_view kRatingsHeader = "userId,movieId,rating,timestamp,comment,like";
constexpr std::string_view kMoviesHeader = "movieId,title,title_cn";

// A column that is read.
struct Column {
  std::string_view name;
  bool needed = true;
};

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

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return std::tolower(c); });
  return result;
}

// A name is one of a comma-separated list, in any case.
bool is_one_of(std::string_view name, std::string_view list) {
  return fmt::format(",{},", lower(list)).find(fmt::format(",{},", lower(name))) !=
         std::string::npos;
}

// A table read row by row, its columns found by the header's names, which may stand in any order
// and in upper or lower case.
class Table {
 public:
  // Reads the header, in which `columns` stand once each; others are passed over. `expected`: the
  // whole header, for messages.
  Table(std::string_view text, const std::string& name, std::string_view expected,
        std::vector<Column> columns)
      : csv_(text, name), expected_(expected), names_(std::move(columns)) {
    csv_.next();
    width_ = csv_.size();
    for (const Column& column : names_) columns_.push_back(find_column(column));
  }

  // One of two columns must be there.
  void require_one_of(int column, int other) const {
    if (columns_[column] || columns_[other]) return;
    fail("{}: bad header: no column {}; expected {}", csv_.place(), names_[column].name, expected_);
  }

  bool has(int column) const { return columns_[column].has_value(); }

  // The next row; throws for one that is short or long.
  bool next() {
    if (!csv_.next()) return false;
    if (csv_.size() != width_) fail_width();
    if (csv_.cut_by_end() && csv_[width_ - 1].empty()) {
      fail("{}: the file ends inside this row: truncated? copy it again", csv_.place(width_ - 1));
    }
    return true;
  }

  // Empty where the column is absent.
  std::string_view field(int column) const {
    return columns_[column] ? csv_[*columns_[column]] : std::string_view{};
  }
  std::string place(int column) const { return csv_.place(columns_[column].value_or(0)); }

  int64_t integer(int column) const {
    const std::string_view text = trimmed(field(column));
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size()) return value;
    fail("{}: {} is {}, a whole number is expected", place(column), name(column),
         in_quotes(field(column)));
  }

  // YYYY-MM-DD.
  std::string date(int column) const {
    if (std::optional<std::string> day = date_of(trimmed(field(column)))) return *day;
    fail("{}: {} is {}: a day as YYYY-MM-DD is expected", place(column), name(column),
         in_quotes(field(column)));
  }

  // 1..5, also as "3.0"; empty when the field is, or says so in the words that tools write.
  std::optional<int> stars(int column) const {
    const std::string_view text = trimmed(field(column));
    if (text.empty()) return std::nullopt;
    const bool plain = text.size() == 1 || (text.size() > 2 && text[1] == '.' &&
                                            text.find_first_not_of('0', 2) == text.npos);
    if (plain && text[0] >= '1' && text[0] <= '5') return text[0] - '0';
    if (is_one_of(text, "nan,null,none,na,n/a")) return std::nullopt;
    fail("{}: {} is {}: 1, 2, 3, 4, 5 or nothing is expected", place(column), name(column),
         in_quotes(field(column)));
  }

 private:
  std::string_view name(int column) const { return names_[column].name; }

  // Written as it is published, else in another case.
  std::optional<size_t> find_column(const Column& column) const {
    std::vector<std::string> names, lowered;
    for (size_t i = 0; i < width_; ++i) names.emplace_back(trimmed(csv_[i]));
    std::ranges::transform(names, std::back_inserter(lowered), lower);
    const bool exact = std::ranges::find(names, column.name) != names.end();
    const std::vector<std::string>& searched = exact ? names : lowered;
    const std::string wanted = exact ? std::string(column.name) : lower(column.name);
    const auto found = std::ranges::find(searched, wanted);
    if (found == searched.end()) return missing(column, names);
    if (const auto again = std::find(found + 1, searched.end(), wanted); again != searched.end()) {
      fail("{}: bad header: two columns {}: remove one", csv_.place(again - searched.begin()),
           column.name);
    }
    return found - searched.begin();
  }

  // An absent column that need not be there, unless its name is in the header with a mistake.
  std::optional<size_t> missing(const Column& column, std::vector<std::string> names) const {
    std::erase_if(names, [&](const std::string& name) { return is_one_of(name, expected_); });
    const std::string near = nearest(column.name, names);
    const bool mistaken =
        !near.empty() && 3 * edit_distance(lower(column.name), lower(near)) <= column.name.size();
    if (!column.needed && !mistaken) return std::nullopt;
    fail("{}: bad header: no column {}{}; expected {}", csv_.place(), column.name,
         near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near), expected_);
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
  std::vector<Column> names_;
  size_t width_ = 0;
  std::vector<std::optional<size_t>> columns_;
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
  enum { kId, kFilmEn, kFilm, kUser, kDate, kStar, kComment };
  Table table(text, path, kDmscHeader,
              {{"ID", false},
               {"Movie_Name_EN", false},
               {"Movie_Name_CN", false},
               {"Username"},
               {"Date"},
               {"Star", false},
               {"Comment"}});
  table.require_one_of(kFilm, kFilmEn);
  Users users;
  bool any = false;
  for (int64_t row = 0; table.next(); ++row) {
    any = true;
    Review review;
    review.position = table.has(kId) ? table.integer(kId) : row;
    review.film = is_blank(table.field(kFilm)) ? table.field(kFilmEn) : table.field(kFilm);
    if (is_blank(review.film)) fail("{}: no film: Movie_Name_CN is empty", table.place(kFilm));
    review.date = table.date(kDate);
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
  Table table(text, path, kMoviesHeader, {{"movieId"}, {"title", false}, {"title_cn", false}});
  table.require_one_of(kTitleCn, kTitle);
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
  enum { kUser, kFilm, kRating, kSeconds, kComment };
  constexpr int64_t kLatest = 4102444800;  // 2100-01-01
  const std::string movies = (std::filesystem::path(path).parent_path() / "movies.csv").string();
  std::error_code error;
  if (!std::filesystem::exists(movies, error))
    fail("{}: no such file: ratings.csv needs movies.csv beside it", movies);
  const TextMap<std::string> titles = read_movies(movies);
  Table table(text, path, kRatingsHeader,
              {{"userId"}, {"movieId"}, {"rating", false}, {"timestamp"}, {"comment"}});
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
  int found = 0;
  for (size_t i = 0; i < header.size(); ++i) found += is_one_of(trimmed(header[i]), expected);
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
