// Typed look-ups in one JSON object of a config.json or tokenizer.json. A null value counts as
// absent. Every function throws UserError "file: key is VALUE: what is expected" for a value of
// another kind or size.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/json.h"

namespace trireme::config {

class Keys {
 public:
  static constexpr int64_t kMostSize = (int64_t{1} << 31) - 1;

  // Refers to json, which must outlive it; `prefix` ("rope_scaling.") goes before keys in messages.
  Keys(const Json& json, std::string name, std::string prefix = "")
      : json_(json), name_(std::move(name)), prefix_(std::move(prefix)) {}

  const std::string& name() const { return name_; }
  const std::string& prefix() const { return prefix_; }
  const Json& json() const { return json_; }
  bool has(const char* key) const { return json_.contains(key); }  // null too
  const Json* find(const char* key) const;                         // nullptr: absent or null

  // Whole numbers in [least, most].
  int64_t integer(const char* key, int64_t least, int64_t most = kMostSize) const;  // required
  int64_t integer_or(const char* key, int64_t fallback, int64_t least,
                     int64_t most = kMostSize) const;
  int64_t size_or(const char* key, int64_t fallback, int64_t most = kMostSize) const {
    return integer_or(key, fallback, 1, most);
  }
  int64_t size(const char* key, int64_t most = kMostSize) const;  // required

  double number_or(const char* key, double fallback) const;    // finite, of either sign
  double positive_or(const char* key, double fallback) const;  // finite and above 0
  double positive(const char* key) const;                      // required
  std::vector<double> positives(const char* key) const;        // required: a list of them
  bool flag_or(const char* key, bool fallback) const;
  std::string text(const char* key) const;  // required
  std::string text_or(const char* key, const std::string& fallback) const;
  std::vector<int64_t> ids(const char* key) const;  // a number or a list of them; absent: none
  Keys object(const char* key) const;               // absent: an empty one

  // Throws when a value is an object: parameters per layer type, for example.
  void refuse_objects() const;

 private:
  [[noreturn]] void refuse(const char* key, const Json& value, const std::string& expected) const;
  [[noreturn]] void missing(const char* key) const;

  const Json& json_;
  std::string name_;
  std::string prefix_;
};

}  // namespace trireme::config
