// The verbs that run a model, as those of cli/verbs.h.
#pragma once

#include "cli/arguments.h"

namespace trireme::run {

int run_train(cli::Arguments arguments);
int run_generate(cli::Arguments arguments);
int run_bench(cli::Arguments arguments);
int run_dump(cli::Arguments arguments);
int run_export(cli::Arguments arguments);

}  // namespace trireme::run
