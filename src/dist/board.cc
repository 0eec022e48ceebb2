#include "dist/board.h"

#include <fmt/format.h>

#include "dist/store.h"

namespace trireme::dist {
namespace {

std::string key_of(const char* kind, int64_t rank) { return fmt::format("{}/{}", kind, rank); }

}  // namespace

std::optional<std::string> Board::find(const std::string& key) const {
  if (!store_->c10d->check({key})) return std::nullopt;
  return store_->c10d->get_to_str(key);
}

std::string Board::report_failure(const std::string& sentence) const {
  return store_->c10d->compareSet("failure", "", sentence);
}

void Board::report_last_words(int64_t rank, const std::string& words) const {
  store_->c10d->set(key_of("last words", rank), words);
}

std::optional<std::string> Board::last_words(int64_t rank) const {
  return find(key_of("last words", rank));
}

// Host and beat have no line break.
void Board::beat(int64_t rank, const Pulse& pulse) const {
  store_->c10d->set(key_of("pulse", rank),
                    fmt::format("{}\n{}\n{}", pulse.beat, pulse.host, pulse.where));
}

std::optional<Pulse> Board::pulse(int64_t rank) const {
  const auto text = find(key_of("pulse", rank));
  if (!text) return std::nullopt;
  const size_t first = text->find('\n'), second = text->find('\n', first + 1);
  return Pulse{text->substr(0, first), text->substr(first + 1, second - first - 1),
               text->substr(second + 1)};
}

void Board::leave(int64_t rank) const { store_->c10d->set(key_of("left", rank), "yes"); }

bool Board::left(int64_t ranks) const {
  std::vector<std::string> keys;
  for (int64_t rank = 0; rank < ranks; ++rank) keys.push_back(key_of("left", rank));
  return store_->c10d->check(keys);
}

}  // namespace trireme::dist
