#include "attention/ranks.h"

#include "attention/ring.h"
#include "attention/ulysses.h"

namespace trireme::attention {

std::unique_ptr<Attention> of_ranks(const std::vector<int64_t>& starts, const layout::Share& share,
                                    const dist::Group& ring, const dist::Group& ulysses,
                                    const at::Device& device, double scale) {
  std::unique_ptr<Attention> whole;
  if (ring.size() > 1) {
    whole = std::make_unique<RingAttention>(starts, share.ring.rows, ring, device, scale);
  } else {
    whole = std::make_unique<LocalAttention>(starts, device, scale);
  }
  if (ulysses.size() == 1) return whole;
  return std::make_unique<UlyssesAttention>(std::move(whole), ulysses, share.bounds);
}

}  // namespace trireme::attention
