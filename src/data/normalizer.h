// Normalizers of tokenizer.json: what is done to a text before it is cut into pieces.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "config/json.h"
#include "config/model_spec_keys.h"
#include "data/authored_text.h"

namespace trireme::data {

class Normalizer {
 public:
  Normalizer() = default;
  // `json` is the file's "normalizer"; UserError for what is not supported, by name.
  Normalizer(const config::Json& json, const std::string& file);

  // True where the text surely stays as it is; false says nothing.
  bool surely_keeps(std::string_view text) const;
  // A character that is made of several authors' is the strictest one's.
  AuthoredString operator()(const AuthoredText& text) const;
  std::string operator()(std::string_view text) const;

 private:
  struct Step {
    std::function<AuthoredString(const AuthoredText&)> apply;
    bool (*surely_keeps)(std::string_view);
  };
  void add(const config::Json& json, const std::string& file);
  void add_regex(const config::Keys& keys, const std::string& file);

  std::vector<Step> steps_;
};

}  // namespace trireme::data
