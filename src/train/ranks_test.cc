// Ranks (threads that meet over Gloo) against one rank, in fp32: ZeRO's stages over every way in
// which ranks share sequences or have their own. Ranks compute the same numbers from the same rows;
// only sums over rows are in another order. Loss 1e-6 relative, each block's gradient 1e-5 of its
// norm.
#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "base/rng.h"
#include "base/testing.h"
#include "dist/gather_texts.h"
#include "dist/testing.h"
#include "ops/testing.h"
#include "plan/communication.h"
#include "plan/memory.h"
#include "state/host_memory.h"
#include "state/saved_state.h"
#include "train/trainer.h"

namespace trireme::train {
namespace {

using config::Axis;
using config::MeshSpec;

constexpr Axis kAxesUsed[] = {Axis::kData, Axis::kRing, Axis::kUlysses, Axis::kSequence,
                              Axis::kShards};
constexpr Axis kCounted[] = {Axis::kRing, Axis::kUlysses, Axis::kSequence, Axis::kShards};

constexpr int64_t kExperts = 5;
config::ModelSpec tiny(bool experts, int64_t experts_per_token = 2) {
  config::ModelSpec spec;
  spec.family = experts ? config::Family::kQwen3Moe : config::Family::kQwen3;
  spec.hidden = 36;
  spec.layers = 3;
  spec.heads = 8;
  spec.kv_heads = 2;  // fewer than eight ranks
  spec.head_dim = 10;
  spec.intermediate = 52;
  spec.vocab = 61;
  spec.qk_norm = true;
  spec.tied = !experts;
  if (experts) {
    spec.moe = config::MoeSpec{.experts = kExperts,
                               .experts_per_token = experts_per_token,
                               .intermediate = 20,
                               .balance_coefficient = 0.5};
    spec.sparse_layers = {true, false, true};
  }
  return spec;
}

// Whole blocks, the same on every rank.
std::vector<at::Tensor> random_blocks(const layout::ModelLayout& layout) {
  std::vector<at::Tensor> blocks;
  for (const layout::BlockLayout& block : layout.blocks) {
    at::Tensor flat = at::zeros({block.numel});
    for (const layout::ParamInfo& info : block.params) {
      const at::Tensor values =
          ops::random_tensor({info.numel}, static_cast<int64_t>(blocks.size()) * 100 + info.offset);
      flat.narrow(0, info.offset, info.numel)
          .copy_(info.offset < block.decayed ? values * 0.3 : values * 0.1 + 1);
    }
    blocks.push_back(flat);
  }
  return blocks;
}

// A micro-batch of these documents, each with a few targets that are ignored.
data::PackedBatch batch_of(const std::vector<int64_t>& lengths, int64_t vocab, uint64_t seed) {
  Rng rng(seed);
  data::PackedBatch batch;
  for (const int64_t length : lengths) {
    std::vector<int64_t> tokens, labels;
    for (int64_t i = 0; i < length; ++i) {
      tokens.push_back(static_cast<int64_t>(rng.below(vocab)));
      labels.push_back(i % 5 == 3 ? data::kIgnored : tokens.back());
    }
    data::append_document(batch, tokens, labels);
  }
  return batch;
}

std::vector<int64_t> one_document() { return {211}; }
std::vector<int64_t> fifty_documents() {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < 50; ++i) lengths.push_back(1 + i * i % 7);
  return lengths;
}

// Micro-batches that the ranks with sequences of their own deal among themselves.
data::StepBatches batches_of(const std::vector<int64_t>& lengths, int64_t vocab,
                             data::DataRank rank, int64_t count, uint64_t seed) {
  data::StepBatches batches;
  for (int64_t i = 0; i < count; ++i) {
    data::PackedBatch batch = batch_of(lengths, vocab, seed * 100 + static_cast<uint64_t>(i));
    batches.tokens += std::ssize(batch.tokens);
    batches.trained_tokens += batch.trained_tokens;
    if (i % rank.ranks == rank.index) batches.mine.push_back(std::move(batch));
  }
  return batches;
}

plan::MemoryPlan plan_of(const layout::Model& model, bool fused, const layout::Sharding& sharding) {
  return plan::plan_memory({.activations = {.model = &model,
                                            .tokens = 300,
                                            .longest = 300,
                                            .keep = config::Keeping::kAll,
                                            .tiles = {}},
                            .fused = fused,
                            .sharding = sharding,
                            .budget = int64_t{1} << 40});
}

// Trainings are compared where rounding stays rounding. Adam divides an element by its own size:
// with the usual epsilon, one without a true gradient takes whole steps in the direction of its
// rounding. This epsilon is a twentieth of the root mean square of these gradients (40,000
// elements, a norm of 1), and their rounding is 1e-8. And tokens that train take all kExperts: of a
// hundred thousand choices some are between logits that are equal up to rounding.
constexpr double kEpsilon = 2e-4;

// Where a training begins and ends: checkpoints, "" for none.
struct Ends {
  int64_t first = 0;  // steps done before
  std::string from = {}, to = {};
};

// One rank's program.
class Program {
 public:
  Program(const layout::Model& model, const dist::Mesh& mesh, int64_t stage,
          config::RunConfig run = {})
      : model_(model), mesh_(mesh), zero_(mesh, stage), run_(run) {
    at::set_num_threads(1);
    run_.learning_rate = 0.01;
    run_.weight_decay = 0.1;
    run_.max_grad_norm = 1;
    run_.adam_epsilon = kEpsilon;
    const std::vector<at::Tensor> blocks = random_blocks(model.trained_layout());
    for (int64_t b = 0; b < std::ssize(blocks); ++b) weights_.trained().fill(b, blocks[b]);
    weights_.updated();
  }

