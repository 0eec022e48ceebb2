#include "data/normalizer.h"

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "data/json_types.h"
#include "data/pretokenizer.h"
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

AuthoredString replace(const AuthoredText& text, const PieceRegex& what,
                       const std::string& content) {
  AuthoredString out(text);
  PieceRegex::Scratch scratch;
  std::vector<Part> parts;
  what.split(text.text(), parts, scratch);
  for (const Part& part : parts) {
    const auto from = static_cast<size_t>(part.text.data() - text.text().data());
    const AuthoredText own = text.substr(from, part.text.size());
    out.append(part.match ? AuthoredText(content, own.strictest()) : own);
  }
  return out;
}

// Character by character, as the reference: a sigma at the end of a word is like any other.
AuthoredString lowercase(const AuthoredText& text) {
  AuthoredString out(text);
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const std::string lower = to_lower(next_code_point(text.text(), at));
    const AuthoredText own = text.substr(begin, at - begin);
    out.append(lower == own.text() ? own : AuthoredText(lower, own.strictest()));
  }
  return out;
}

AuthoredString strip(const AuthoredText& text, bool left, bool right) {
  AuthoredString out(text);
  const size_t begin = left ? space_at_start(text.text()) : 0;
  const size_t end = text.size() - (right ? space_at_end(text.text().substr(begin)) : 0);
  out.append(text.substr(begin, end - begin));
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
  } else if (type == "Lowercase") {
    steps_.push_back({[](const AuthoredText& text) { return lowercase(text); }, never});
  } else if (type == "Strip") {
    const bool left = keys.flag_or("strip_left", true), right = keys.flag_or("strip_right", true);
    steps_.push_back(
        {[left, right](const AuthoredText& text) { return strip(text, left, right); }, never});
  } else if (type == "Replace" && keys.object("pattern").has("Regex")) {
    add_regex(keys, file);
  } else if (type == "Replace") {
    const std::string what = pattern_string(json, file, "normalizer Replace");
    const std::string content = keys.text("content");
    steps_.push_back(
        {[what, content](const AuthoredText& text) { return replace(text, what, content); },
         never});
  } else {
    fail(
        "{}: normalizer '{}' is not supported: known are Lowercase, NFC, NFD, NFKC, NFKD, Prepend, "
        "Replace, Sequence, Strip",
        file, type);
  }
}

void Normalizer::add_regex(const Keys& keys, const std::string& file) {
  const std::string pattern = keys.object("pattern").text("Regex");
  const auto regex = std::make_shared<const PieceRegex>(pattern, file);
  if (regex->may_match_nothing()) {
    fail(
        "{}: normalizer Replace has the pattern '{}', which matches no character too: that is not "
        "supported",
        file, pattern);
  }
  const std::string content = keys.text("content");
  steps_.push_back(
      {[regex, content](const AuthoredText& text) { return replace(text, *regex, content); },
       never});
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
