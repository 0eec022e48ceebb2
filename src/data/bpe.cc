#include "data/bpe.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <queue>
#include <set>

#include "base/error.h"
#include "data/unicode.h"

namespace trireme::data {
namespace {

constexpr uint32_t kNoMerge = std::numeric_limits<uint32_t>::max();
constexpr size_t kCachedWords = 1 << 14;
constexpr size_t kLongestCached = 64;  // bytes
constexpr size_t kShort = 96;          // tokens up to which scanning beats a heap

// Bytes that stand for themselves: printable Latin-1 without the soft hyphen. The others follow
// from U+0100 on.
bool is_printable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
}

struct Characters {
  std::array<char32_t, 256> of_byte;
  std::array<int, 512> to_byte;

  Characters() {
    to_byte.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      of_byte[byte] = is_printable(byte) ? static_cast<char32_t>(byte) : next++;
      to_byte[of_byte[byte]] = byte;
    }
  }
};

const Characters& characters() {
  static const Characters table;
  return table;
}

}  // namespace

char32_t byte_to_character(uint8_t byte) { return characters().of_byte[byte]; }

std::string entry_to_bytes(std::string_view entry) {
  std::string bytes;
  for (size_t i = 0; i < entry.size();) {
    const char32_t c = next_code_point(entry, i);
    const int byte = c < 512 ? characters().to_byte[c] : -1;
    if (byte < 0) return std::string(entry);
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

std::string bytes_to_entry(std::string_view bytes) {
  std::string entry;
  for (char byte : bytes) append_utf8(entry, byte_to_character(static_cast<uint8_t>(byte)));
  return entry;
}

Bpe::Bpe(Vocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
         Options options, const std::string& file)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
  for (int byte = 0; byte < 256; ++byte) {
    const char one = static_cast<char>(byte);
    const auto found = vocabulary_.find(bytes_to_entry({&one, 1}));
    byte_ids_[byte] = found == vocabulary_.end() ? -1 : found->second;
    const auto fallback = vocabulary_.find(fmt::format("<0x{:02X}>", byte));
    fallback_ids_[byte] = fallback == vocabulary_.end() ? -1 : fallback->second;
  }
  const size_t slots = std::bit_ceil(std::max<size_t>(2 * merges.size(), 16));
  merges_.resize(slots);
  shift_ = 64 - std::countr_zero(slots);
  const auto id_of = [&](std::string_view entry, size_t rank) {
    const auto found = vocabulary_.find(entry);
    if (found != vocabulary_.end()) return found->second;
    fail("{}: merge {} needs '{}', which the vocabulary lacks", file, rank, entry);
  };
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const int32_t merged = id_of(left + right, rank);
    const auto pair = static_cast<uint64_t>(id_of(left, rank)) << 32 | id_of(right, rank);
    add_merge(pair, static_cast<uint32_t>(rank), merged);
  }
  add_guarded(merges);
}

void Bpe::add_guarded(const std::vector<std::pair<std::string, std::string>>& merges) {
  if (options_.guarded.empty()) return;
  const std::set<int32_t> ids(options_.guarded.begin(), options_.guarded.end());
  for (const auto& [entry, id] : vocabulary_) {
    if (ids.contains(id)) guarded_[id].entry = entry;
  }
  for (const auto& [left, right] : merges) {
    const auto found = guarded_.find(vocabulary_.find(left + right)->second);
    if (found == guarded_.end() || found->second.parts.first >= 0) continue;
    found->second.parts = {vocabulary_.find(left)->second, vocabulary_.find(right)->second};
  }
}

void Bpe::spell(int32_t id, const std::function<bool(int32_t)>& refused,
                std::vector<int32_t>& ids) const {
  const auto found = guarded_.find(id);
  if (!refused(id) || found == guarded_.end()) return ids.push_back(id);
  const auto& [entry, parts] = found->second;
  if (parts.first >= 0) {
    spell(parts.first, refused, ids);
    spell(parts.second, refused, ids);
    return;
  }
  std::vector<int32_t> characters;
  symbols(options_.bytes ? entry_to_bytes(entry) : entry, characters);
  for (const int32_t character : characters) {
    if (!refused(character)) ids.push_back(character);
  }
}

void Bpe::symbols(std::string_view piece, std::vector<int32_t>& ids) const {
  int32_t waiting = -1;  // an unknown id that the next may be one with
  std::string_view character;
  const auto flush = [&] {
    if (waiting >= 0) ids.push_back(waiting);
    waiting = -1;
  };
  for (size_t i = 0; i < piece.size();) {
    int32_t id = -1;
    if (options_.bytes) {
      id = byte_ids_[static_cast<uint8_t>(piece[i++])];
    } else {
      const size_t begin = i;
      next_code_point(piece, i);
      character = piece.substr(begin, i - begin);
      if (const auto found = vocabulary_.find(character); found != vocabulary_.end()) {
        id = found->second;
      }
    }
    if (id >= 0) {
      flush();
      ids.push_back(id);
    } else if (!fall_back(character, ids)) {
      if (!options_.fuse_unknown) flush();
      waiting = options_.unknown;
    }
  }
  flush();
}

// A character as its bytes. False where that is not wanted, or one of them has no entry.
bool Bpe::fall_back(std::string_view character, std::vector<int32_t>& ids) const {
  if (!options_.byte_fallback || character.empty()) return false;
  const auto lacks = [&](char byte) { return fallback_ids_[static_cast<uint8_t>(byte)] < 0; };
  if (std::ranges::any_of(character, lacks)) return false;
  for (const char byte : character) ids.push_back(fallback_ids_[static_cast<uint8_t>(byte)]);
  return true;
}

