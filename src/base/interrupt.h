// Ctrl-C and SIGTERM as a flag: the loop that reads it finishes what it is doing and saves. A
// second signal ends the program at once.
#pragma once

namespace trireme {

// Installs the handlers; call once from the verb that reads the flag.
void catch_interrupts();

// 0, or the signal that arrived.
int interrupted();

}  // namespace trireme
