// The existing pipeline's train.json:
//   [{"user": {"profile": {"name": ..., ...}},
//     "task": {"description": ..., "task_behavior_collections": [
//       {"type": "movie_review", "data": [
//         {"context": [turns], "continuation": review, "continuation_prefix": "<film>: ",
//         "timestamp": day}]}]}}]
// or such users a line each, without the list around them (JSON lines). Collections of other types
// are passed over and counted.
#include <algorithm>
#include <optional>

#include "base/error.h"
#include "config/json.h"
#include "config/python_json.h"
#include "data/review_formats.h"
#include "data/review_text.h"

namespace trireme::data {
namespace {

using config::Json;

// Where a value stands: a chain from the leaf to the root, turned into text only for a message.
struct Place {
  const Place* up = nullptr;
  std::string_view key;  // of an object; empty for an element of a list
  size_t index = 0;

  std::string text() const {
    const std::string before = up == nullptr ? "" : up->text();
    if (up == nullptr) return before;
    if (key.empty()) return fmt::format("{}[{}]", before, index);
    return before.empty() ? std::string(key) : fmt::format("{}.{}", before, key);
  }
};

class Reader {
 public:
  // `name`: of the file, or of a line of it.
  void read(const Json& root, const std::string& name) {
    name_ = name;
    const Place top;
    if (root.is_object()) {
      read_user(root, top);
    } else if (root.is_array()) {
      for (size_t i = 0; i < root.size(); ++i) read_user(root[i], {&top, "", i});
    } else {
      fail("{}: the file is {}: a list of users, or one user, is expected", name_,
           root.type_name());
    }
  }

  ReviewSet take() && { return std::move(set_); }

 private:
  [[noreturn]] void fail_type(const Json& value, const char* expected, const Place& place) const {
    fail("{}: {}: {} is expected, not {} {}", name_, place.text(), expected, value.type_name(),
         in_quotes(config::json_text(value)));
  }

  const Json& object(const Json& value, const Place& place) const {
    if (!value.is_object()) fail_type(value, "an object", place);
    return value;
  }

  const Json& list(const Json& value, const Place& place) const {
    if (!value.is_array()) fail_type(value, "a list", place);
    return value;
  }

  const std::string& text(const Json& value, const Place& place) const {
    if (!value.is_string()) fail_type(value, "a string", place);
    return value.get_ref<const std::string&>();
  }

  const Json& member(const Json& value, const char* key, const Place& place) const {
    const auto found = object(value, place).find(key);
    if (found == value.end()) {
      const Place missing{&place, key};
      fail("{}: {}: missing", name_, missing.text());
    }
    return *found;
  }

  void read_user(const Json& value, const Place& place) {
    User user;
    const Place user_place{&place, "user"}, profile_place{&user_place, "profile"};
    read_profile(member(member(value, "user", place), "profile", user_place), profile_place, user);
    const Place task_place{&place, "task"};
    const Json& task = member(value, "task", place);
    if (object(task, task_place).contains("description")) {
      user.task = text(task["description"], {&task_place, "description"});
    }
    const Place collections_place{&task_place, "task_behavior_collections"};
    const Json& collections =
        list(member(task, "task_behavior_collections", task_place), collections_place);
    for (size_t i = 0; i < collections.size(); ++i) {
      read_collection(collections[i], {&collections_place, "", i}, user);
    }
    if (user.reviews.empty()) count(set_.dropped, "user without reviews");
    set_.users.push_back(std::move(user));
  }

  void read_profile(const Json& profile, const Place& place, User& user) {
    user.name = text(member(profile, "name", place), {&place, "name"});
    if (is_blank(user.name)) fail("{}: {}.name: empty: a name is expected", name_, place.text());
    for (const auto& [key, value] : profile.items()) {
      if (key == "name") continue;
      if (std::string shown = profile_text(value); !shown.empty())
        user.profile.emplace_back(key, shown);
    }
  }

