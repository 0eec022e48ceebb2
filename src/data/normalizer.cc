#include "data/normalizer.h"

#include <algorithm>

#include "base/error.h"
#include "config/model_spec_keys.h"
#include "data/json_types.h"
#include "data/unicode.h"

namespace trireme::data {
namespace {

using config::Json;
using config::Keys;

// From where on a text is composed by itself: the next character behind `from` that is Latin-1,
// which nothing before it composes with.
size_t next_border(std::string_view text, size_t from) {
  size_t next = from;
  next_code_point(text, next);
  while (next < text.size()) {
    size_t behind = next;
    if (next_code_point(text, behind) < 0x80) return next;
    next = behind;
  }
  return next;
}

AuthoredString normalize(const AuthoredText& text, NormalForm form) {
  AuthoredString out(text);
  if (text.by_one()) {
    out.append({normal_form(text.text(), form), text.strictest()});
    return out;
  }
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = next_border(text.text(), begin);
    const AuthoredText part = text.substr(begin, end - begin);
    const std::string normal = normal_form(part.text(), form);
    if (normal == part.text()) {
      out.append(part);
    } else {
      out.append({normal, part.strictest()});
    }
    begin = end;
  }
  return out;
}

AuthoredString replace(const AuthoredText& text, const std::string& what,
                       const std::string& content) {
  AuthoredString out(text);
  size_t done = 0;
  for (size_t at; (at = text.text().find(what, done)) != std::string_view::npos;) {
    out.append(text.substr(done, at - done));
    out.append({content, text.substr(at, what.size()).strictest()});
    done = at + what.size();
  }
  out.append(text.substr(done));
  return out;
}

AuthoredString prepend(const AuthoredText& text, const std::string& what) {
  AuthoredString out(text);
  if (text.size() == 0) return out;
  out.append({what, text.author(0)});
  out.append(text);
  return out;
}

bool never(std::string_view) { return false; }
bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

}  // namespace

Normalizer::Normalizer(const Json& json, const std::string& file) {
  if (!json.is_null()) add(json, file);
}

void Normalizer::add(const Json& json, const std::string& file) {
  const Keys keys(json, file, "normalizer.");
  const std::string type = type_of(json);
  const auto form = [&](NormalForm form, bool (*keeps)(std::string_view)) {
    steps_.push_back({[form](const AuthoredText& text) { return normalize(text, form); }, keeps});
  };
  if (type == "Sequence") {
    for (const Json& step : list_of(json, "normalizers", file, "normalizer")) add(step, file);
  } else if (type == "NFC") {
    form(NormalForm::kNfc, is_surely_nfc);
  } else if (type == "NFD") {
    form(NormalForm::kNfd, is_ascii);
  } else if (type == "NFKC") {
    form(NormalForm::kNfkc, is_ascii);
  } else if (type == "NFKD") {
    form(NormalForm::kNfkd, is_ascii);
  } else if (type == "Prepend") {
    const std::string what = keys.text("prepend");
    steps_.push_back({[what](const AuthoredText& text) { return prepend(text, what); }, never});
  } else if (type == "Replace") {
    const std::string what = pattern_string(json, file, "normalizer Replace");
    const std::string content = keys.text("content");
    steps_.push_back(
        {[what, content](const AuthoredText& text) { return replace(text, what, content); },
         never});
  } else {
    fail(
        "{}: normalizer '{}' is not supported: known are NFC, NFD, NFKC, NFKD, Prepend, Replace, "
        "Sequence",
        file, type);
  }
}

bool Normalizer::surely_keeps(std::string_view text) const {
  return std::ranges::all_of(steps_, [&](const Step& step) { return step.surely_keeps(text); });
}

AuthoredString Normalizer::operator()(const AuthoredText& text) const {
  AuthoredString out(text);
  out.append(text);
  for (const Step& step : steps_) out = step.apply(out.view());
  return out;
}

std::string Normalizer::operator()(std::string_view text) const {
  return std::string((*this)(AuthoredText(text, Author::kTemplate)).view().text());
}

}  // namespace trireme::data
