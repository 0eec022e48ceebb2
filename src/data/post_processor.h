// The post-processor of tokenizer.json: what is put before and behind a text.
#pragma once

#include "data/tokenizer_file.h"

namespace trireme::data {

// Sets file.before and file.behind from file.post_processor. UserError for one that is not
// supported, by name.
void set_special_tokens(TokenizerFile& file);

}  // namespace trireme::data
