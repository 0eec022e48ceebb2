// Signals as a flag: the loop that reads it saves and ends. They are Ctrl-C (SIGINT), and what
// launchers and schedulers send: SIGTERM, SIGHUP, SIGUSR1, SIGUSR2. One that was ignored when the
// program started (nohup, a background job of a script) stays ignored.
//
// Terminals and launchers send several: what comes after the first changes nothing, so that a
// scheduler's last warning does not end the saving that its first one began. But a Ctrl-C two
// seconds or more after the first signal ends the program at once, without saving, with status
// kNotSaved.
#pragma once

namespace trireme {

// Installs the handlers; call once from the verb that reads the flag.
void catch_interrupts();

// 0, or the first signal that arrived.
int interrupted();

}  // namespace trireme