  struct Gradients {
    double loss;                     // with the term that balances experts
    std::vector<at::Tensor> blocks;  // whole
  };
  Gradients gradients(const std::vector<int64_t>& lengths, int64_t micro_batches) {
    engine::Executor executor(model_, weights_, at::kCPU, plan_.execution, host_.activations,
                              phases_, mesh_);
    const auto grads = engine::make_grads(model_, at::kCPU, zero_);
    const data::StepBatches batches =
        batches_of(lengths, model_.spec.vocab, data_rank(mesh_), micro_batches, 9);
    grads->clear();
    at::Tensor loss = at::zeros({}, at::kFloat);
    for (const data::PackedBatch& batch : batches.mine) {
      grads->begin_pass(&batch == &batches.mine.back());
      add(loss, executor.forward_backward(batch, 1e-2, *grads));
    }
    mesh_.group(Axis::kData).all_reduce(loss)->wait();
    Gradients result{loss.item<double>(), {}};
    const std::vector<at::Tensor>& shards = grads->sums();
    for (int64_t b = 0; b < std::ssize(shards); ++b) {
      const int64_t numel = model_.layout.blocks[b].numel;
      at::Tensor flat = shards[b];
      if (zero_.states()) {
        flat = at::empty({zero_.padded(numel)});
        zero_.gather(flat, shards[b])->wait();
        EXPECT_EQ(flat.narrow(0, numel, flat.numel() - numel).abs().sum().item<float>(), 0);
      }
      result.blocks.push_back(flat.narrow(0, 0, numel).clone());
    }
    return result;
  }

  double evaluate(const std::vector<int64_t>& lengths) {
    engine::Executor executor(model_, weights_, at::kCPU, plan_.execution, host_.activations,
                              phases_, mesh_);
    at::Tensor loss = at::zeros({}, at::kFloat);
    add(loss, executor.forward(batch_of(lengths, model_.spec.vocab, 3)));
    return loss.item<double>();
  }

  struct Trained {
    std::vector<double> losses, norms;
    std::vector<at::Tensor> blocks;
    layout::CommunicationTable counted, predicted;
  };
  Trained train(int64_t steps, int64_t micro_batches, const Ends& ends = {}) {
    TrainStep step(run_, model_, machine_, weights_, plan_.execution, host_, phases_, mesh_, zero_);
    Trained result;
    if (!ends.from.empty()) resume(step, ends, micro_batches);
    const layout::CommunicationTable before = dist::counted_communication(mesh_, kCounted);
    plan::CommunicationRequest request{&model_,
                                       NumberFormat::kFloat32,
                                       &plan_.execution,
                                       run_.optimizer_in_backward,
                                       mesh_.spec(),
                                       zero_,
                                       mesh_.group(Axis::kRing).index(),
                                       mesh_.group(Axis::kUlysses).index(),
                                       {},
                                       steps};
    for (int64_t i = ends.first; i < ends.first + steps; ++i) {
      const data::StepBatches batches =
          batches_of(fifty_documents(), model_.spec.vocab, data_rank(mesh_), micro_batches, i % 3);
      request.batches.clear();
      for (const data::PackedBatch& batch : batches.mine) {
        request.batches.push_back(batch.document_starts);
      }
      const TrainStep::Outcome outcome = step.run(batches, run_.learning_rate);
      const at::Tensor loss = outcome.loss();
      mesh_.group(Axis::kData).all_reduce(loss)->wait();
      result.losses.push_back(loss.item<double>() / static_cast<double>(batches.trained_tokens));
      result.norms.push_back(outcome.grad_norm.item<double>());
    }
    result.counted = layout::since(before, dist::counted_communication(mesh_, kCounted));
    result.predicted = plan::predict_communication(request);
    for (int64_t b = 0; b < std::ssize(model_.layout.blocks); ++b) {
      result.blocks.push_back(weights_.trained().whole(b).clone());
    }
    if (!ends.to.empty()) save(step, ends.to);
    return result;
  }

