// That a ring's exchange runs beside its computation: a rank of a ring of 8 at 65,536 tokens whose
// neighbour is itself, through NCCL, under the recorder of `bench --timeline`. The traces stay in
// the folder that TEST_TMPDIR names.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "attention/gpu_testing.h"
#include "attention/ring.h"
#include "device/profile.h"
#include "dist/testing.h"
#include "io/file.h"

namespace trireme::engine {
namespace {

constexpr int64_t kRanks = 8, kTokens = 65536;
constexpr attention::Case kRank{1, kTokens / kRanks, 32, 8, 128};
constexpr std::chrono::seconds kTimeout{60};

struct Stretch {
  double begin, end;  // microseconds
};

struct Timeline {
  std::vector<Stretch> computation, exchanges;  // each one after another

  explicit Timeline(const std::string& path) {
    const auto trace = nlohmann::json::parse(io::read_text(path));
    for (const auto& event : trace.at("traceEvents")) {
      if (event.value("cat", "") != "kernel") continue;
      const std::string name = event.at("name");
      const double begin = event.at("ts"), length = event.at("dur");
      const bool exchange = name.find("nccl") != std::string::npos;
      (exchange ? exchanges : computation).push_back({begin, begin + length});
    }
  }
  // The part of the exchange that overlaps with computation.
  double hidden(const Stretch& exchange) const {
    double sum = 0;
    for (const Stretch& kernel : computation) {
      sum += std::max(0.0,
                      std::min(exchange.end, kernel.end) - std::max(exchange.begin, kernel.begin));
    }
    return sum / (exchange.end - exchange.begin);
  }
};

class RingTimeline : public testing::Test {
 protected:
  RingTimeline()
      : group_("alone", {0}, 0, *store_, {kTimeout, kTimeout}, dist::Backend::kNccl),
        ring_({0, kTokens}, layout::deal({0, kTokens}, kRanks, config::RingOrder::kZigzag).rows, 3,
              group_, at::kCUDA, kRank.scale()) {}

  void expect_exchanges_under_computation(const char* name, int64_t least,
                                          const std::function<void()>& work) {
    work();  // NCCL's first exchange makes the host wait
    const std::string path = testing::TempDir() + "ring_" + name + ".json";
    device::Machine gpu;
    gpu.device = at::kCUDA;
    device::write_timeline(gpu, path, work);
    const Timeline timeline(path);
    ASSERT_GE(std::ssize(timeline.exchanges), least);
    double all = 0, under = 0;
    for (const Stretch& exchange : timeline.exchanges) {
      const double length = exchange.end - exchange.begin, hidden = timeline.hidden(exchange);
      all += length;
      under += hidden * length;
    }
    fmt::print("{}: {} exchanges, {:.3f} ms, {:.0f} % of it under {} other kernels; {}\n", name,
               timeline.exchanges.size(), all * 1e-3, 100 * under / all,
               timeline.computation.size(), path);
    EXPECT_GT(under, 0.5 * all);
  }

  dist::StorePtr store_ = dist::local_store();
  dist::Group group_;
  attention::RingAttention ring_;
  const attention::Inputs in_ = attention::make_inputs(kRank);
};

TEST_F(RingTimeline, KeysTravelUnderTheForwardPass) {
  expect_exchanges_under_computation("forward", kRanks - 1,
                                     [&] { ring_.forward(in_.q, in_.k, in_.v); });
}

TEST_F(RingTimeline, KeysAndTheirGradientsTravelUnderTheBackwardPass) {
  const attention::AttentionOutput out = ring_.forward(in_.q, in_.k, in_.v);
  expect_exchanges_under_computation("backward", 2 * kRanks - 1,
                                     [&] { ring_.backward(in_.dout, in_.q, in_.k, in_.v, out); });
}

}  // namespace
}  // namespace trireme::engine