  // Strings as they are, numbers as written, lists and objects on one line.
  static std::string profile_text(const Json& value) {
    if (value.is_null()) return "";
    if (value.is_string()) return value.get<std::string>();
    if (!value.is_structured()) return config::json_text(value);
    std::string line;
    for (const auto& [key, item] : value.items()) {
      const std::string shown = profile_text(item);
      if (shown.empty()) continue;
      const std::string braced = item.is_structured() ? "(" + shown + ")" : shown;
      if (!line.empty()) line += value.is_array() ? "、" : "；";
      line += value.is_array() ? braced : key + ": " + braced;
    }
    return line;
  }

  void read_collection(const Json& collection, const Place& place, User& user) {
    const std::string& type = text(member(collection, "type", place), {&place, "type"});
    const Place data_place{&place, "data"};
    const Json& data = list(member(collection, "data", place), data_place);
    if (type != "movie_review") {
      count(set_.dropped, fmt::format("collection of type {}", in_quotes(type)), data.size());
      return;
    }
    for (size_t i = 0; i < data.size(); ++i) read_item(data[i], {&data_place, "", i}, user);
  }

  void read_item(const Json& item, const Place& place, User& user) {
    Review review;
    review.position = position_++;
    review.text = text(member(item, "continuation", place), {&place, "continuation"});
    const Place prefix{&place, "continuation_prefix"}, date{&place, "timestamp"};
    review.film = text(member(item, "continuation_prefix", place), prefix);
    if (review.film.ends_with(": ")) review.film.resize(review.film.size() - 2);
    if (is_blank(review.film))
      fail("{}: {}: no film: \"<film>: \" is expected", name_, prefix.text());
    const std::string& day = text(member(item, "timestamp", place), date);
    const std::optional<std::string> read = date_of(day);
    if (!read) {
      fail("{}: {}: {}: a day as YYYY-MM-DD is expected", name_, date.text(), in_quotes(day));
    }
    review.date = *read;
    if (item.contains("context")) read_context(item["context"], {&place, "context"}, review);
    if (is_blank(review.text)) return count(set_.dropped, "empty comment");
    user.reviews.push_back(std::move(review));
  }

  void read_context(const Json& turns, const Place& place, Review& review) {
    // NaN is "" (config/python_json.h).
    if (turns.is_null() || turns == Json("")) return;
    list(turns, place);
    for (size_t i = 0; i < turns.size(); ++i)
      review.context.push_back(read_turn(turns[i], {&place, "", i}));
  }

  // {"source" or "role": who, "content" or "text": what}, or what alone.
  Turn read_turn(const Json& turn, const Place& place) const {
    if (turn.is_string()) return {"", turn.get<std::string>()};
    if (!turn.is_object()) fail_type(turn, "a string or an object", place);
    Turn read;
    for (const char* key : {"role", "source", "speaker"}) {
      if (turn.contains(key)) read.role = text(turn[key], {&place, key});
    }
    const char* content = turn.contains("text") && !turn.contains("content") ? "text" : "content";
    read.content = text(member(turn, content, place), {&place, content});
    return read;
  }

  std::string name_;
  ReviewSet set_;
  int64_t position_ = 0;
};

// The parser counts from the line's begin: its place is that of line 1.
Json parse_line(std::string_view line, int64_t number, const std::string& path) {
  const std::string as_first = fmt::format("{}:1:", path);
  try {
    return config::parse_json(config::without_python_numbers(line), path);
  } catch (const UserError& error) {
    const std::string_view words = error.what();
    if (!words.starts_with(as_first)) throw;
    fail("{}:{}:{}", path, number, words.substr(as_first.size()));
  }
}

}  // namespace

ReviewSet read_json_reviews(std::string_view text, const std::string& path) {
  Reader reader;
  reader.read(config::parse_json(config::without_python_numbers(text), path), path);
  return std::move(reader).take();
}

ReviewSet read_json_lines(std::string_view text, const std::string& path) {
  Reader reader;
  for (int64_t number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (is_blank(line)) continue;
    reader.read(parse_line(line, number, path), fmt::format("{}:{}", path, number));
  }
  return std::move(reader).take();
}

}  // namespace trireme::data
