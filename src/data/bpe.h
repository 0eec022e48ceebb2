// Byte-pair encoding (Sennrich et al. 2016) over the bytes or the characters of a piece, as the
// `tokenizers` package does it: of all neighbouring pairs the one with the lowest rank is merged
// first, the leftmost of equals, until none is left.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace trireme::data {

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using Vocabulary = std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>>;

// GPT-2's printable stand-ins for bytes: the code point that stands for `byte` in vocabulary
// entries.
char32_t byte_to_character(uint8_t byte);
// The bytes that a vocabulary entry stands for; an entry with any other character stands for
// itself.
std::string entry_to_bytes(std::string_view entry);
std::string bytes_to_entry(std::string_view bytes);

class Bpe {
 public:
  struct Options {
    bool bytes = true;  // of pieces; entries write a byte as its stand-in. False: characters
    bool ignore_merges = false;  // a piece that is an entry is that token, whatever the merges say
    bool byte_fallback = false;  // a character without an entry becomes its bytes "<0x0A>"
    int32_t unknown = -1;        // ... or else this id, or nothing
    bool fuse_unknown = false;   // one such id for several characters in a row
    std::vector<int32_t> guarded;  // ids that spell() may be asked for
  };

  // A thread's memory: recently encoded words and the arrays of a merge.
  struct Scratch {
    struct Word {
      std::string bytes;
      std::vector<int32_t> ids;
    };
    std::vector<Word> words;
    std::vector<int32_t> ids, previous, next;
    std::vector<uint32_t> ranks;
    std::string entry;
  };

  // `merges` by rank. UserError naming `file` for a merge of entries that the vocabulary lacks.
  Bpe(Vocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
      Options options, const std::string& file);

  // Appends the ids of one piece; O(n log n).
  void encode(std::string_view piece, std::vector<int32_t>& ids, Scratch& scratch) const;
  // Appends the ids of an entry without those that are refused: in their place stand the two that
  // the merges make them of, or the ids of their characters.
  void spell(int32_t id, const std::function<bool(int32_t)>& refused,
             std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  struct Merge {
    uint64_t pair = ~uint64_t{0};  // left << 32 | right
    uint32_t rank = 0;
    int32_t merged = 0;
  };

  void add_merge(uint64_t pair, uint32_t rank, int32_t merged);
  const Merge* find(int32_t left, int32_t right) const;
  uint32_t rank_of(int32_t left, int32_t right) const;
  size_t slot_of(uint64_t pair) const { return (pair * 0x9e3779b97f4a7c15ULL) >> shift_; }
  void add_guarded(const std::vector<std::pair<std::string, std::string>>& merges);
  void to_ids(std::string_view piece, Scratch& scratch) const;
  // Appends the ids of single bytes or characters.
  void symbols(std::string_view piece, std::vector<int32_t>& ids) const;
  bool fall_back(std::string_view character, std::vector<int32_t>& ids) const;
  void merge_short(Scratch& scratch) const;
  void merge_long(Scratch& scratch) const;

  Vocabulary vocabulary_;
  std::array<int32_t, 256> byte_ids_, fallback_ids_;
  std::vector<Merge> merges_;  // open addressing, at most half full
  int shift_ = 0;
  Options options_;
  struct Guarded {
    std::string entry;
    std::pair<int32_t, int32_t> parts{-1, -1};
  };
  std::unordered_map<int32_t, Guarded> guarded_;
};

}  // namespace trireme::data