 private:
  void resume(TrainStep& step, const Ends& ends, int64_t micro_batches) {
    state::load_state(io::StateFiles(ends.from), model_.trained_layout(), weights_.trained(),
                      step.optimizer());
    weights_.updated();
    step.resume({.steps = ends.first, .micro_batches = ends.first * micro_batches});
  }

  // The state alone; what else is in a checkpoint has its own tests.
  void save(TrainStep& step, const std::string& folder) const {
    const std::string file = io::rank_file(mesh_.rank(), mesh_.control().size());
    const state::RankState state =
        state::rank_state(model_.trained_layout(),
                          state::state_parts(weights_.trained(), step.optimizer(), zero_), file);
    if (!state.pieces.empty()) {
      io::write_safetensors(io::posix(), folder + "/" + file, state.tensors);
    }
    std::vector<io::StatePiece> pieces;
    for (const std::string& text :
         dist::gather_texts(io::state_text(state.pieces), mesh_.control())) {
      std::ranges::move(io::parse_state(text, "a rank"), std::back_inserter(pieces));
    }
    if (mesh_.rank() == 0) {
      io::write_text(io::posix(), folder + "/" + io::kStateFile, io::state_text(pieces));
    }
  }

  static void add(at::Tensor& loss, const engine::LossSum& part) {
    loss.add_(part.sum);
    if (part.router.loss.defined()) loss.add_(part.router.loss);
  }

  const layout::Model& model_;
  const dist::Mesh& mesh_;
  state::Zero zero_;
  config::RunConfig run_;
  device::Machine machine_;
  plan::MemoryPlan plan_ = plan_of(model_, run_.optimizer_in_backward, zero_);
  state::HostMemory host_{plan_, at::kCPU};
  device::Phases phases_{at::kCPU};
  mutable state::Weights weights_{model_, machine_, {}, zero_};
};

void expect_close(const std::vector<at::Tensor>& many, const std::vector<at::Tensor>& one,
                  double tolerance) {
  ASSERT_EQ(many.size(), one.size());
  for (size_t b = 0; b < one.size(); ++b) {
    EXPECT_LT(ops::relative_error(many[b], one[b]), tolerance) << "block " << b;
  }
}

void expect_equal(const layout::CommunicationTable& counted,
                  const layout::CommunicationTable& predicted) {
  EXPECT_EQ(counted.size(), predicted.size());
  for (const auto& [row, volume] : counted) {
    const std::string name =
        fmt::format("{} in {}", layout::collective_name(row.second), config::axis_name(row.first));
    ASSERT_TRUE(predicted.contains(row)) << name;
    EXPECT_EQ(volume.calls, predicted.at(row).calls) << name;
    EXPECT_EQ(volume.bytes, predicted.at(row).bytes) << name;
  }
}

// Ranks with sequences of their own, ranks that share one, experts.
class Ranks : public testing::TestWithParam<std::tuple<int64_t, int64_t, bool>> {
 protected:
  explicit Ranks(int64_t experts_per_token = 2)
      : model_{tiny(std::get<2>(GetParam()), experts_per_token)} {}
  int64_t data() const { return std::get<0>(GetParam()); }
  int64_t ulysses() const { return std::get<1>(GetParam()); }
  int64_t micro_batches() const { return 2 * data(); }
  const layout::Model model_;

