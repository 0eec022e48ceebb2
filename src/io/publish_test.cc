// publish_folder under a file system that fails, or dies, at each of its operations in turn.
#include "io/publish.h"

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "io/io_testing.h"
#include "io/weight_files.h"

namespace trireme::io {
namespace {

namespace fs = std::filesystem;

struct Fault {
  int at = 0;          // the operation that fails, from 1; 0 is none
  bool crash = false;  // nothing is executed from then on
};

// The operating system's files with a fault and a log. A failing write takes half of its bytes, a
// failing remove_all one of the files: as a full disk, a dying disk and kill -9 leave them. Syncs
// are only logged: this runs hundreds of publishes, and what syncs are for is tested by the order
// of the log.
class FaultyFiles : public FileSystem {
 public:
  FaultyFiles(Fault fault, bool can_exchange) : fault_(fault), can_exchange_(can_exchange) {}

  std::unique_ptr<WritableFile> create(const std::string& path) override;
  void make_folder(const std::string& path) override {
    step("make " + path, [] {});
    fs::create_directories(path);
  }
  void rename(const std::string& from, const std::string& to) override {
    step("rename " + from + " " + to, [] {});
    posix().rename(from, to);
  }
  bool exchange(const std::string& one, const std::string& other) override {
    if (!can_exchange_) return false;
    step("exchange " + one + " " + other, [] {});
    return posix().exchange(one, other);
  }
  void remove_all(const std::string& path) override {
    step("remove " + path, [&] { remove_one(path); });
    posix().remove_all(path);
  }
  void sync_folder(const std::string& path) override {
    step("sync " + path, [] {});
  }
  uint64_t free_bytes(const std::string&) override { return 1000; }

  // Counts an operation; when it is the one that fails, leaves what `partly` leaves of it.
  void step(const std::string& text, const std::function<void()>& partly) {
    log_.push_back(text);
    if (crashed_) throw UserError("crashed");
    if (static_cast<int>(log_.size()) != fault_.at) return;
    partly();
    crashed_ = fault_.crash;
    throw UserError("injected at " + text);
  }
  const std::vector<std::string>& log() const { return log_; }

 private:
  static void remove_one(const std::string& path) {
    if (fs::is_directory(path) && !fs::is_empty(path)) {
      fs::remove_all(fs::directory_iterator(path)->path());
    }
  }

  Fault fault_;
  bool can_exchange_;
  bool crashed_ = false;
  std::vector<std::string> log_;
};

class FaultyFile : public WritableFile {
 public:
  FaultyFile(FaultyFiles& files, const std::string& path)
      : files_(files), path_(path), file_(posix().create(path)) {}
  void write(std::span<const std::byte> bytes) override {
    files_.step("write " + path_, [&] { file_->write(bytes.first(bytes.size() / 2)); });
    file_->write(bytes);
  }
  void sync_and_close() override {
    files_.step("close " + path_, [] {});
    file_.reset();
  }

