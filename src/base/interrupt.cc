#include "base/interrupt.h"

#include <csignal>

namespace trireme {
namespace {

volatile std::sig_atomic_t received = 0;

void handle(int signal) {
  received = signal;
  std::signal(signal, SIG_DFL);
}

}  // namespace

void catch_interrupts() {
  std::signal(SIGINT, handle);
  std::signal(SIGTERM, handle);
}

int interrupted() { return received; }

}  // namespace trireme
