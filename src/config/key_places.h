// Where the keys of a JSON text stand, for messages about their values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::config {

// A key's path is its name behind those of the objects around it ("training.max_length"); elements
// of lists have no index in it. Holds each name once, however deep it stands: whole paths would
// be quadratic in the size of a text that nests.
class KeyPlaces {
 public:
  static constexpr int64_t kRoot = -1;

  // `parent`: the number of the key whose value the key stands in, or kRoot. Returns its own.
  int64_t add(int64_t parent, std::string_view name, int64_t line, int64_t column);

  // "line:column" of the first key of that path, which must be there. Linear in the keys.
  std::string at(std::string_view path) const;

 private:
  struct Key {
    int64_t parent;
    std::string name;
    int64_t line, column;
  };
  bool has_path(const Key& key, std::string_view path) const;

  std::vector<Key> keys_;
};

}  // namespace trireme::config
