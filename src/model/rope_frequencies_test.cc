#include "model/rope_frequencies.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>

namespace trireme::model {
namespace {

using config::Json;

constexpr int64_t kMillion = 1'000'000;

// A llama with heads of 16, trained with 131,072 positions.
config::ModelSpec model_of(Json rope) {
  rope["rope_theta"] = 1e6;
  return config::parse_model_spec({{"model_type", "llama"},
                                   {"hidden_size", 64},
                                   {"num_hidden_layers", 1},
                                   {"num_attention_heads", 4},
                                   {"vocab_size", 100},
                                   {"intermediate_size", 64},
                                   {"max_position_embeddings", 131072},
                                   {"rope_parameters", rope}},
                                  "config.json");
}

// What LlamaRotaryEmbedding of transformers 5.17 holds and returns for the last token of a document
// of a million and one.
struct Expected {
  const char* rope;
  double scale;
  std::vector<double> frequencies, cos, sin;
};

const std::vector<Expected> kExpected = {
    {R"({"rope_type": "default"})",
     1,
     {1, 0.177827939, 0.0316227786, 0.00562341325, 0.00100000005, 0.00017782794, 3.16227743e-05,
      5.62341347e-06},
     {0.936752141, 0.337123752, 0.881222486, 0.999287009, 0.562328637, -0.32210955, 0.978683233,
      0.790132165},
     {-0.349993497, 0.941460371, -0.472701728, -0.0377550125, 0.826913834, 0.946702421, 0.205375716,
      -0.612936497}},
    {R"({"type": "linear", "factor": 4.0})",
     1,
     {0.25, 0.0444569848, 0.00790569466, 0.00140585331, 0.000250000012, 4.44569851e-05,
      7.90569356e-06, 1.40585337e-06},
     {-0.0892720371, -0.953324795, 0.122777961, -0.00944085699, 0.241003111, 0.889435232,
      -0.0516888537, 0.164196044},
     {-0.996007264, -0.301946729, 0.992434144, -0.999955416, -0.970524371, 0.457061261, 0.998663247,
      0.986427724}},
    {R"({"rope_type": "dynamic", "factor": 2.0})",
     1,
     {1, 0.121655285, 0.0148000084, 0.00180049927, 0.000219040245, 2.66474053e-05, 3.24179746e-06,
      3.943818e-07},
     {0.936752141, 0.96762675, -0.999415159, -0.933523834, 0.643871903, 0.0561024584, -0.994983673,
      0.923234284},
     {-0.349993497, 0.252385616, 0.03419533, -0.358515382, -0.765133262, 0.998425007, -0.100037187,
      0.384237528}},
    {R"({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768})",
     1.1386294361119891,
     {1, 0.177827939, 0.0316227786, 0.00421755994, 0.000500000024, 4.44569851e-05, 7.90569356e-06,
      1.40585337e-06},
     {1.06661355, 0.383859038, 1.0033859, 0.0319672041, -1.00636053, 1.01273715, -0.0588544495,
      0.186958447},
     {-0.3985129, 1.07197452, -0.538232088, 1.13818061, -0.532649457, 0.520423412, 1.13710737,
      1.12317562}},
    {R"({"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096,
         "beta_fast": 16, "beta_slow": 2, "truncate": false, "mscale": 0.707, "mscale_all_dim": 1})",
     0.92104235531633993,
     {1, 0.177827939, 0.0316227786, 0.00173821906, 2.49999994e-05, 4.44569832e-06, 7.90569402e-07,
      1.40585328e-07},
     {0.862788439, 0.310505271, 0.811643243, -0.559173286, 0.912939847, -0.242732063, 0.647898734,
      0.911955476},
     {-0.322358847, 0.867124915, -0.435378313, -0.731877267, -0.121901579, -0.888481975,
      0.654634476, 0.129058942}},
    {R"({"rope_type": "longrope", "original_max_position_embeddings": 4096,
         "short_factor": [1, 1, 1.1, 1.2, 1.3, 1.5, 2, 2.5],
         "long_factor": [1, 1.5, 2, 4, 8, 16, 32, 40]})",
     1.1902380714238083,
     {1, 0.118551962, 0.0158113893, 0.00140585331, 0.000125000006, 1.11142463e-05, 9.88211696e-07,
      1.40585328e-07},
     {1.11495805, 0.811516762, -1.15435374, -0.0112368679, 0.937573433, 0.140916735, 0.654850066,
      1.17849541},
     {-0.416575611, 0.870693564, 0.290058762, -1.19018507, -0.73322767, -1.18186688, 0.993900537,
      0.166779369}},
    {R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 8192})",
     1,
     {1, 0.177827939, 0.0316227786, 0.00562341325, 0.000213607578, 2.22284925e-05, 3.95284678e-06,
      7.02926684e-07},
     {0.936752141, 0.337123752, 0.881222486, 0.999287009, 0.999785244, -0.971965849, -0.688589573,
      0.76295346},
     {-0.349993497, 0.941460371, -0.472701728, -0.0377550125, -0.0207244977, -0.23512207,
      -0.7251513, 0.646453381}}};