  void run(const std::function<void(const dist::Mesh&)>& body) const {
    dist::run_ranks({.data = data(), .ulysses = ulysses()}, kAxesUsed, body);
  }
};
class RanksThatTrain : public Ranks {
 protected:
  RanksThatTrain() : Ranks(kExperts) {}
};

std::string ranks_name(const testing::TestParamInfo<std::tuple<int64_t, int64_t, bool>>& info) {
  const auto [data, ulysses, experts] = info.param;
  return fmt::format("{}x{}{}", data, ulysses, experts ? "experts" : "");
}

using Case = std::tuple<int64_t, int64_t, bool>;
std::vector<Case> up_to_eight() {
  std::vector<Case> cases;
  for (const int64_t data : {1, 2, 4, 8}) {
    for (int64_t ulysses = 1; data * ulysses <= 8; ulysses *= 2) {
      cases.emplace_back(data, ulysses, false);
      cases.emplace_back(data, ulysses, true);
    }
  }
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Zero, Ranks, testing::ValuesIn(up_to_eight()), ranks_name);
INSTANTIATE_TEST_SUITE_P(Zero, RanksThatTrain,
                         testing::Values(Case{2, 2, false}, Case{2, 2, true}, Case{1, 8, false},
                                         Case{8, 1, true}),
                         ranks_name);

TEST_P(Ranks, HaveTheGradientsOfOneWithEveryStage) {
  for (const auto& lengths : {one_document(), fifty_documents()}) {
    const dist::Mesh alone;
    Program single(model_, alone, 0);
    const Program::Gradients one = single.gradients(lengths, micro_batches());
    const double evaluated = single.evaluate(lengths);
    for (int64_t stage = 0; stage <= 3; ++stage) {
      run([&](const dist::Mesh& mesh) {
        Program program(model_, mesh, stage);
        const Program::Gradients many = program.gradients(lengths, micro_batches());
        EXPECT_NEAR(many.loss, one.loss, 1e-6 * one.loss) << "stage " << stage;
        expect_close(many.blocks, one.blocks, 1e-5);
        EXPECT_NEAR(program.evaluate(lengths), evaluated, 1e-6 * evaluated);
      });
    }
  }
}

// Losses to 1e-5, norms to 1e-4, weights to 1e-4 of what twenty steps changed (measured: 7e-7, 6e-6
// and 3e-6).
TEST_P(RanksThatTrain, AsOneDoes) {
  constexpr int64_t kSteps = 20;
  const dist::Mesh alone;
  const Program::Trained one = Program(model_, alone, 0).train(kSteps, micro_batches());
  EXPECT_LT(one.losses.back(), 0.9 * one.losses.front());
  const std::vector<at::Tensor> start = random_blocks(model_.layout);
  for (int64_t stage = 0; stage <= 3; ++stage) {
    run([&](const dist::Mesh& mesh) {
      const Program::Trained many = Program(model_, mesh, stage).train(kSteps, micro_batches());
      for (int64_t i = 0; i < kSteps; ++i) {
        EXPECT_NEAR(many.losses[i], one.losses[i], 1e-5 * one.losses[i]) << i;
        EXPECT_NEAR(many.norms[i], one.norms[i], 1e-4 * one.norms[i]) << i;
      }
      expect_equal(many.counted, many.predicted);
      for (size_t b = 0; b < start.size(); ++b) {
        EXPECT_LT(ops::relative_error(many.blocks[b] - start[b], one.blocks[b] - start[b]), 1e-4);
      }
    });
  }
}

// A ring of ranks, and a ring of groups that exchange heads: how many of each; experts.
class Rings : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Sequence, Rings,
                         testing::Values(Case{2, 1, false}, Case{2, 1, true}, Case{3, 1, false},
                                         Case{3, 1, true}, Case{4, 1, false}, Case{4, 1, true},
                                         Case{8, 1, false}, Case{8, 1, true}, Case{2, 2, false},
                                         Case{2, 2, true}, Case{4, 2, false}, Case{4, 2, true},
                                         Case{2, 4, false}, Case{2, 4, true}),
                         ranks_name);

TEST_P(Rings, HaveTheGradientsOfOne) {
  const auto [ring, ulysses, experts] = GetParam();
  const layout::Model model{tiny(experts)};
  const dist::Mesh alone;
  for (const auto& lengths : {one_document(), fifty_documents()}) {
    Program single(model, alone, 0);
    const Program::Gradients one = single.gradients(lengths, 1);
    const double evaluated = single.evaluate(lengths);
    for (const int64_t stage : {0, 3}) {
      dist::run_ranks({.ring = ring, .ulysses = ulysses}, kAxesUsed, [&](const dist::Mesh& mesh) {
        Program program(model, mesh, stage);
        const Program::Gradients many = program.gradients(lengths, 1);
        EXPECT_NEAR(many.loss, one.loss, 1e-6 * one.loss) << "stage " << stage;
        expect_close(many.blocks, one.blocks, 1e-5);
        EXPECT_NEAR(program.evaluate(lengths), evaluated, 1e-6 * evaluated);
      });
    }
  }
}

