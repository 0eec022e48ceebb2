// Where weights and gradients are. The executor leases a block's weights and hands over its gradients; it does not know
// whether they are resident, sharded or offloaded.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/layout.h"

namespace trireme::engine {

// A block's weights on the compute device for as long as the lease lives.
class Lease {
 public:
  explicit Lease(at::Tensor flat) : flat_(std::move(flat)) {}
  const at::Tensor& flat() const { return flat_; }

 private:
  at::Tensor flat_;
};

class ParamStore {
 public:
  virtual ~ParamStore() = default;
  virtual Lease lease(int64_t block) = 0;
};

class GradStore {
 public:
  virtual ~GradStore() = default;
  // The block's fp32 accumulator, flat; backward adds to it.
  virtual at::Tensor accumulator(int64_t block) = 0;
  virtual void zero() = 0;
};

// Everything on one device, allocated once.
class ResidentParams : public ParamStore {
 public:
  ResidentParams(const model::ModelLayout& layout, at::ScalarType dtype, const at::Device& device);
  Lease lease(int64_t block) override { return Lease(blocks_[block]); }
  std::vector<at::Tensor>& blocks() { return blocks_; }

 private:
  std::vector<at::Tensor> blocks_;
};

class ResidentGrads : public GradStore {
 public:
  ResidentGrads(const model::ModelLayout& layout, const at::Device& device);
  at::Tensor accumulator(int64_t block) override { return blocks_[block]; }
  void zero() override;
  std::vector<at::Tensor>& blocks() { return blocks_; }

 private:
  std::vector<at::Tensor> blocks_;
};

}  // namespace trireme::engine
