// publish_folder under a file system that fails, or dies, at each of its operations in turn.
#include "io/publish.h"

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <regex>
#include <set>
#include <utility>

#include "io/faulty_files.h"
#include "io/hash.h"
#include "io/io_testing.h"
#include "io/temporary.h"
#include "io/weight_files.h"

namespace trireme::io {
namespace {

namespace fs = std::filesystem;

// Writes a small model whose every file tells its version.
std::function<void(SummedFiles&, const std::string&)> model(const std::string& version) {
  return [version](SummedFiles& files, const std::string& folder) {
    write_text(files, folder + "/config.json", version);
    write_shards(files, folder, {byte_tensor("w", version)});
    files.make_folder(folder + "/state");
    write_text(files, folder + "/state/rank0", version);
  };
}

const Manifest kOurs = {.version = "1", .commit = "c", .kind = "model", .run = "r"};

void publish(FileSystem& files, const std::string& folder, const std::string& version) {
  publish_folder(files, folder, kOurs, model(version));
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

// What an earlier process left.
enum class Start { kNothing, kWhole, kSetAside, kLeftovers };

void prepare(Start start, const std::string& folder) {
  if (start == Start::kNothing) return;
  publish(folder, "old");
  if (start == Start::kWhole) return;
  FaultyFiles files({}, true);
  files.make_folder(folder + ".trireme-00000001");
  publish(folder + ".trireme-00000002", "stale");
  TemporaryFolder(files, folder, kOurs).keep();
  if (start == Start::kLeftovers) return;
  Manifest manifest = *read_manifest(folder);
  manifest.was = "model";
  replace_text(files, folder + "/trireme.json", manifest_text(manifest));
  files.rename(folder, folder + ".trireme-00000003");
}

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
  sweep(healthy, place.path());
  const std::string version = version_of(folder);
  EXPECT_TRUE(version == "new" || version == (start == Start::kNothing ? "" : "old")) << version;
  if (error.empty()) {
    EXPECT_EQ(version, "new") << "success means published";
  }
  EXPECT_LE(std::distance(fs::directory_iterator(place.path()), {}), 1) << "swept";

  publish(healthy, folder, "newer");
  EXPECT_EQ(version_of(folder), "newer");
  EXPECT_EQ(std::distance(fs::directory_iterator(place.path()), {}), 1) << "nothing left behind";
  return fault.at <= static_cast<int>(files.log().size());
}

TEST(Publish, AWholeFolderSurvivesAFaultAtEveryOperation) {
  for (const auto start : {Start::kNothing, Start::kWhole, Start::kSetAside, Start::kLeftovers}) {
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
  publish_folder(files, folder, kOurs, [](SummedFiles& summed, const std::string& temporary) {
    write_text(summed, temporary + "/f", "new");
    summed.make_folder(temporary + "/s");
  });
  std::vector<std::string> log = files.log();
  for (std::string& line : log) {
    static const std::regex kTemporary(".trireme-[0-9a-f]{8}");
    line = std::regex_replace(line, kTemporary, "~");
    for (size_t at; (at = line.find(folder)) != std::string::npos;)
      line.replace(at, folder.size(), "F");
    if (line == "sync " + place.path()) line = "sync P";
  }
  return log;
}

using Log = std::vector<std::string>;
Log replaced(const std::string& path) {
  return {"create " + path + "~", "write " + path + "~", "close " + path + "~",
          "rename " + path + "~ " + path};
}
Log operator+(Log log, const Log& more) {
  log.insert(log.end(), more.begin(), more.end());
  return log;
}
const Log kFill = Log{"make F~",
                      "create F~/trireme.json",
                      "write F~/trireme.json",
                      "close F~/trireme.json",
                      "create F~/f",
                      "write F~/f",
                      "close F~/f",
                      "make F~/s"} +
                  replaced("F~/trireme.json") + Log{"sync F~", "sync F~/s", "sync F~"};

// The old folder's own files, in any order but for the manifest, which goes with the folder.
Log without_removals(Log log) {
  std::erase_if(log, [](const std::string& line) { return line.starts_with("remove F~/"); });
  return log;
}

// Nothing takes the final name before it is durable, nothing is removed before the new name is.
TEST(Publish, SyncsBeforeTheExchangeAndRemovesAfterIt) {
  const Log expected = kFill + Log{"exchange F~ F", "sync P", "remove F~"};
  EXPECT_EQ(without_removals(log_of(true)), expected);
}

TEST(Publish, SyncsBeforeTheTwoRenamesAndRemovesAfterThem) {
  const Log expected = kFill + replaced("F/trireme.json") +
                       Log{"sync F", "rename F F~", "rename F~ F", "sync P", "remove F~"};
  EXPECT_EQ(without_removals(log_of(false)), expected);
}

// The names are those that trireme gave its temporary folders and files once, and gives them now.
TEST(Publish, NothingOfTheUsersIsTouched) {
  const TestFolder place;
  publish(place / "model", "old");
  const std::vector<std::string> mine = {"model.old/f", "model.tmp/f", "model.trireme-0000000a/f",
                                         "model.trireme-0000000b", "model.trireme-xyz/f"};
  for (const std::string& name : mine) place.write(name, "mine");
  place.write("model.trireme-0000000c/trireme.json", R"({"name": "another tool"})");
  publish(place / "model", "new");
  EXPECT_EQ(version_of(place / "model"), "new");
  for (const std::string& name : mine) EXPECT_EQ(read_text(place / name), "mine") << name;
  EXPECT_TRUE(fs::exists(place / "model.trireme-0000000c/trireme.json"));
}

TEST(Publish, RefusesWhatItDidNotPublish) {
  const TestFolder place;
  place.write("checkpoint-500/weights.bin", "mine");
  const auto never = [&](const std::string& folder) {
    return user_error([&] { publish(place / folder, "new"); });
  };
  EXPECT_TRUE(contains(never("checkpoint-500"), "holds weights.bin and no trireme.json of ours"));
  EXPECT_EQ(read_text(place / "checkpoint-500/weights.bin"), "mine");
  publish(place / "model", "old");
  place.write("model/notes.txt", "mine");
  EXPECT_TRUE(contains(never("model"), "holds notes.txt, which trireme did not write"));
  EXPECT_TRUE(contains(user_error([&] { retire(posix(), place / "model"); }), "holds notes.txt"));
  EXPECT_EQ(version_of(place / "model"), "old");
  EXPECT_EQ(read_text(place / "model/notes.txt"), "mine");
  // A manifest that lists the files of another folder is none.
  place.write("evil/trireme.json",
              R"({"trireme": {"version": "1", "commit": "c"}, "kind": "model", "run": "r",
                  "files": {"../model/notes.txt": {"bytes": 4, "hash": "0"}}})");
  EXPECT_FALSE(read_manifest(place / "evil"));
}

TEST(Publish, WhatWasChangedIsNotReplaced) {
  const TestFolder place;
  publish(place / "model", "old");
  EXPECT_EQ(foreign(place / "model"), "");
  place.write("model/config.json", "mine");
  EXPECT_EQ(foreign(place / "model"),
            "holds config.json, which has 4 bytes, not 3 since trireme wrote it");
  place.write("model/config.json", "new");
  EXPECT_EQ(foreign(place / "model"),
            "holds config.json, which was changed since trireme wrote it");
  EXPECT_NE(user_error([&] { publish(place / "model", "new"); }), "");
  place.write("model/config.json", "old");
  publish(place / "model", "new");
  EXPECT_EQ(version_of(place / "model"), "new");
}

TEST(Publish, AManifestKnowsEachFileAgain) {
  const TestFolder place;
  publish(place / "model", "old");
  const auto manifest = read_manifest(place / "model");
  ASSERT_TRUE(manifest);
  EXPECT_EQ(manifest->files.size(), 3U);
  for (const auto& [name, sum] : manifest->files) {
    const std::string path = place / "model/" + name;
    EXPECT_EQ(sum, (FileSum{fs::file_size(path), hash_of_file(path)})) << name;
    EXPECT_EQ(damage(path, sum, /*all=*/true), "");
  }
  // The reference is xxHash's own test vector: no bytes, seed 0.
  EXPECT_EQ(Hash().text(), "2d06800538d394c2");
}

TEST(Publish, WhatAnotherProcessFillsIsNoLeftover) {
  const TestFolder place;
  const TemporaryFolder theirs(posix(), place / "model", kOurs);
  publish(place / "model", "new");
  EXPECT_TRUE(fs::exists(theirs.path()));
}

TEST(ReplaceFile, LeavesNothingBesideAnOldFileWhenTheDiskIsFull) {
  const TestFolder place(quick_place());
  place.write("o", "old");
  for (int at = 1; at <= 4; ++at) {
    FaultyFiles files({at, false}, true);
    EXPECT_NE(user_error([&] { replace_text(files, place / "o", "new"); }), "");
    EXPECT_EQ(read_text(place / "o"), "old");
    EXPECT_EQ(std::distance(fs::directory_iterator(place.path()), {}), 1) << at;
  }
}

TEST(FolderLock, IsOneProcessesAndAStaleOneNoObstacle) {
  const TestFolder place;
  place.write(".trireme.lock", "trireme: process 1 on a host\n");
  {
    const FolderLock mine(place.path());
    const std::string error = user_error([&] { FolderLock theirs(place.path()); });
    EXPECT_TRUE(contains(error, fmt::format("in use by another run, process {} on", ::getpid())))
        << error;
  }
  EXPECT_FALSE(fs::exists(place / ".trireme.lock"));
  place.write(".trireme.lock", "mine");
  EXPECT_TRUE(contains(user_error([&] { FolderLock lock(place.path()); }), "not a lock"));
  EXPECT_EQ(read_text(place / ".trireme.lock"), "mine");
}

TEST(Publish, AThrowOfTheBodyLeavesTheOldFolder) {
  const TestFolder place;
  publish(place / "model", "old");
  const auto stop = [](SummedFiles& files, const std::string& temporary) {
    write_text(files, temporary + "/config.json", "new");
    throw std::runtime_error("stop");
  };
  EXPECT_THROW(publish_folder(posix(), place / "model", kOurs, stop), std::runtime_error);
  EXPECT_EQ(version_of(place / "model"), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(place.path()), {}), 1);
}

TEST(Publish, RefusesBeforeTheBodyWhenTheDiskIsTooSmall) {
  const TestFolder place;
  publish(place / "model", "old");
  FaultyFiles files({}, true);
  files.room = 1000;
  const auto never = [](SummedFiles&, const std::string&) { FAIL() << "the body ran"; };
  const auto error =
      user_error([&] { publish_folder(files, place / "model", kOurs, never, 4096); });
  EXPECT_TRUE(contains(error, "saving needs 4.00 KiB, the disk has 1000 B free")) << error;
  EXPECT_EQ(version_of(place / "model"), "old");
  publish_folder(files, place / "model", kOurs, model("new"), 1000);
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