void Bpe::add_merge(uint64_t pair, uint32_t rank, int32_t merged) {
  const size_t mask = merges_.size() - 1;
  size_t slot = slot_of(pair);
  while (merges_[slot].pair != ~uint64_t{0} && merges_[slot].pair != pair) slot = (slot + 1) & mask;
  merges_[slot] = {pair, rank, merged};
}

const Bpe::Merge* Bpe::find(int32_t left, int32_t right) const {
  const uint64_t pair = static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  const size_t mask = merges_.size() - 1;
  for (size_t slot = slot_of(pair); merges_[slot].pair != ~uint64_t{0}; slot = (slot + 1) & mask) {
    if (merges_[slot].pair == pair) return &merges_[slot];
  }
  return nullptr;
}

uint32_t Bpe::rank_of(int32_t left, int32_t right) const {
  const Merge* merge = find(left, right);
  return merge == nullptr ? kNoMerge : merge->rank;
}

void Bpe::encode(std::string_view piece, std::vector<int32_t>& ids, Scratch& scratch) const {
  if (piece.empty()) return;
  if (piece.size() > kLongestCached) {
    to_ids(piece, scratch);
    ids.insert(ids.end(), scratch.ids.begin(), scratch.ids.end());
    return;
  }
  if (scratch.words.empty()) scratch.words.resize(kCachedWords);
  Scratch::Word& word = scratch.words[std::hash<std::string_view>{}(piece) % kCachedWords];
  if (word.bytes != piece) {
    to_ids(piece, scratch);
    word.bytes = piece;
    word.ids = scratch.ids;
  }
  ids.insert(ids.end(), word.ids.begin(), word.ids.end());
}

// scratch.ids = the tokens of the piece.
void Bpe::to_ids(std::string_view piece, Scratch& scratch) const {
  scratch.ids.clear();
  if (options_.ignore_merges) {
    if (options_.bytes) {
      scratch.entry.clear();
      for (char c : piece) append_utf8(scratch.entry, byte_to_character(static_cast<uint8_t>(c)));
    }
    const auto found = vocabulary_.find(options_.bytes ? std::string_view(scratch.entry) : piece);
    if (found != vocabulary_.end()) {
      scratch.ids.push_back(found->second);
      return;
    }
  }
  symbols(piece, scratch.ids);
  if (scratch.ids.size() <= kShort) {
    merge_short(scratch);
  } else {
    merge_long(scratch);
  }
}

// Repeatedly scans for the lowest rank: quadratic, and quickest for words.
void Bpe::merge_short(Scratch& scratch) const {
  std::vector<int32_t>& ids = scratch.ids;
  std::vector<uint32_t>& ranks = scratch.ranks;  // ranks[i]: of the pair (i, i + 1)
  if (ids.size() < 2) return;
  ranks.resize(ids.size() - 1);
  for (size_t i = 0; i < ranks.size(); ++i) ranks[i] = rank_of(ids[i], ids[i + 1]);
  while (!ranks.empty()) {
    const auto best = std::min_element(ranks.begin(), ranks.end());
    if (*best == kNoMerge) return;
    const size_t i = best - ranks.begin();
    ids[i] = find(ids[i], ids[i + 1])->merged;
    ids.erase(ids.begin() + i + 1);
    ranks.erase(best);
    if (i > 0) ranks[i - 1] = rank_of(ids[i - 1], ids[i]);
    if (i < ranks.size()) ranks[i] = rank_of(ids[i], ids[i + 1]);
  }
}

// A heap of candidate merges over a linked list of tokens. A candidate is stale when one of its
// tokens has been merged meanwhile: then the pair that is now at its place has another rank.
void Bpe::merge_long(Scratch& scratch) const {
  std::vector<int32_t>& ids = scratch.ids;
  const auto n = static_cast<int32_t>(ids.size());
  std::vector<int32_t>&previous = scratch.previous, &next = scratch.next;
  previous.resize(n);
  next.resize(n);
  std::vector<std::pair<uint32_t, int32_t>> candidates;  // rank, place of the left token
  const auto candidate = [&](int32_t place) {
    const uint32_t rank = rank_of(ids[place], ids[next[place]]);
    return std::pair(rank, place);
  };
  for (int32_t i = 0; i < n; ++i) {
    previous[i] = i - 1;
    next[i] = i + 1 < n ? i + 1 : -1;
    if (next[i] < 0) continue;
    if (const auto c = candidate(i); c.first != kNoMerge) candidates.push_back(c);
  }
  std::priority_queue<std::pair<uint32_t, int32_t>, decltype(candidates), std::greater<>> heap(
      std::greater<>(), std::move(candidates));
  while (!heap.empty()) {
    const auto [rank, place] = heap.top();
    heap.pop();
    if (ids[place] < 0 || next[place] < 0) continue;
    const int32_t right = next[place];
    const Merge* merge = find(ids[place], ids[right]);
    if (merge == nullptr || merge->rank != rank) continue;
    ids[place] = merge->merged;
    ids[right] = -1;
    next[place] = next[right];
    if (next[place] >= 0) {
      previous[next[place]] = place;
      if (const auto c = candidate(place); c.first != kNoMerge) heap.push(c);
    }
    if (previous[place] < 0) continue;
    if (const auto c = candidate(previous[place]); c.first != kNoMerge) heap.push(c);
  }
  std::erase_if(ids, [](int32_t id) { return id < 0; });
}

}  // namespace trireme::data
