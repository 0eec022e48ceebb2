// Where a verb may write.
#pragma once

#include <string>

#include "config/schema.h"

namespace trireme::cli {

// UserError that names both: the path that option `flag` of the verb writes to is, lies in or holds
// something that the verb reads; or it is or holds the home folder, the root or the folder above
// the current one. Links are followed.
void check_output(const config::RunConfig& run, config::Verb verb, const std::string& flag,
                  const std::string& path);

}  // namespace trireme::cli