 private:
  FaultyFiles& files_;
  std::string path_;
  std::unique_ptr<WritableFile> file_;
};

std::unique_ptr<WritableFile> FaultyFiles::create(const std::string& path) {
  step("create " + path, [] {});
  return std::make_unique<FaultyFile>(*this, path);
}

// Writes a small model whose every file tells its version.
std::function<void(const std::string&)> model(FileSystem& files, const std::string& version) {
  return [&files, version](const std::string& folder) {
    write_text(files, folder + "/config.json", version);
    write_shards(files, folder, {byte_tensor("w", version)});
    files.make_folder(folder + "/state");
    write_text(files, folder + "/state/rank0", version);
  };
}

void publish(FileSystem& files, const std::string& folder, const std::string& version) {
  publish_folder(files, folder, model(files, version));
}

void publish(const std::string& folder, const std::string& version) {
  FaultyFiles files({}, true);
  publish(files, folder, version);
}

// The version of a whole model, "" when there is none, "torn" when some of it is missing or of
// another version.
std::string version_of(const std::string& folder) {
  if (!fs::exists(folder)) return "";
  std::set<std::string> versions;
  const auto error = user_error([&] {
    versions.insert(read_text(folder + "/config.json"));
    versions.insert(read_text(folder + "/state/rank0"));
    const WeightFiles weights(folder);
    const auto* w = weights.find("w");
    versions.insert(text_of(w->file->bytes(*w->entry)));
  });
  return error.empty() && versions.size() == 1 ? *versions.begin() : "torn";
}

// What an earlier run left.
enum class Start { kNothing, kWhole, kBetweenRenames, kStale };

void prepare(Start start, const std::string& folder) {
  if (start == Start::kNothing) return;
  publish(folder, "old");
  if (start == Start::kWhole) return;
  FaultyFiles files({}, true);
  files.make_folder(folder + ".tmp");
  write_text(files, folder + ".tmp/config.json", "stale");
  if (start == Start::kBetweenRenames) {
    files.rename(folder, folder + ".old");
  } else {
    publish(folder + ".old", "stale");
  }
}

// Hundreds of folders come and go, which takes a disk 10 s and memory less than one.
std::string quick_place() { return fs::is_directory("/dev/shm") ? "/dev/shm" : testing::TempDir(); }

// One publish with one fault. Returns false when the fault lay beyond the last operation.
bool survives(Start start, bool can_exchange, Fault fault) {
  SCOPED_TRACE(fmt::format("start {} exchange {} crash {} at {}", static_cast<int>(start),
                           can_exchange, fault.crash, fault.at));
  const TestFolder place(quick_place());
  const std::string folder = place / "model";
  prepare(start, folder);
  FaultyFiles files(fault, can_exchange);
  const auto error = user_error([&] { publish(files, folder, "new"); });

  if (start == Start::kWhole && (can_exchange || !fault.crash)) {
    EXPECT_TRUE(version_of(folder) == "old" || version_of(folder) == "new")
        << "before any recovery";
  }
  FaultyFiles healthy({}, true);
  recover_folder(healthy, folder);
  const std::string version = version_of(folder);
  EXPECT_TRUE(version == "new" || version == (start == Start::kNothing ? "" : "old")) << version;
  if (error.empty()) {
    EXPECT_EQ(version, "new") << "success means published";
  }
  const bool began = std::ranges::count(files.log(), "make " + folder + ".tmp") > 0;
  if (began && version != "new" && !fault.crash) {
    EXPECT_FALSE(fs::exists(folder + ".tmp")) << error;
  }

  publish(healthy, folder, "newer");
  EXPECT_EQ(version_of(folder), "newer");
  EXPECT_EQ(std::distance(fs::directory_iterator(place.path()), {}), 1) << "nothing left behind";
  return fault.at <= static_cast<int>(files.log().size());
}

TEST(Publish, AWholeFolderSurvivesAFaultAtEveryOperation) {
  for (const auto start : {Start::kNothing, Start::kWhole, Start::kBetweenRenames, Start::kStale}) {
    for (const bool can_exchange : {true, false}) {
      for (const bool crash : {false, true}) {
        int at = 1;
        while (survives(start, can_exchange, {at, crash}) && !HasFailure()) ++at;
        EXPECT_GT(at, 15) << "operations tried";
      }
    }
  }
}

// The log of a publish over an existing folder, with the folder's path as F and its parent as P.
std::vector<std::string> log_of(bool can_exchange) {
  const TestFolder place;
  const std::string folder = place / "model";
  publish(folder, "old");
  FaultyFiles files({}, can_exchange);
  publish_folder(files, folder, [&](const std::string& temporary) {
    write_text(files, temporary + "/f", "new");
    files.make_folder(temporary + "/s");
  });
  std::vector<std::string> log = files.log();
  for (std::string& line : log) {
    for (size_t at; (at = line.find(folder)) != std::string::npos;)
      line.replace(at, folder.size(), "F");
    if (line == "sync " + place.path()) line = "sync P";
  }
  return log;
}

using Log = std::vector<std::string>;
const Log kFill = {"remove F.tmp",   "remove F.old",  "make F.tmp",
                   "create F.tmp/f", "write F.tmp/f", "close F.tmp/f",
                   "make F.tmp/s",   "sync F.tmp/s",  "sync F.tmp"};

// Nothing takes the final name before it is durable, nothing is removed before the new name is.
TEST(Publish, SyncsBeforeTheExchangeAndRemovesAfterIt) {
  Log expected = kFill;
  for (const char* line : {"exchange F.tmp F", "sync P", "remove F.tmp", "remove F.old"}) {
    expected.push_back(line);
  }
  EXPECT_EQ(log_of(true), expected);
}

TEST(Publish, SyncsBeforeTheTwoRenamesAndRemovesAfterThem) {
  Log expected = kFill;
  for (const char* line :
       {"rename F F.old", "rename F.tmp F", "sync P", "remove F.tmp", "remove F.old"}) {
    expected.push_back(line);
  }
  EXPECT_EQ(log_of(false), expected);
}

TEST(Publish, AThrowOfTheBodyLeavesTheOldFolder) {
  const TestFolder place;
  publish(place / "model", "old");
  const auto stop = [&](const std::string& temporary) {
    write_text(posix(), temporary + "/config.json", "new");
    throw std::runtime_error("stop");
  };
  EXPECT_THROW(publish_folder(posix(), place / "model", stop), std::runtime_error);
  EXPECT_EQ(version_of(place / "model"), "old");
  EXPECT_FALSE(fs::exists(place / "model.tmp"));
}

TEST(Publish, RefusesBeforeTheBodyWhenTheDiskIsTooSmall) {
  const TestFolder place;
  publish(place / "model", "old");
  FaultyFiles files({}, true);
  const auto never = [](const std::string&) { FAIL() << "the body ran"; };
  const auto error = user_error([&] { publish_folder(files, place / "model", never, 4096); });
  EXPECT_TRUE(contains(error, "saving needs 4.00 KiB, the disk has 1000 B free")) << error;
  EXPECT_EQ(version_of(place / "model"), "old");
  publish_folder(files, place / "model", model(files, "new"), 1000);
  EXPECT_EQ(version_of(place / "model"), "new");
}

TEST(Publish, NamesAsUsersTypeThem) {
  const TestFolder place;
  publish(place / "a/b/", "slash");
  EXPECT_EQ(version_of(place / "a/b"), "slash");
  fs::create_directory_symlink(place / "a/b", place / "link");
  publish(place / "link", "through the link");
  EXPECT_EQ(version_of(place / "a/b"), "through the link");
  EXPECT_TRUE(fs::is_symlink(place / "link"));
  place.write("file", "");
  EXPECT_TRUE(contains(user_error([&] { publish(place / "file", "x"); }), "in the way"));
  EXPECT_TRUE(contains(user_error([] { publish("/", "x"); }), "cannot be replaced"));
}

}  // namespace
}  // namespace trireme::io
