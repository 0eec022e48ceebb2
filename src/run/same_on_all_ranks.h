// Checks that all ranks of a run have the same options.
#pragma once

#include "config/schema.h"
#include "dist/group.h"

namespace trireme::run {

// Every rank of the group calls it. If an option differs that must match (config::MustMatch), all
// ranks throw the same UserError: it names the option, its values or files, and the ranks.
void check_same_on_all_ranks(const config::RunConfig& run, config::Verb verb,
                             const dist::Group& group);

}  // namespace trireme::run
