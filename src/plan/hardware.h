// What a plan knows of the hardware: numbers that were measured or looked up elsewhere. Nothing in
// this folder queries a device or loads a library.
#pragma once

namespace trireme::plan {

// Flops per second and bytes per second.
struct Rates {
  double products = 0;  // dense matrix products
  double grouped = 0;   // products of experts
  double attention_forward = 0;
  double attention_backward = 0;
  double bytes = 0;  // of the device's memory
  double link = 0;   // between device and host memory, each way while the other is busy too
  // Seconds of AdamW on the host for one parameter with fp32 state.
  double host_adamw = 0;
};

// An H100's measured rates, in bf16; host_adamw is of 16 cores, where memory is the bound. The
// search for the best plan needs only their ratios.
inline constexpr Rates kReferenceRates = {.products = 750e12,
                                          .grouped = 750e12,
                                          .attention_forward = 600e12,
                                          .attention_backward = 520e12,
                                          .bytes = 4e12,
                                          .link = 50e9,
                                          .host_adamw = 0.22e-9};

struct Hardware {
  bool cuda = false;
  bool flash_attention_3 = false;  // attention's kernel on CUDA; otherwise cuDNN
  Rates rates = kReferenceRates;
};

}  // namespace trireme::plan
