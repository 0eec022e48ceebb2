#include "data/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/rng.h"

namespace trireme::data {
namespace {

using Merges = std::vector<std::pair<std::string, std::string>>;

// Bytes and the results of merges, as entries.
Vocabulary vocabulary_of(const Merges& merges) {
  Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    const char one = static_cast<char>(byte);
    vocabulary.emplace(bytes_to_entry({&one, 1}), byte);
  }
  int32_t next = 256;
  for (const auto& [left, right] : merges) vocabulary.emplace(left + right, next++);
  return vocabulary;
}

std::vector<int32_t> encode(const Bpe& bpe, const std::string& piece) {
  Bpe::Scratch scratch;
  std::vector<int32_t> ids;
  bpe.encode(piece, ids, scratch);
  return ids;
}

// The definition: over and over the leftmost pair of the lowest rank.
std::vector<std::string> by_definition(const Merges& merges, const std::string& piece) {
  std::vector<std::string> parts;
  for (char c : piece) parts.emplace_back(1, c);
  while (true) {
    size_t best_rank = merges.size(), best = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      for (size_t rank = 0; rank < best_rank; ++rank) {
        if (merges[rank] == std::pair(parts[i], parts[i + 1])) best_rank = rank, best = i;
      }
    }
    if (best_rank == merges.size()) return parts;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<int64_t>(best) + 1);
  }
}

Merges random_merges(Rng& rng, size_t count) {
  std::vector<std::string> tokens = {"a", "b", "c"};
  Merges merges;
  while (merges.size() < count) {
    const std::string left = tokens[rng.below(tokens.size())],
                      right = tokens[rng.below(tokens.size())];
    if (std::ranges::find(tokens, left + right) != tokens.end()) continue;
    merges.emplace_back(left, right);
    tokens.push_back(left + right);
  }
  rng.shuffle(merges);
  return merges;
}

TEST(Bpe, MergesAsDefinedInShortAndLongPieces) {
  Rng rng(7);
  for (int round = 0; round < 60; ++round) {
    const Merges merges = random_merges(rng, 3 + rng.below(20));
    const Bpe bpe(vocabulary_of(merges), merges, {}, "test");
    std::string piece;
    const size_t length = 1 + rng.below(300);  // both sides of where the heap takes over
    while (piece.size() < length) piece += static_cast<char>('a' + rng.below(3));
    std::vector<int32_t> expected;
    for (const std::string& part : by_definition(merges, piece)) {
      expected.push_back(bpe.vocabulary().find(part)->second);
    }
    ASSERT_EQ(encode(bpe, piece), expected) << piece;
  }
}

TEST(Bpe, AMegabyteOfOneLetter) {
  const Merges merges = {{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}};
  const Bpe bpe(vocabulary_of(merges), merges, {}, "test");
  EXPECT_EQ(encode(bpe, std::string(1 << 20, 'a')), std::vector<int32_t>(1 << 17, 258));
}

TEST(Bpe, IgnoreMergesTakesWholePieces) {
  const Merges merges = {{"b", "c"}, {"a", "b"}, {"ab", "c"}};  // abc -> a bc by the merges
  const Bpe by_merges(vocabulary_of(merges), merges, {}, "test");
  const Bpe whole(vocabulary_of(merges), merges, {.ignore_merges = true}, "test");
  EXPECT_EQ(encode(by_merges, "abc"), (std::vector<int32_t>{'a', 256}));
  EXPECT_EQ(encode(whole, "abc"), (std::vector<int32_t>{258}));
  EXPECT_EQ(encode(whole, "abca"), (std::vector<int32_t>{'a', 256, 'a'}));
}

TEST(Bpe, RefusedIdsAreSpelled) {
  const Merges merges = {{"a", "b"}, {"ab", "c"}};
  Vocabulary vocabulary = vocabulary_of(merges);
  vocabulary.emplace("cba", 258);  // no merge leads to it
  const Bpe bpe(vocabulary, merges, {.guarded = {256, 257, 258}}, "test");
  const auto spelled = [&](int32_t id, std::set<int32_t> refused) {
    std::vector<int32_t> ids;
    bpe.spell(
        id, [&](int32_t one) { return refused.contains(one); }, ids);
    return ids;
  };
  EXPECT_EQ(spelled(257, {}), (std::vector<int32_t>{257}));
  EXPECT_EQ(spelled(257, {257}), (std::vector<int32_t>{256, 'c'}));
  EXPECT_EQ(spelled(257, {256, 257}), (std::vector<int32_t>{'a', 'b', 'c'}));
  EXPECT_EQ(spelled(258, {258}), (std::vector<int32_t>{'c', 'b', 'a'}));
}

TEST(Bpe, MergeOfAnAbsentEntryIsRefused) {
  Vocabulary vocabulary = vocabulary_of({});
  const auto construct = [&] { return Bpe(vocabulary, {{"a", "b"}}, {}, "folder/tokenizer.json"); };
  try {
    construct();
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "folder/tokenizer.json: merge 0 needs 'ab', which the vocabulary lacks");
  }
}

TEST(Bpe, EntriesAndBytes) {
  EXPECT_EQ(bytes_to_entry(" a\n"), "ĠaĊ");
  EXPECT_EQ(entry_to_bytes("ĠaĊ"), " a\n");
  EXPECT_EQ(entry_to_bytes("ä½ł"), "你");
  EXPECT_EQ(entry_to_bytes("你"), "你");  // no stand-in: an added token
}

}  // namespace
}  // namespace trireme::data
