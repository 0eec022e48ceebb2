#include "base/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <ctime>

#include "base/exit_status.h"

namespace trireme {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
constexpr int64_t kSameNanoseconds = 2'000'000'000;

// The handler may interrupt any code: it uses lock-free atomics and async-signal-safe calls only.
std::atomic<int> received = 0;
std::atomic<int64_t> received_at = 0;
static_assert(std::atomic<int64_t>::is_always_lock_free);

int64_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

void handle(int signal) {
  if (received == 0) {
    received_at = now();
    received = signal;
  } else if (signal == SIGINT && now() - received_at > kSameNanoseconds) {
    static constexpr char kLine[] = "\ntrireme: interrupted again: ended without saving\n";
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kLine, sizeof kLine - 1);
    _exit(kNotSaved);
  }
}

}  // namespace

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  for (const int signal : kSignals) sigaddset(&action.sa_mask, signal);
  for (const int signal : kSignals) {
    struct sigaction before {};
    sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN) sigaction(signal, &action, nullptr);
  }
}

int interrupted() { return received; }

}  // namespace trireme
