// The verbs that need no tensor library. One function a verb, one file a function; arguments are
// those after the verb. A function returns the exit status, and throws UserError for the user's
// mistakes (main prints the line and exits with status 2).
#pragma once

#include "cli/arguments.h"

namespace trireme::cli {

int run_data(Arguments arguments);
int run_tokenize(Arguments arguments);
int run_inspect(Arguments arguments);

}  // namespace trireme::cli
