// The hash by which a file is known again: XXH3, 64 bits (Collet's xxHash), far faster than any
// disk. It finds damage and mix-ups, and is no protection from people.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace trireme::io {

class Hash {
 public:
  Hash();
  ~Hash();
  Hash(Hash&&) noexcept;
  Hash& operator=(Hash&&) noexcept;

  void add(std::span<const std::byte> bytes);
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  std::string text() const;  // 16 hexadecimal digits, of what was added so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The hash of a whole file. UserError: it cannot be read.
std::string hash_of_file(const std::string& path);

}  // namespace trireme::io
