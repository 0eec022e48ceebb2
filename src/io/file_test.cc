#include "io/file.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "io/io_testing.h"
#include "io/temporary.h"

namespace trireme::io {
namespace {

int mode_of(const std::string& path) {
  struct stat status;
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return status.st_mode & 0777;
}

TEST(File, WritesReadsReplacesAppends) {
  const TestFolder folder;
  const std::string path = folder / "a.txt";
  const std::string text("one\n\0two", 8);
  write_text(posix(), path, text + "longer");
  EXPECT_NE(user_error([&] { write_text(posix(), path, text); }).find("in the way"),
            std::string::npos);
  replace_text(posix(), path, text);
  EXPECT_EQ(read_text(path), text) << "replaced, not overwritten";
  append_line(path, "three");
  append_line(folder / "b.jsonl", "{}");
  EXPECT_EQ(read_text(path), text + "three\n");
  EXPECT_EQ(read_text(folder / "b.jsonl"), "{}\n");
  EXPECT_EQ(read_text(folder.write("empty", "")), "");
}

// What is created or appended is the file of that name, not what a link there leads to.
TEST(File, NothingIsWrittenThroughALink) {
  const TestFolder folder;
  folder.write("theirs", "mine");
  std::filesystem::create_symlink(folder / "theirs", folder / "link");
  EXPECT_NE(user_error([&] { append_line(folder / "link", "x"); }), "");
  EXPECT_NE(user_error([&] { write_text(posix(), folder / "link", "x"); }), "");
  replace_text(posix(), folder / "link", "x");
  EXPECT_EQ(read_text(folder / "theirs"), "mine");
}

TEST(File, ModesArePlain) {
  const TestFolder folder;
  const mode_t before = ::umask(0);
  posix().make_folder(folder / "x/y");
  write_text(posix(), folder / "x/f", "");
  ::umask(before);
  EXPECT_EQ(mode_of(folder / "x"), 0755);
  EXPECT_EQ(mode_of(folder / "x/y"), 0755);
  EXPECT_EQ(mode_of(folder / "x/f"), 0644);
}

TEST(File, ReadsAFileThatSaysItIsEmpty) {
  EXPECT_TRUE(contains(read_text("/proc/self/status"), "Pid:"));
}

// Opening a pipe would wait for a writer, reading a device may not end.
TEST(File, WhatIsNoRegularFileIsRefusedUnopened) {
  const TestFolder folder;
  const std::string pipe = folder / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(user_error([&] { read_text(pipe); }),
            pipe + ": a pipe: not a regular file: copy what it holds to one");
  EXPECT_EQ(user_error([] { read_text("/dev/zero"); }),
            "/dev/zero: a device: not a regular file: copy what it holds to one");
  EXPECT_TRUE(contains(user_error([&] { SafetensorsFile{pipe}; }), "pipe: a pipe"));
}

TEST(File, AFileTooLongIsRefused) {
  const TestFolder folder;
  const std::string path = folder.write("f", "12345");
  EXPECT_EQ(read_text(path, 5), "12345");
  EXPECT_EQ(user_error([&] { read_text(path, 4); }),
            path + ": 5 B long, at most 4 B are expected: is it the right file?");
  EXPECT_TRUE(contains(user_error([] { read_text("/proc/self/status", 4); }), "at most 4 B"));
}

TEST(File, ErrorsNamePathReasonAndRemedy) {
  const TestFolder folder;
  folder.write("f", "");
  const auto read_error = [&](const std::string& name) {
    return user_error([&] { read_text(folder / name); });
  };
  const std::string start = folder.path() + "/";
  EXPECT_EQ(read_error("none"),
            start + "none: cannot read: no such file or folder: check the path");
  EXPECT_EQ(read_error("."), start + ".: cannot read: it is a folder: name a file");
  EXPECT_TRUE(contains(read_error("f/g"), "a part of the path is a file"));
  EXPECT_TRUE(contains(user_error([&] { posix().create(folder / "none/f"); }), "check the path"));
  EXPECT_TRUE(contains(user_error([&] { posix().make_folder(folder / "f/g"); }), "in the way"));
  EXPECT_TRUE(contains(user_error([&] { posix().sync_folder(folder / "none"); }), "none: cannot"));
  EXPECT_TRUE(contains(user_error([&] { posix().rename(folder / "none", folder / "g"); }), "none"));
}

TEST(File, ForbiddenFileSaysWhatToDo) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const TestFolder folder;
  const std::string path = folder.write("f", "secret");
  ::chmod(path.c_str(), 0);
  EXPECT_TRUE(contains(user_error([&] { read_text(path); }), "check the owner and the mode"));
}

TEST(File, FullDiskIsNamed) {
  const auto error = user_error([] { append_line("/dev/full", "x"); });
  EXPECT_EQ(error, "/dev/full: cannot write: disk full: free space there or choose another folder");
}

// The limit makes write(2) take a part first and refuse the rest then.
TEST(File, ShortWriteIsNotTakenForSuccess) {
  const TestFolder folder;
  rlimit before;
  ::getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit = {1000, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  const auto error = user_error([&] { write_text(posix(), folder / "f", std::string(5000, 'x')); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(contains(error, "ulimit -f")) << error;
  EXPECT_EQ(read_text(folder / "f").size(), 1000U);
}

TEST(File, ExchangeSwapsFolders) {
  const TestFolder folder;
  folder.write("a/f", "A");
  folder.write("b/f", "B");
  if (!posix().exchange(folder / "a", folder / "b")) GTEST_SKIP() << "not on this file system";
  EXPECT_EQ(read_text(folder / "a/f") + read_text(folder / "b/f"), "BA");
  EXPECT_TRUE(contains(user_error([&] { posix().exchange(folder / "a", folder / "c"); }), "/c"));
}

TEST(File, RemoveAllAndFreeBytes) {
  const TestFolder folder;
  folder.write("a/b/c", "x");
  posix().remove_all(folder / "a");
  posix().remove_all(folder / "a");
  EXPECT_FALSE(std::filesystem::exists(folder / "a"));
  EXPECT_GT(posix().free_bytes(folder / "not/yet/there"), 0U);
  EXPECT_EQ(user_error([] { posix().free_bytes("relative/not/there"); }), "");
}

}  // namespace
}  // namespace trireme::io
