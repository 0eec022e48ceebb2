#include "cli/ending.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "base/env.h"
#include "base/error.h"
#include "base/log.h"
#include "config/json.h"

namespace trireme::cli {
namespace {

// torchrun's summary of a job that failed shows the text of the file with the earliest time.
void write_for_torchrun(const Ending& ending) {
  const auto path = env("TORCHELASTIC_ERROR_FILE");
  if (!path) return;
  // Where "py_callstack" is in it, torchrun prints that in place of the message.
  const config::Json json = {{"message",
                              {{"message", ending.type + ": " + ending.words},
                               {"extraInfo", {{"timestamp", std::to_string(ending.at.count())}}}}}};
  // Bytes of a file's name need not be UTF-8.
  std::ofstream(*path) << config::json_text(json) << '\n';
}

}  // namespace

std::chrono::seconds Ending::now() {
  const auto time = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(time);
}

Ending ending_for_another(std::string words) {
  return {kInternalError, "PeerFailure", std::move(words), Ending::now() + std::chrono::seconds(1)};
}

Ending ending_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const UserError& user_error) {
    return {kUserError, "UserError", user_error.what()};
  } catch (const std::filesystem::filesystem_error& file_error) {
    return {kUserError, "UserError",
            fmt::format("{}: {}", file_error.path1().string(), file_error.code().message())};
  } catch (const PeerFailure& failure) {
    return ending_for_another(failure.what());
  } catch (const std::exception& other) {
    return {kInternalError, "InternalError", fmt::format("internal error: {}", other.what())};
  }
}

int end(const Ending& ending) {
  log_text(fmt::format("trireme: {}\n", UserError(ending.words).what()));
  write_for_torchrun(ending);
  return ending.status;
}

}  // namespace trireme::cli
