// For tests: files that lose at a power failure what was not synced, as LevelDB's fault-injection
// Env does. What happens goes to the operating system's files as well, so that readers see it; what
// would be left is built elsewhere:
//
//   a file that was not synced       has half of its bytes
//   a name that was made, moved or   is as it was at the last sync of its folder
//   removed
//
// A kernel may have written more than it had to: each folder and file is, by a seed, as it was
// synced or as it is.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/rng.h"
#include "io/file.h"

namespace trireme::io {

class PowerlessFiles : public FileSystem {
 public:
  // `root` exists and is empty. The power fails at operation `fails_at`, from 1; 0: never.
  PowerlessFiles(std::string root, int fails_at) : root_(std::move(root)), fails_at_(fails_at) {}

  std::unique_ptr<WritableFile> create(const std::string& path) override;
  void make_folder(const std::string& path) override {
    step();
    posix().make_folder(path);
    Node* at = &top_;
    for (const std::string& name : names(path)) {
      std::shared_ptr<Node>& child = at->now[name];
      if (!child) child = std::make_shared<Node>(true);
      at->synced[name] = child;  // the parents are synced
      at = child.get();
    }
  }
  void rename(const std::string& from, const std::string& to) override {
    step();
    posix().rename(from, to);
    parent(to).now[last(to)] = parent(from).now.extract(last(from)).mapped();
  }
  bool link(const std::string& from, const std::string& to) override {
    step();
    if (!posix().link(from, to)) return false;
    parent(to).now[last(to)] = parent(from).now.at(last(from));
    return true;
  }
  bool exchange(const std::string& one, const std::string& other) override {
    step();
    if (!posix().exchange(one, other)) return false;
    std::swap(parent(one).now.at(last(one)), parent(other).now.at(last(other)));
    return true;
  }
  void remove_all(const std::string& path) override {
    step();
    posix().remove_all(path);
    parent(path).now.erase(last(path));
  }
  void sync_folder(const std::string& path) override {
    step();
    Node& node = find(path);
    node.synced = node.now;
  }
  uint64_t free_bytes(const std::string&) override { return uint64_t{1} << 40; }

  int operations() const { return operations_; }
  // What is left of the root after the failure, built at `to`.
  void leave(const std::string& to, uint64_t seed) const {
    Rng rng(seed);
    leave(top_, to, rng, seed);
  }

 private:
  struct Node {
    explicit Node(bool is_folder) : folder(is_folder) {}
    bool folder;
    std::map<std::string, std::shared_ptr<Node>> now, synced;  // of a folder
    std::string content;                                       // of a file
    bool durable = false;
  };
  class File;

  void step() {
    if (failed_ || ++operations_ == fails_at_) {
      failed_ = true;
      throw UserError("the power is off");
    }
  }
  std::filesystem::path below(const std::string& path) const {
    return std::filesystem::path(path).lexically_relative(root_);
  }
  std::vector<std::string> names(const std::string& path) const {
    std::vector<std::string> list;
    for (const auto& part : below(path)) {
      if (part != "." && !part.empty()) list.push_back(part.string());
    }
    return list;
  }
  Node& find(const std::string& path) {
    Node* at = &top_;
    for (const std::string& name : names(path)) at = at->now.at(name).get();
    return *at;
  }
  Node& parent(const std::string& path) {
    return find(std::filesystem::path(path).parent_path().string());
  }
  static std::string last(const std::string& path) {
    return std::filesystem::path(path).filename().string();
  }

  // Seed 0: nothing but what was synced.
  static void leave(const Node& node, const std::string& to, Rng& rng, uint64_t seed) {
    const bool as_it_is = seed != 0 && rng.below(2) == 1;
    if (!node.folder) {
      const size_t size = node.durable || as_it_is ? node.content.size() : node.content.size() / 2;
      write_text(posix(), to, node.content.substr(0, size));
      return;
    }
    std::filesystem::create_directories(to);
    for (const auto& [name, child] : as_it_is ? node.now : node.synced) {
      leave(*child, to + "/" + name, rng, seed);
    }
  }

  std::string root_;
  int fails_at_, operations_ = 0;
  bool failed_ = false;
  Node top_{true};
};

class PowerlessFiles::File : public WritableFile {
 public:
  File(PowerlessFiles& files, const std::string& path)
      : files_(files), file_(posix().create(path)), node_(std::make_shared<Node>(false)) {
    files.parent(path).now[last(path)] = node_;
  }
  void write(std::span<const std::byte> bytes) override {
    files_.step();
    file_->write(bytes);
    node_->content.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  void sync_and_close() override {
    files_.step();
    file_.reset();
    node_->durable = true;
  }

 private:
  PowerlessFiles& files_;
  std::unique_ptr<WritableFile> file_;
  std::shared_ptr<Node> node_;
};

inline std::unique_ptr<WritableFile> PowerlessFiles::create(const std::string& path) {
  step();
  return std::make_unique<File>(*this, path);
}

}  // namespace trireme::io
