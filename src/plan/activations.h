// What is kept for backward and how large tiles are: the plan that loses least time to recomputing
// within the bytes at hand. Pure arithmetic on the model's sizes.
//
// A kept intermediate saves the product that would repeat it; a larger tile saves launches, half
// empty waves and, where weights are trained, passes over their gradients. For each pair of tile
// sizes the workspace is what it is, and the room that is left takes intermediates in the order of
// seconds saved per byte. Where that is not enough, layers go to the host from the first on: theirs
// is the longest time to go and to come back. The cheapest of all plans that fit wins, so that more
// memory, on the device or on the host, never makes a slower plan.
//
// Keeping an intermediate and recomputing it give the same bits: the same kernels run on the same
// tiles. The head and the loss run in tiles of rows, only over tokens that are trained: no [S,V]
// tensor exists.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/number_format.h"
#include "config/choices.h"
#include "layout/model.h"
#include "plan/execution.h"
#include "plan/hardware.h"

namespace trireme::plan {

struct ActivationRequest {
  const layout::Model* model = nullptr;
  Hardware hardware = {};
  NumberFormat format = NumberFormat::kFloat32;  // of weights and activations
  bool training = true;
  int64_t ring = 1, ulysses = 1;  // ranks that share each micro-batch: their product
  int64_t tokens = 0;             // this rank's of the longest micro-batch
  int64_t longest = 0;            // tokens of its longest document
  int64_t documents = 1;          // the most that a micro-batch has
  config::Keeping keep = config::Keeping::kAuto;
  Tiles tiles;  // 0: chosen
  config::ActivationOffload offload = config::ActivationOffload::kAuto;
  int64_t host_room = 0;           // bytes
  int64_t number_checkpoints = 0;  // layer inputs that are kept; 0: of every layer

  int64_t shared() const { return ring * ulysses; }
};

struct ActivationPlan {
  std::vector<Keep> keep;                // per layer
  std::vector<SavedResidence> saved_at;  // per layer
  std::vector<int64_t> segments;         // as ExecutionPlan has them
  Tiles tiles;
  int64_t saved = 0;      // bytes of the least saved set on the device
  int64_t kept = 0;       // bytes of kept intermediates on the device
  int64_t keepable = 0;   // bytes of all of them
  int64_t workspace = 0;  // bytes that live for a moment, at the widest point of a step
  int64_t staging = 0;    // of them of layers on their way to the host or back
  int64_t host = 0;       // bytes of the arena on the host
  double seconds = 0;     // lost to recomputing, tiling and copies, on the reference machine

  // Bytes on the device.
  int64_t total() const { return saved + kept + workspace; }
};

// One part in so many of what activations may take stays free beside `room`: for rounding, and on
// CUDA for fragments (at 128K tokens the allocator took 2.5 % more from the driver than was in
// use).
inline constexpr int64_t kSpare = 25;

// The best plan of at most `room` bytes on the device and the request's host_room on the host; none
// if even the least needs more.
std::optional<ActivationPlan> plan_activations(const ActivationRequest& request, int64_t room);

// The plan of least memory on the device within the host's room, whatever it is.
ActivationPlan least_activations(const ActivationRequest& request);

}  // namespace trireme::plan