class RingsThatTrain : public Rings {};
INSTANTIATE_TEST_SUITE_P(Sequence, RingsThatTrain,
                         testing::Values(Case{3, 1, true}, Case{2, 2, false}), ranks_name);

TEST_P(RingsThatTrain, AsOneDoesAndSendWhatIsForeseen) {
  constexpr int64_t kSteps = 20;
  const auto [ring, ulysses, experts] = GetParam();
  const layout::Model model{tiny(experts, kExperts)};
  const dist::Mesh alone;
  const Program::Trained one = Program(model, alone, 0).train(kSteps, 2);
  dist::run_ranks({.ring = ring, .ulysses = ulysses}, kAxesUsed, [&](const dist::Mesh& mesh) {
    const Program::Trained many = Program(model, mesh, 3).train(kSteps, 2);
    for (int64_t i = 0; i < kSteps; ++i) {
      EXPECT_NEAR(many.losses[i], one.losses[i], 1e-5 * one.losses[i]) << i;
    }
    expect_equal(many.counted, many.predicted);
  });
}

// A checkpoint of one topology, read on another: the next ten steps are those of one rank that was
// never stopped, within the tolerances of AsOneDoes.
struct Topology {
  MeshSpec mesh;
  int64_t stage;
};
const Topology kTopologies[] = {{{}, 0},
                                {{.data = 2}, 0},
                                {{.data = 4}, 1},
                                {{.ulysses = 2}, 2},
                                {{.data = 2, .ulysses = 2}, 3},
                                {{.ring = 3}, 3}};

class Resumed : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(OnOthers, Resumed, testing::Bool(),
                         [](const auto& info) { return info.param ? "experts" : "dense"; });

// Pairs (from, to) of which `wanted` is true.
void expect_resumed(bool experts, const std::function<bool(size_t, size_t)>& wanted) {
  constexpr int64_t kBefore = 3, kAfter = 10, kMicroBatches = 4;
  const layout::Model model{tiny(experts, kExperts)};
  const dist::Mesh alone;
  const Program::Trained one = Program(model, alone, 0).train(kBefore + kAfter, kMicroBatches);
  const TestFolder place;
  const auto run = [](const Topology& topology,
                      const std::function<void(const dist::Mesh&)>& body) {
    dist::run_ranks(topology.mesh, kAxesUsed, body);
  };
  for (size_t i = 0; i < std::size(kTopologies); ++i) {
    const Topology& from = kTopologies[i];
    const std::string folder = place / fmt::format("{}", i);
    std::filesystem::create_directories(folder + "/state");
    run(from, [&](const dist::Mesh& mesh) {
      Program(model, mesh, from.stage).train(kBefore, kMicroBatches, {.to = folder});
    });
    for (size_t j = 0; j < std::size(kTopologies); ++j) {
      if (!wanted(i, j)) continue;
      const Topology& to = kTopologies[j];
      run(to, [&](const dist::Mesh& mesh) {
        const Program::Trained many =
            Program(model, mesh, to.stage).train(kAfter, kMicroBatches, {kBefore, folder});
        for (int64_t step = 0; step < kAfter; ++step) {
          const double loss = one.losses[kBefore + step], norm = one.norms[kBefore + step];
          EXPECT_NEAR(many.losses[step], loss, 1e-5 * loss) << i << " on " << j << ": " << step;
          EXPECT_NEAR(many.norms[step], norm, 1e-4 * norm) << i << " on " << j << ": " << step;
        }
      });
    }
  }
}

TEST_P(Resumed, OnTheNextTopology) {
  const size_t next = GetParam() ? 2 : 1;
  expect_resumed(GetParam(),
                 [&](size_t i, size_t j) { return j == (i + next) % std::size(kTopologies); });
}

// All 36 pairs: ./dev check matrix.
TEST_P(Resumed, DISABLED_OnEach) {
  expect_resumed(GetParam(), [](size_t, size_t) { return true; });
}

}  // namespace
}  // namespace trireme::train
