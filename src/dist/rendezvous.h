// Where ranks find each other: a store of keys and values that all of them reach.
#pragma once

#include <chrono>
#include <memory>

#include "base/error.h"
#include "config/launch.h"

namespace trireme::dist {

struct Store;  // c10d's
using StorePtr = std::shared_ptr<Store>;

// The store of the job at the address of rank 0; keys of earlier starts are not visible. Returns
// when all ranks have connected (or the launcher's agent answers for them). UserError: the port is
// taken, or after `timeout` rank 0 does not answer or ranks are missing.
StorePtr connect(const config::Launch& launch, std::chrono::seconds timeout);

// A store for ranks that are threads of this process.
StorePtr local_store();

}  // namespace trireme::dist
