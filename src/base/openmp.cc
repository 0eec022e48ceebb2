#include "base/openmp.h"

#include "base/env.h"

namespace trireme {

void shorten_openmp_spins(int /*argc*/, char** argv, char** envp) {
  if (env("OMP_WAIT_POLICY", envp) || env("GOMP_SPINCOUNT", envp)) return;
  if (env("OMP_NUM_THREADS", envp) == "1") return;
  start_again_with("GOMP_SPINCOUNT=3000", argv, envp);
}

}  // namespace trireme