// fp32's powers differ by a unit in the last place from one vector unit to another (a unit: 2^-23
// of the number at most). What that does to an angle of a million times the frequency is what the
// cosine may be off by, beside its own rounding.
TEST(RotaryEmbedding, EqualsTransformersAtAMillion) {
  const double unit = std::ldexp(1.0, -23);
  for (const Expected& expected : kExpected) {
    const config::ModelSpec spec = model_of(config::parse_json(expected.rope, "rope"));
    EXPECT_NEAR(spec.rope.attention_factor, expected.scale, 1e-15) << expected.rope;
    const at::Tensor frequencies = inverse_frequencies(spec, kMillion + 1);
    const auto [cos, sin] =
        RotaryEmbedding(spec, at::kCPU).table(at::tensor({kMillion}, at::kLong), {kMillion + 1});
    for (int64_t i = 0; i < 8; ++i) {
      const double frequency = expected.frequencies[i];
      EXPECT_NEAR(frequencies[i].item<double>(), frequency, 1.1 * unit * frequency)
          << expected.rope << " dimension " << i;
      const double tolerance = 1.2 * (kMillion * frequency * unit + 2 * unit);
      EXPECT_NEAR(cos[0][i].item<double>(), expected.cos[i], tolerance) << expected.rope;
      EXPECT_NEAR(sin[0][i].item<double>(), expected.sin[i], tolerance) << expected.rope;
    }
  }
}

TEST(RotaryEmbedding, EachDocumentHasTheFrequenciesOfItsOwnLength) {
  const config::ModelSpec spec = model_of({{"rope_type", "dynamic"}, {"factor", 2.0}});
  const auto [cos, sin] =
      RotaryEmbedding(spec, at::kCPU)
          .table(at::tensor({500, 500, 500}, at::kLong), {kMillion + 1, 501, 200'000});
  for (const auto& [row, length] : {std::pair{0, kMillion + 1}, {1, int64_t{501}}, {2, 200'000}}) {
    EXPECT_TRUE(at::equal(cos[row], (inverse_frequencies(spec, length) * 500).cos())) << length;
  }
  EXPECT_TRUE(at::equal(inverse_frequencies(spec, 501), inverse_frequencies(spec, 131'072)));
  EXPECT_FALSE(at::equal(sin[0], sin[1]));
  EXPECT_FALSE(at::equal(sin[0], sin[2]));
}

TEST(RotaryEmbedding, LongFactorsAreForLongDocuments) {
  const config::ModelSpec spec = model_of(config::parse_json(kExpected[5].rope, "rope"));
  const at::Tensor within = inverse_frequencies(spec, 4096),
                   beyond = inverse_frequencies(spec, 4097);
  EXPECT_NEAR(within[7].item<double>(), 2.24936525e-06, 3e-13);
  EXPECT_NEAR(beyond[7].item<double>(), 1.40585328e-07, 3e-14);
}

TEST(RotaryEmbedding, ARankWithoutRowsHasNoAngles) {
  const config::ModelSpec spec = model_of({{"rope_type", "dynamic"}, {"factor", 2.0}});
  const auto [cos, sin] =
      RotaryEmbedding(spec, at::kCPU).table(at::tensor(at::ArrayRef<int64_t>{}, at::kLong), {});
  EXPECT_EQ(cos.sizes(), (std::vector<int64_t>{0, 8}));
}

}  // namespace
}  // namespace trireme::model
