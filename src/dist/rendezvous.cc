#include "dist/rendezvous.h"

#include <c10/util/Logging.h>

#include <exception>
#include <future>
#include <mutex>
#include <stdexcept>
#include <thread>

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
// Ranks may be threads, and the level is one for the process.
void only_log_fatal_errors() {
  static std::once_flag once;
  std::call_once(once, [] { FLAGS_caffe2_log_level = 3; });
}

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

// The constructor has a timeout for connecting, but reads what the server says first without one: a
// listener that says nothing would hold it for ever. It runs on a thread that is then left behind.
c10::intrusive_ptr<c10d::TCPStore> connect_within(std::chrono::seconds patience,
                                                  const std::string& address,
                                                  const c10d::TCPStoreOptions& options) {
  const auto promise = std::make_shared<std::promise<c10::intrusive_ptr<c10d::TCPStore>>>();
  auto future = promise->get_future();
  std::thread([promise, address, options] {
    try {
      promise->set_value(c10::make_intrusive<c10d::TCPStore>(address, options));
    } catch (...) {
      promise->set_exception(std::current_exception());
    }
  }).detach();
  if (future.wait_for(patience) == std::future_status::ready) return future.get();
  throw std::runtime_error("something listens there that does not answer");
}

}  // namespace

StorePtr connect(const config::Launch& launch, std::chrono::seconds timeout) {
  constexpr std::chrono::seconds kMore{2};  // so that the constructor's own message wins
  if (launch.ranks == 1) return local_store();
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(launch.port);
  options.isServer = launch.rank == 0 && !launch.agent_store;
  options.numWorkers = static_cast<size_t>(launch.ranks);
  options.waitWorkers = !launch.agent_store;
  options.timeout = timeout;
  only_log_fatal_errors();
  try {
    auto store = connect_within(timeout + kMore, launch.address, options);
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
