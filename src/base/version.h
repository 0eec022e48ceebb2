// Which trireme this is. The definitions are version.cc.in's, filled in by cmake/Version.cmake.
#pragma once

namespace trireme {

// "0.1.0"
const char* version();

// The commit that was checked out when it was built, in 12 digits; "unknown" where neither git nor
// an archive of the repository said it. Changes that were not committed do not show.
const char* commit();

// What it was built with: the CUDA architectures of its kernels ("90a") and torch's version
// ("2.11"), or "no".
const char* cuda_architectures();
const char* torch_version();

}  // namespace trireme
