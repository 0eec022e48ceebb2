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

// While it lives, c10d says nothing of attempts that fail, each with a backtrace; the last is told
// by explain().
class Quiet {
 public:
  Quiet() { FLAGS_caffe2_log_level = 3; }  // only what is fatal
  ~Quiet() { FLAGS_caffe2_log_level = before_; }

 private:
  int before_ = FLAGS_caffe2_log_level;
};

[[noreturn]] void explain(const Launch& launch, const std::string& cause,
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
      "rank {}: rank 0 does not answer at {} within {} s: check MASTER_ADDR, MASTER_PORT and that "
      "it runs: {}",
      launch.rank, place, timeout.count(), cause);
}

}  // namespace

StorePtr connect(const Launch& launch, std::chrono::seconds timeout) {
  if (launch.ranks == 1) return local_store();
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(launch.port);
  options.isServer = launch.rank == 0 && !launch.agent_store;
  options.numWorkers = static_cast<size_t>(launch.ranks);
  options.waitWorkers = !launch.agent_store;
  options.timeout = timeout;
  const Quiet quiet;
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
