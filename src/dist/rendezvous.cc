#include "dist/rendezvous.h"

#include <c10/util/Logging.h>

#include "base/error.h"
#include "dist/c10d.h"

C10_DECLARE_int(caffe2_log_level);

namespace trireme::dist {
namespace {

bool port_taken(const std::string& cause) {
  return cause.find("EADDRINUSE") != std::string::npos ||
         cause.find("address already in use") != std::string::npos;
}

// c10d logs each failed attempt with a backtrace, before it throws the exception that we report.
void only_log_fatal_errors() { FLAGS_caffe2_log_level = 3; }

[[noreturn]] void explain(const config::Launch& launch, const std::string& cause,
                          std::chrono::seconds timeout) {
  const std::string place = fmt::format("{}:{}", launch.address, launch.port);
  if (port_taken(cause)) {
    fail("{}: the port is taken on this machine: use another MASTER_PORT (torchrun --master_port)",
         place);
  }
  if (launch.rank == 0) {
    fail("{}: the {} ranks of this job did not all come within {} s: {}", place, launch.ranks,
         timeout.count(), cause);
  }
  fail(
      "rank 0 does not answer at {} within {} s: check MASTER_ADDR, MASTER_PORT and that it runs: "
      "{}",
      place, timeout.count(), cause);
}

}  // namespace

StorePtr connect(const config::Launch& launch, std::chrono::seconds timeout) {
  if (launch.ranks == 1) return local_store();
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(launch.port);
  options.isServer = launch.rank == 0 && !launch.agent_store;
  options.numWorkers = static_cast<size_t>(launch.ranks);
  options.waitWorkers = !launch.agent_store;
  options.timeout = timeout;
  only_log_fatal_errors();
  try {
    auto store = c10::make_intrusive<c10d::TCPStore>(launch.address, options);
    return std::make_shared<Store>(
        Store{c10::make_intrusive<c10d::PrefixStore>("trireme/" + launch.attempt, store)});
  } catch (const std::exception& error) {
    explain(launch, cause(error), timeout);
  }
}

StorePtr local_store() {
  return std::make_shared<Store>(Store{c10::make_intrusive<c10d::HashStore>()});
}

}  // namespace trireme::dist
