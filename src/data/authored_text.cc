#include "data/authored_text.h"

#include "data/unicode.h"

namespace trireme::data {
AuthoredString::AuthoredString(std::span<const TextRun> runs) {
  if (!runs.empty()) author_ = runs[0].author;
  by_one_ = std::ranges::all_of(runs, [&](const TextRun& run) { return run.author == author_; });
  for (const TextRun& run : runs) append({to_valid_utf8(run.text), run.author});
}

void AuthoredString::append(const AuthoredText& text) {
  text_ += text.text();
  if (!by_one_) authors_ += text.authors();
}

}  // namespace trireme::data
