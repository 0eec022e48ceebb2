#include "config/key_places.h"

#include <algorithm>

#include "base/error.h"

namespace trireme::config {

int64_t KeyPlaces::add(int64_t parent, std::string_view name, int64_t line, int64_t column) {
  keys_.push_back({parent, std::string(name), line, column});
  return std::ssize(keys_) - 1;
}

std::string KeyPlaces::at(std::string_view path) const {
  const auto found =
      std::ranges::find_if(keys_, [&](const Key& key) { return has_path(key, path); });
  TRIREME_CHECK(found != keys_.end(), "no key {}", path);
  return fmt::format("{}:{}", found->line, found->column);
}

// From the last name of the path to the first.
bool KeyPlaces::has_path(const Key& key, std::string_view path) const {
  const Key* at = &key;
  while (path.ends_with(at->name)) {
    path.remove_suffix(at->name.size());
    if (at->parent == kRoot) return path.empty();
    if (!path.ends_with('.')) return false;
    path.remove_suffix(1);
    at = &keys_[static_cast<size_t>(at->parent)];
  }
  return false;
}

}  // namespace trireme::config
