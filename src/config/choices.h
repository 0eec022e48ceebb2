// Options whose value is one of a few words, as enums: parsed once, by the schema. Each has its
// words, in the order of its values; --help, the run config and run.json use them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "base/number_format.h"

namespace trireme::config {

// The words of an enum's values; specialised for each enum below.
template <typename Choice>
inline constexpr std::array<std::string_view, 0> kWords{};

enum class PromptStyle { kSimple, kDetailed };
template <>
inline constexpr std::array<std::string_view, 2> kWords<PromptStyle>{"simple", "detailed"};

enum class ShowRatings { kAuto, kOn, kOff };
template <>
inline constexpr std::array<std::string_view, 3> kWords<ShowRatings>{"auto", "on", "off"};

enum class SampleStrategy { kLast, kRandom };
template <>
inline constexpr std::array<std::string_view, 2> kWords<SampleStrategy>{"last", "random"};

enum class SplitBy { kTime, kUser };
template <>
inline constexpr std::array<std::string_view, 2> kWords<SplitBy>{"time", "user"};

enum class LrScheduler { kCosine, kLinear, kConstant };
template <>
inline constexpr std::array<std::string_view, 3> kWords<LrScheduler>{"cosine", "linear",
                                                                     "constant"};

// How the learning rate goes up to its peak.
enum class Warmup { kLinear, kLog };
template <>
inline constexpr std::array<std::string_view, 2> kWords<Warmup>{"linear", "log"};

// How adapters of experts are written (model/adapter_io.h).
enum class ExpertAdapters { kAuto, kModules, kParameters };
template <>
inline constexpr std::array<std::string_view, 3> kWords<ExpertAdapters>{"auto", "modules",
                                                                        "parameters"};

// PEFT's `bias`: which biases of the base are trained beside adapters.
enum class LoraBias { kNone, kAll, kLoraOnly };
template <>
inline constexpr std::array<std::string_view, 3> kWords<LoraBias>{"none", "all", "lora_only"};

enum class DeviceChoice { kAuto, kCpu, kCuda };
template <>
inline constexpr std::array<std::string_view, 3> kWords<DeviceChoice>{"auto", "cpu", "cuda"};

enum class DtypeChoice { kAuto, kFloat32, kBFloat16 };
template <>
inline constexpr std::array<std::string_view, 3> kWords<DtypeChoice>{"auto", "float32", "bfloat16"};

template <>
inline constexpr std::array<std::string_view, 3> kWords<MomentFormat>{"float32", "bfloat16",
                                                                      "8bit"};

// Intermediates kept for backward beyond the least: those that fit, all, none.
enum class Keeping { kAuto, kAll, kNone };
template <>
inline constexpr std::array<std::string_view, 3> kWords<Keeping>{"auto", "all", "none"};

// Saved activations in host memory: those that do not fit on the device, all, none.
enum class ActivationOffload { kAuto, kAll, kNone };
template <>
inline constexpr std::array<std::string_view, 3> kWords<ActivationOffload>{"auto", "all", "none"};

// Where master weights and moments are, and where they are updated: both on the device; both on the
// host; kept on the host and updated on the device piece by piece.
enum class OptimizerOffload { kNone, kCpu, kStream };
template <>
inline constexpr std::array<std::string_view, 3> kWords<OptimizerOffload>{"none", "cpu", "stream"};

enum class ParamOffload { kNone, kCpu };
template <>
inline constexpr std::array<std::string_view, 2> kWords<ParamOffload>{"none", "cpu"};

// The norm that clips gradients in backward: the global one of the step before, or each layer's.
enum class ClipInBackward { kPrevious, kLayer };
template <>
inline constexpr std::array<std::string_view, 2> kWords<ClipInBackward>{"previous", "layer"};

enum class SequenceParallelType { kUlysses, kRing, kHybrid };
template <>
inline constexpr std::array<std::string_view, 3> kWords<SequenceParallelType>{"ulysses", "ring",
                                                                              "hybrid"};

// How a ring divides a sequence. Under causal attention a row costs as many keys as its document
// has up to it: its area. kContiguous: as many runs as ranks, of which the last costs most.
// kZigzag: twice as many, of which rank r has the r-th and the r-th from the end, so that one
// document costs all ranks the same. kBalanced: zigzag where that is even; otherwise the sequence
// is cut finer, and chunks are dealt by their area.
enum class RingOrder { kBalanced, kZigzag, kContiguous };
template <>
inline constexpr std::array<std::string_view, 3> kWords<RingOrder>{"balanced", "zigzag",
                                                                   "contiguous"};

template <typename Choice>
constexpr std::string_view word(Choice choice) {
  return kWords<Choice>[static_cast<size_t>(choice)];
}

// nullopt: none of the words.
template <typename Choice>
constexpr std::optional<Choice> choice_of(std::string_view text) {
  const auto& words = kWords<Choice>;
  const auto found = std::ranges::find(words, text);
  if (found == words.end()) return std::nullopt;
  return static_cast<Choice>(found - words.begin());
}

}  // namespace trireme::config
