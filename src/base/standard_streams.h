// What the program makes sure of before anything else runs.
#pragma once

namespace trireme {

// Writing to a reader that is gone, or past the limit of a file's size, is an error that write(2)
// returns, not a signal that ends the process without a line (SIGPIPE, SIGXFSZ). Where stdin,
// stdout or stderr is closed, its number is taken by /dev/null, opened so that writing fails:
// otherwise the next file to be opened, a checkpoint perhaps, would get the number and the log
// lines.
void keep_standard_streams();

}  // namespace trireme
