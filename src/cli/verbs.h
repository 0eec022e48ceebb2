// One function a verb, one file a function. Arguments are those after the verb. Returns the exit
// status; throws UserError for the user's mistakes (main prints the line and exits 2).
#pragma once

#include <span>
#include <string>

namespace trireme::cli {

using Arguments = std::span<const std::string>;

int run_train(Arguments arguments);
int run_data(Arguments arguments);
int run_tokenize(Arguments arguments);
int run_generate(Arguments arguments);
int run_bench(Arguments arguments);
int run_dump(Arguments arguments);
int run_export(Arguments arguments);

}  // namespace trireme::cli
