// The text of a DeepSpeed JSON, checked key by key against the table: every key is known, stands
// once, and holds what it may hold. What the keys mean together is decided in deepspeed_rules.h.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/json.h"
#include "deepspeed/keys.h"

namespace trireme::deepspeed {

// A key as it stands in the file.
struct GivenKey {
  const DeepSpeedKey* row;  // aliases followed
  std::string path;         // as it was written
  std::string where;        // "ds.json:3:5: gradient_clipping"
  config::Json value;       // a whole number is one even where it was written 1e9

  bool automatic() const { return value == "auto"; }
  // Neither null, which DeepSpeed reads as left out, nor "auto".
  bool explicit_value() const { return !value.is_null() && !automatic(); }
};

class DeepSpeedFile {
 public:
  // `name` is the file's name for messages. Throws UserError for what is not JSON.
  DeepSpeedFile(std::string_view text, const std::string& name);

  // A line each, with its place: misspelt keys (the nearest known one is suggested), unknown keys
  // of sections in which DeepSpeed refuses them, keys given twice under two names, and values of a
  // wrong kind. These keys are not among keys().
  const std::vector<std::string>& problems() const { return problems_; }

  // In the order of the file; sections are not among them, but null ones.
  std::span<const GivenKey> keys() const { return keys_; }

  // By the table's path; nullptr where the file does not give it.
  const GivenKey* find(std::string_view path) const;
  // The same, and nullptr too where it is null or "auto".
  const GivenKey* find_explicit(std::string_view path) const;

  // The explicit value, else DeepSpeed's default.
  config::Json value(std::string_view path) const;

 private:
  void read_section(const std::string& written, std::string_view section,
                    const config::Json& values);
  void read_key(const std::string& written, std::string_view section, const std::string& name,
                const config::Json& value);
  void read_unknown(const std::string& written, std::string_view section, const std::string& name,
                    const config::Json& value);
  void keep(const DeepSpeedKey& row, const std::string& written, const config::Json& value);
  std::string where(const std::string& path) const;

  std::string name_;
  config::KeyPlaces places_;
  std::vector<GivenKey> keys_;
  std::vector<std::string> problems_;
};

// "5e-05", "1000000000", "\"cpu\"" without its quotes: a value as people read it.
std::string value_text(const config::Json& value);

}  // namespace trireme::deepspeed
