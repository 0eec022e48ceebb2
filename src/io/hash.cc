#include "io/hash.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <vector>

// The functions inline: no second library beside the header.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "io/posix.h"

namespace trireme::io {

struct Hash::State {
  XXH3_state_t xxh;
};

Hash::Hash() : state_(std::make_unique<State>()) { XXH3_64bits_reset(&state_->xxh); }
Hash::~Hash() = default;
Hash::Hash(Hash&&) noexcept = default;
Hash& Hash::operator=(Hash&&) noexcept = default;

void Hash::add(std::span<const std::byte> bytes) {
  XXH3_64bits_update(&state_->xxh, bytes.data(), bytes.size());
}

std::string Hash::text() const { return fmt::format("{:016x}", XXH3_64bits_digest(&state_->xxh)); }

std::string hash_of_file(const std::string& path) {
  const Fd fd = open_for_reading(path);
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) fail_errno(path, "read it", errno);
  Hash hash;
  std::vector<std::byte> piece(size_t{4} << 20);
  const auto size = static_cast<uint64_t>(status.st_size);
  for (uint64_t at = 0; at < size; at += piece.size()) {
    const std::span<std::byte> part(piece.data(), std::min<uint64_t>(piece.size(), size - at));
    read_at(fd, path, at, part);
    hash.add(part);
  }
  return hash.text();
}

}  // namespace trireme::io
