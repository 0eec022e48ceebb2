// Replacing a folder in one step, so that a crash leaves either the old folder or the new one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "io/summed_files.h"

namespace trireme::io {

// Publishes a folder in one step: the body fills a temporary one beside it (with the files that it
// is given, which it syncs), which gets a manifest of its files and then takes the place of
// `folder`. What was there before is removed only after that, whole: what the body does not write
// is not in the new folder. Where the file system can exchange two names, a complete folder is
// there at every instant; elsewhere (NFS) the old one first gets a temporary name, and after a
// crash just then the next publish or sweep puts it back.
//
// `manifest` says who writes; its files are filled in. `bytes`, if not 0, is about what the body
// will write: UserError before the body runs when less is free. UserError as well, and nothing
// touched, where the folder holds anything that trireme did not publish. UserError before the
// exchange: the old folder is as it was and no half-written one remains. The one error after it, a
// failed sync of the parent, leaves the new folder in place and the old content beside it until the
// next publish.
void publish_folder(FileSystem& files, const std::string& folder, const Manifest& manifest,
                    const std::function<void(SummedFiles&, const std::string& temporary)>& body,
                    uint64_t bytes = 0);

// UserError: less than `bytes` are free where `path` is or will be.
void check_space(FileSystem& files, const std::string& path, uint64_t bytes);

}  // namespace trireme::io
