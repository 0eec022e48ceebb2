#include "io/progress.h"

#include <fmt/format.h>

#include <cmath>

#include "base/error.h"

namespace trireme::io {
namespace {

using config::Json;

constexpr int64_t kMost = int64_t{1} << 53;  // what a double holds exactly
constexpr size_t kMostRanks = 1 << 20, kMostChoices = 1 << 24;

// Each field once, for writing and reading alike: `each(key, field)`.
template <typename Of, typename Each>
void for_fields(Of& p, const Each& each) {
  each("steps", p.steps);
  each("epoch", p.epoch);
  each("sequences", p.sequences);
  each("micro_batches", p.micro_batches);
  each("tokens", p.tokens);
  each("epochs", p.epochs);
  each("loss_before", p.loss_before);
  each("loss_best", p.loss_best);
  each("evaluated_at", p.evaluated_at);
  each("evaluations_since_best", p.evaluations_since_best);
  each("evaluation_due", p.evaluation_due);
  each("save_due", p.save_due);
  each("stopped_early", p.stopped_early);
  each("skipped_steps", p.skipped_steps);
  each("skipped_in_a_row", p.skipped_in_a_row);
  each("learning_rate", p.learning_rate);
  each("norm", p.norm);
  each("window_trained", p.window_trained);
  each("window_tokens", p.window_tokens);
  each("window_steps", p.window_steps);
  each("window_seconds", p.window_seconds);
  each("windows", p.windows);
  each("step_size", p.step_size);
  each("planned_steps", p.planned_steps);
  each("data_ranks", p.data_ranks);
}

template <typename Of, typename Each>
void for_window(Of& w, const Each& each) {
  each("loss", w.loss);
  each("router_loss", w.router_loss);
  each("router_micro_batches", w.router_micro_batches);
  each("router_choices", w.router_choices);
}

class Writer {
 public:
  explicit Writer(Json& json) : json_(json) {}
  template <typename Value>
  void operator()(const char* key, const Value& value) const {
    json_[key] = value;
  }
  void operator()(const char* key, const std::optional<double>& value) const {
    json_[key] = value ? Json(*value) : Json();
  }
  void operator()(const char* key, const std::vector<Window>& windows) const {
    Json list = Json::array();
    for (const Window& window : windows) {
      for_window(window, Writer(list.emplace_back(Json::object())));
    }
    json_[key] = std::move(list);
  }

 private:
  Json& json_;
};

class Reader {
 public:
  Reader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) fail("{}: expected an object", where_);
  }

  void operator()(const char* key, int64_t& value) const {
    const auto read = config::whole_number(at(key), -1, kMost);
    if (!read) fail("{}: {}: expected a whole number", where_, key);
    value = *read;
  }
  void operator()(const char* key, double& value) const { value = number(at(key), key); }
  void operator()(const char* key, bool& value) const {
    if (!at(key).is_boolean()) fail("{}: {}: expected true or false", where_, key);
    value = at(key).get<bool>();
  }
  void operator()(const char* key, std::optional<double>& value) const {
    value = at(key).is_null() ? std::nullopt : std::optional(number(at(key), key));
  }
  void operator()(const char* key, std::vector<double>& values) const {
    for (const Json& each : list(key, kMostChoices)) values.push_back(number(each, key));
  }
  void operator()(const char* key, std::vector<Window>& windows) const {
    for (const Json& each : list(key, kMostRanks)) {
      for_window(windows.emplace_back(), Reader(each, where_ + ": windows"));
    }
  }

 private:
  const Json& at(const char* key) const {
    if (!json_.contains(key)) fail("{}: {} is missing", where_, key);
    return json_[key];
  }
  double number(const Json& value, const char* key) const {
    if (!value.is_number() || !std::isfinite(value.get<double>())) {
      fail("{}: {}: expected a number", where_, key);
    }
    return value.get<double>();
  }
  const Json& list(const char* key, size_t most) const {
    if (!at(key).is_array() || at(key).size() > most) fail("{}: {}: expected a list", where_, key);
    return at(key);
  }

  const Json& json_;
  std::string where_;
};

}  // namespace

Json to_json(const Progress& progress) {
  Json json = Json::object();
  for_fields(progress, Writer(json));
  return json;
}

Progress progress_of(const Json& json, const std::string& where) {
  Progress progress;
  for_fields(progress, Reader(json, where));
  return progress;
}

namespace {

std::string value_in(const Identity& identity, const std::string& name) {
  const auto found = identity.find(name);
  if (found == identity.end()) return "nothing";
  return found->second.empty() ? "not given" : found->second;
}

}  // namespace

std::vector<std::string> differences(const Identity& there, const Identity& here) {
  std::vector<std::string> list;
  Identity names = there;
  names.insert(here.begin(), here.end());
  for (const auto& [name, ignored] : names) {
    const std::string before = value_in(there, name), now = value_in(here, name);
    if (before != now) list.push_back(fmt::format("{} is {} there and {} here", name, before, now));
  }
  return list;
}

std::string record_text(const Record& record, const Manifest& manifest) {
  const Json json = {{"trireme", {{"version", manifest.version}, {"commit", manifest.commit}}},
                     {"run", manifest.run},
                     {"progress", to_json(record.progress)},
                     {"metrics_bytes", record.metrics_bytes},
                     {"trains", record.identity},
                     {"options", record.options}};
  return config::json_text(json, 2) + "\n";
}

Record read_record(const std::string& folder) {
  const std::string path = folder + "/" + kProgressFile;
  const Json json = config::read_json(path);
  for (const char* key : {"progress", "trains", "options"}) {
    if (!json.is_object() || !json.contains(key) || !json[key].is_object()) {
      fail("{}: {}: expected an object", path, key);
    }
  }
  if (!json.contains("metrics_bytes") || !json["metrics_bytes"].is_number_unsigned()) {
    fail("{}: metrics_bytes: expected a whole number", path);
  }
  Record record{.progress = progress_of(json["progress"], path),
                .identity = {},
                .options = json["options"],
                .metrics_bytes = json["metrics_bytes"].get<uint64_t>()};
  for (const auto& [name, value] : json["trains"].items()) {
    if (!value.is_string()) fail("{}: trains: {}: expected a text", path, name);
    record.identity[name] = value.get<std::string>();
  }
  return record;
}

}  // namespace trireme::io
