// What each rank of a group has to say, told to all of them.
#pragma once

#include <string>
#include <vector>

#include "dist/group.h"

namespace trireme::dist {

// In the order of ranks; all of the group call it.
std::vector<std::string> gather_texts(const std::string& mine, const Group& group);

}  // namespace trireme::dist
