#include "config/rope_spec.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "config/model_spec_table.h"

namespace trireme::config {
namespace {

constexpr auto kOriginal = "original_max_position_embeddings";

// In the order of RopeType.
constexpr std::array<std::string_view, 6> kTypes = {"default", "linear",   "dynamic",
                                                    "yarn",    "longrope", "llama3"};

RopeType read_type(const Keys& rope) {
  const std::string name = rope.text_or("rope_type", rope.text_or("type", "default"));
  const auto found = std::ranges::find(kTypes, name);
  if (found != kTypes.end()) return static_cast<RopeType>(found - kTypes.begin());
  fail(
      "{}: {}rope_type {} is not supported: trireme knows default, linear, dynamic, yarn, longrope "
      "and llama3",
      rope.name(), rope.prefix(), name);
}

bool knows_original(RopeType type) {
  return type == RopeType::kYarn || type == RopeType::kLongrope || type == RopeType::kLlama3;
}

// fp32 must hold each number and its inverse.
void refuse_extremes(const Keys& rope, const RopeSpec& spec) {
  const auto check = [&](double number) {
    if (number >= 1e-30 && number <= 1e30) return;
    fail("{}: a number of the rope is {}: 1e-30 to 1e30 is expected", rope.name(), number);
  };
  for (const double number : {spec.theta, spec.factor, spec.attention_factor, spec.low_freq_factor,
                              spec.high_freq_factor, spec.beta_fast, spec.beta_slow}) {
    check(number);
  }
  std::ranges::for_each(spec.short_factor, check);
  std::ranges::for_each(spec.long_factor, check);
}

// What a config.json says beside the object.
struct Around {
  double theta;
  int64_t original;  // above what the object says; 0: not there
  RopeModel model;
};

Around around(const Keys& keys, const RopeModel& model) {
  return {keys.positive_or("rope_theta", 10000), keys.size_or(kOriginal, 0), model};
}

// get_mscale() of transformers' yarn.
double magnitude(double scale, double weight) {
  return scale <= 1 ? 1 : 0.1 * weight * std::log(scale) + 1;
}

// Where it is null, the ratio of the lengths is meant.
double ratio_or(const Keys& rope, const RopeSpec& spec, const RopeModel& model) {
  return rope.positive_or("factor", static_cast<double>(model.max_position) /
                                        static_cast<double>(spec.original_positions));
}

void read_yarn(const Keys& rope, const RopeModel& model, RopeSpec& spec) {
  if (!rope.has("factor")) rope.positive("factor");
  if (spec.theta == 1) fail("{}: {}rope_theta 1 has no yarn", rope.name(), rope.prefix());
  spec.factor = ratio_or(rope, spec, model);
  // Zeros count as left out.
  const double scale = rope.number_or("mscale", 0), all = rope.number_or("mscale_all_dim", 0);
  const double inferred = scale != 0 && all != 0
                              ? magnitude(spec.factor, scale) / magnitude(spec.factor, all)
                              : magnitude(spec.factor, 1);
  if (!std::isfinite(inferred) || inferred <= 0) {
    fail("{}: {}mscale {} and mscale_all_dim {} scale attention by {}", rope.name(), rope.prefix(),
         scale, all, inferred);
  }
  spec.attention_factor = rope.positive_or("attention_factor", inferred);
  const auto or_default = [&](const char* key, double value) {
    return rope.number_or(key, 0) == 0 ? value : rope.positive_or(key, value);
  };
  spec.beta_fast = or_default("beta_fast", 32);
  spec.beta_slow = or_default("beta_slow", 1);
  // Null is no truth value of Python's that says yes.
  spec.truncate = rope.has("truncate") ? rope.flag_or("truncate", false) : true;
}

std::vector<double> factors(const Keys& rope, const char* key, int64_t count) {
  std::vector<double> list = rope.positives(key);
  if (std::ssize(list) == count) return list;
  fail("{}: {}{} has {} numbers: {} are expected, one for each pair of a head's {} dimensions",
       rope.name(), rope.prefix(), key, list.size(), count, 2 * count);
}

void read_longrope(const Keys& rope, const RopeModel& model, RopeSpec& spec) {
  spec.short_factor = factors(rope, "short_factor", model.head_dim / 2);
  spec.long_factor = factors(rope, "long_factor", model.head_dim / 2);
  const double factor = ratio_or(rope, spec, model);
  double inferred = 1;
  if (factor > 1) {
    if (spec.original_positions < 2) {
      fail("{}: {}{} is 1: longrope needs more", rope.name(), rope.prefix(), kOriginal);
    }
    const auto original = static_cast<double>(spec.original_positions);
    inferred = std::sqrt(1 + std::log(factor) / std::log(original));
  }
  spec.attention_factor = rope.positive_or("attention_factor", inferred);
}

void read_llama3(const Keys& rope, RopeSpec& spec) {
  spec.factor = rope.positive("factor");
  spec.low_freq_factor = rope.positive("low_freq_factor");
  spec.high_freq_factor = rope.positive("high_freq_factor");
  if (spec.high_freq_factor > spec.low_freq_factor) return;
  fail("{}: high_freq_factor {} must exceed low_freq_factor {}", rope.name(), spec.high_freq_factor,
       spec.low_freq_factor);
}

// `rope`: the keys of rope_scaling or rope_parameters.
RopeSpec read_parameters(const Keys& rope, const Around& around) {
  RopeSpec spec;
  spec.theta = rope.positive_or("rope_theta", around.theta);
  spec.type = read_type(rope);
  rope.refuse_objects();
  spec.original_positions = around.model.max_position;
  if (knows_original(spec.type)) {
    const int64_t own = rope.size_or(kOriginal, around.model.max_position);
    spec.original_positions = around.original > 0 ? around.original : own;
  }
  switch (spec.type) {
    case RopeType::kDefault:
      break;
    case RopeType::kDynamic:
      if (around.model.head_dim == 2) fail("{}: head_dim 2 has no dynamic rope", rope.name());
      [[fallthrough]];
    case RopeType::kLinear:
      spec.factor = rope.positive("factor");
      break;
    case RopeType::kYarn:
      read_yarn(rope, around.model, spec);
      break;
    case RopeType::kLongrope:
      read_longrope(rope, around.model, spec);
      break;
    case RopeType::kLlama3:
      read_llama3(rope, spec);
      break;
  }
  refuse_extremes(rope, spec);
  return spec;
}

}  // namespace

std::string_view rope_type_name(RopeType type) { return kTypes[static_cast<size_t>(type)]; }

// Where there are both, rope_scaling wins, and an inner rope_theta wins over an outer one.
Keys rope_keys(const Keys& config) {
  const bool old = config.find("rope_scaling") != nullptr && !config.find("rope_scaling")->empty();
  return config.object(old ? "rope_scaling" : "rope_parameters");
}

RopeSpec read_rope(const Keys& keys, const RopeModel& model) {
  return read_parameters(rope_keys(keys), around(keys, model));
}

Json with_rope_scaling(const Json& config, const std::string& rope_scaling,
                       const RopeModel& model) {
  const std::string name = "--rope_scaling";
  require_written_by_hand(rope_scaling, name);
  Json object = parse_json(rope_scaling, name);
  if (!object.is_object()) {
    fail("{}: {} where an object is expected, as in config.json", name, json_text(object));
  }
  const Keys keys(config, "config.json");
  Around outside = around(keys, model);
  outside.theta = rope_keys(keys).positive_or("rope_theta", outside.theta);
  const Keys rope(object, name);
  if (rope.find(kOriginal) != nullptr) outside.original = 0;
  const RopeSpec spec = read_parameters(rope, outside);
  judge_rope_keys(rope, spec.type);

  object.erase("type");
  object["rope_type"] = rope_type_name(spec.type);
  if (knows_original(spec.type)) object[kOriginal] = spec.original_positions;
  object.erase("rope_theta");
  Json result = config;
  result.erase(kOriginal);
  if (keys.find("rope_parameters") != nullptr) {
    object["rope_theta"] = spec.theta;
    result["rope_parameters"] = object;
    result.erase("rope_scaling");
  } else {
    result["rope_theta"] = spec.theta;
    result["rope_scaling"] = object;
  }
  return result;
}

int64_t covered_positions(const RopeSpec& rope, int64_t max_position) {
  const bool stretches = rope.type == RopeType::kLinear || rope.type == RopeType::kDynamic ||
                         rope.type == RopeType::kYarn;
  if (!stretches) return max_position;
  const double stretched = rope.factor * static_cast<double>(rope.original_positions);
  return std::max(max_position, static_cast<int64_t>(std::min(stretched, 0x1p62)));
}

std::string length_warning(const RopeSpec& rope, int64_t max_position, int64_t length,
                           std::string_view what) {
  const int64_t covered = covered_positions(rope, max_position);
  if (length <= covered) return "";
  const double least = static_cast<double>(length) / static_cast<double>(rope.original_positions);
  return fmt::format(
      "{} has {} tokens, the model's rope covers {} positions: what lies beyond is "
      "new to it; YaRN covers it: "
      R"(--rope_scaling '{{"rope_type": "yarn", "factor": {:g}, "{}": {}}}')",
      what, length, covered, std::ceil(least * 10) / 10, kOriginal, rope.original_positions);
}

}  // namespace trireme::config
