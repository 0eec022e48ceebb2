// Replacing a folder in one step, so that a crash leaves either the old folder or the new one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "io/file.h"

namespace trireme::io {

// Publishes a folder in one step: the body fills `folder + ".tmp"` (with WritableFiles, which it
// syncs), which then takes the place of `folder`. What was there before is removed only after that,
// whole: what the body does not write is not in the new folder. Where the file system can exchange
// two names, a complete folder is there at every instant; elsewhere (NFS) the old one is first
// moved to `folder + ".old"`, and a crash just then needs recover_folder.
//
// `bytes`, if not 0, is about what the body will write: UserError before the body runs when less is
// free. UserError before the exchange: the old folder is as it was and no half-written one remains.
// The one error after it, a failed sync of the parent, leaves the new folder in place and the old
// content beside it until the next publish.
void publish_folder(FileSystem& files, const std::string& folder,
                    const std::function<void(const std::string& temporary)>& body,
                    uint64_t bytes = 0);

// Puts the old folder back after a crash between the two renames of publish_folder; nothing to do
// otherwise. Call before a folder is read that an earlier run may have been publishing;
// publish_folder calls it itself.
void recover_folder(FileSystem& files, const std::string& folder);

}  // namespace trireme::io
