// Whether the ranks of a run were told the same.
#pragma once

#include "config/schema.h"
#include "dist/group.h"

namespace trireme::run {

// Every rank of the group calls it. UserError, the same on all of them, that names an option, its
// values or the files behind it, and the ranks: where they differ in what a run must have alike
// (config::MustMatch).
void check_same_on_all_ranks(const config::RunConfig& run, config::Verb verb,
                             const dist::Group& group);

}  // namespace trireme::run
