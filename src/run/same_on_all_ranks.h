// Checks that all ranks of a run have the same options, the same program, and the same in the files
// that each of them reads by itself.
#pragma once

#include <string>

#include "config/schema.h"
#include "dist/group.h"

namespace trireme::run {

// Every rank of the group calls it. If an option differs that must match (config::MustMatch), all
// ranks throw the same UserError: it names the option, its values or the file, and the ranks. Files
// are compared by hash; of weights some MB are read: headers, and pages of each shard.
void check_same_on_all_ranks(const config::RunConfig& run, config::Verb verb,
                             const dist::Group& group);

// What tells a file from others, as it is compared there: "a file of 12 bytes with hash ...".
std::string content_mark(const std::string& path);

}  // namespace trireme::run
