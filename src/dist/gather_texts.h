// Gathers one text from each rank of a group, on all of them.
#pragma once

#include <string>
#include <vector>

#include "dist/group.h"

namespace trireme::dist {

// The texts in the order of ranks. All ranks of the group call it.
std::vector<std::string> gather_texts(const std::string& mine, const Group& group);

}  // namespace trireme::dist
