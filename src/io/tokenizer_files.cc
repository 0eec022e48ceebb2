#include "io/tokenizer_files.h"

#include <filesystem>

#include "io/posix.h"

namespace trireme::io {

namespace fs = std::filesystem;

std::span<const std::string_view> tokenizer_files() {
  static constexpr std::string_view kNames[] = {"tokenizer.json",
                                                "tokenizer_config.json",
                                                "tokenizer.model",
                                                "tekken.json",
                                                "tiktoken.model",
                                                "special_tokens_map.json",
                                                "vocab.json",
                                                "merges.txt",
                                                "added_tokens.json",
                                                "chat_template.jinja",
                                                "generation_config.json"};
  return kNames;
}

void copy_tokenizer_files(FileSystem& files, const std::string& from, const std::string& over,
                          const std::string& to) {
  for (const std::string_view file : tokenizer_files()) {
    const std::string name(file);
    const bool of_model = over.empty() || name == "generation_config.json";
    const std::string source = (fs::path(of_model ? from : over) / name).string();
    if (kind_of(source) != Kind::kFile) continue;
    write_text(files, (fs::path(to) / name).string(), read_text(source));
  }
}

}  // namespace trireme::io
