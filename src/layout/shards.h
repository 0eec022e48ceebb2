// How flat buffers are divided among ranks that hold the same model: equal shards in the order of
// ranks.
#pragma once

#include <cstdint>

namespace trireme::layout {

// A rank's elements [first, first + count) of a buffer.
struct Shard {
  int64_t first = 0;
  int64_t count = 0;  // 0 or less than `size` in the last shards
  int64_t size = 0;   // of every rank's shard, with padding beyond the buffer's end
};

// What of a model's state is sharded: by the stages of Rajbhandari et al. 2020, "ZeRO". Stage 1:
// masters and moments; 2: gradients too; 3: weights too.
struct Sharding {
  int64_t stage = 0;
  int64_t ranks = 1;
  int64_t index = 0;  // this rank's

  bool states() const { return ranks > 1 && stage >= 1; }
  bool gradients() const { return ranks > 1 && stage >= 2; }
  bool weights() const { return ranks > 1 && stage >= 3; }

  // This rank's part of the state of a buffer of `numel` elements: all of it where it is not
  // sharded.
  Shard shard(int64_t numel) const;
  // Elements of a buffer from which every rank's shard can be cut.
  int64_t padded(int64_t numel) const;
};

}  // namespace trireme::layout
