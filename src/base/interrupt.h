// Signals as a flag: the loop that reads it saves and ends. They are Ctrl-C (SIGINT), and what
// launchers and schedulers send: SIGTERM, SIGHUP, SIGUSR1, SIGUSR2. One that was ignored when the
// program started (nohup, a background job of a script) stays ignored.
//
// Terminals and launchers send several at once: what comes within two seconds of the first counts
// as the same. A later one ends the program at once, without saving, with status kNotSaved.
#pragma once

namespace trireme {

// Installs the handlers; call once from the verb that reads the flag.
void catch_interrupts();

// 0, or the first signal that arrived.
int interrupted();

}  // namespace trireme
