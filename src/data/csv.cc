#include "data/csv.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "data/review_text.h"

namespace trireme::data {
namespace {

constexpr std::array<bool, 256> stops() {
  std::array<bool, 256> table{};
  table[','] = table['\n'] = table['\r'] = table['"'] = true;
  return table;
}
constexpr std::array<bool, 256> kStops = stops();

}  // namespace

CsvReader::CsvReader(std::string_view text, std::string name)
    : text_(text), name_(std::move(name)) {}

std::string CsvReader::place(size_t field) const {
  return place_text(name_, text_, raw_.empty() ? at_ : raw_[std::min(field, raw_.size() - 1)].at);
}

bool CsvReader::next() {
  raw_.clear();
  fields_.clear();
  at_ = std::min(text_.find_first_not_of("\r\n", at_), text_.size());
  if (at_ == text_.size()) return false;
  do {
    if (at_ < text_.size() && text_[at_] == '"') {
      read_quoted();
    } else {
      read_plain();
    }
  } while (!end_row());
  take_fields();
  return true;
}

void CsvReader::read_plain() {
  const size_t begin = at_;
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (!kStops[static_cast<unsigned char>(c)]) {
      ++at_;
    } else if (c == '"') {
      fail(
          "{}: broken quote: \" inside a field without quotes: write the field as \"...\" with "
          "each "
          "quote in it doubled",
          place_text(name_, text_, at_));
    } else if (c == '\r' && text_.substr(at_, 2) != "\r\n") {
      ++at_;  // a lone CR is content
    } else {
      break;
    }
  }
  raw_.push_back({.at = begin, .begin = begin, .end = at_, .doubled = false});
}

void CsvReader::read_quoted() {
  Raw raw{.at = at_, .begin = at_ + 1, .end = 0, .doubled = false};
  size_t quote = text_.find('"', raw.begin);
  while (quote != text_.npos && text_.substr(quote + 1, 1) == "\"") {
    raw.doubled = true;
    quote = text_.find('"', quote + 2);
  }
  if (quote == text_.npos) {
    fail(
        "{}: broken quote: the quote opened here is never closed (file truncated, or a quote not "
        "doubled?)",
        place_text(name_, text_, raw.at));
  }
  raw.end = quote;
  at_ = quote + 1;
  const std::string_view rest = text_.substr(at_, 2);
  if (!rest.empty() && rest[0] != ',' && rest[0] != '\n' && rest != "\r\n") {
    fail(
        "{}: broken quote: text after the closing quote of the field at line {}: double the quotes "
        "inside a field (\"\")",
        place_text(name_, text_, at_), locate(text_, raw.at).line);
  }
  raw_.push_back(raw);
}

bool CsvReader::end_row() {
  if (at_ == text_.size()) return true;
  if (text_[at_] == ',') {
    ++at_;
    return false;
  }
  at_ += text_[at_] == '\r' ? 2 : 1;
  return true;
}

void CsvReader::take_fields() {
  scratch_.clear();
  scratch_.reserve(at_ - raw_.front().at);  // no reallocation below: fields point into it
  for (const Raw& raw : raw_) {
    const std::string_view content = text_.substr(raw.begin, raw.end - raw.begin);
    if (!raw.doubled) {
      fields_.push_back(content);
      continue;
    }
    const size_t begin = scratch_.size();
    for (size_t i = 0; i < content.size(); ++i) {
      scratch_ += content[i];
      if (content[i] == '"') ++i;
    }
    fields_.push_back(std::string_view(scratch_).substr(begin));
  }
}

}  // namespace trireme::data
