// Writes the generated parts of the pages in docs/:
//
//   make_docs FOLDER            writes them
//   make_docs --check FOLDER    writes nothing; exit status 1 where a page is not what it would be
//
// What a person wrote stands outside the two marker lines of each page and stays as it is.
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/reference.h"
#include "config/json.h"

namespace {

struct Page {
  const char* name;
  std::string (*generated)();
};

constexpr Page kPages[] = {{"options.md", trireme::cli::options_reference},
                           {"names.md", trireme::cli::names_reference},
                           {"deepspeed.md", trireme::cli::deepspeed_reference},
                           {"models.md", trireme::cli::models_reference}};

void write(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  if (!(file << text << std::flush)) trireme::fail("{}: cannot be written", path);
}

int run(const std::vector<std::string>& arguments) {
  const bool check = !arguments.empty() && arguments[0] == "--check";
  if (arguments.size() != (check ? 2 : 1)) trireme::fail("usage: make_docs [--check] FOLDER");
  int status = 0;
  for (const Page& page : kPages) {
    const std::string path = arguments.back() + "/" + page.name;
    const std::string is = trireme::config::read_text(path);
    const std::string should = trireme::cli::with_generated(is, page.generated(), path);
    if (is == should) continue;
    if (check) {
      fmt::print(stderr, "{}: not what the lists in src/config say now: run ./dev docs\n", path);
      status = 1;
    } else {
      write(path, should);
    }
  }
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const trireme::UserError& error) {
    fmt::print(stderr, "make_docs: {}\n", error.what());
    return 2;
  }
}
