#include "io/weight_files.h"

#include "config/json.h"
#include "io/io_testing.h"
#include "io/tokenizer_files.h"

namespace trireme::io {
namespace {

constexpr const char* kIndex = "model.safetensors.index.json";

std::string open_error(const std::string& folder) {
  return user_error([&] { WeightFiles files(folder); });
}

// A folder with config.json and two shards: a in the first, b and c in the second.
class Sharded : public testing::Test {
 protected:
  Sharded() {
    folder_.write("config.json", "{}");
    write_safetensors(posix(), folder_ / "one.safetensors", {byte_tensor("a", "A")});
    write_safetensors(posix(), folder_ / "two.safetensors",
                      {byte_tensor("b", "BB"), byte_tensor("c", "C")});
    write_index(R"({"a":"one.safetensors","b":"two.safetensors","c":"two.safetensors"})");
  }

  void write_index(const std::string& weight_map) const {
    folder_.write(kIndex, R"({"metadata":{"total_size":4},"weight_map":)" + weight_map + "}");
  }

  TestFolder folder_;
};

TEST_F(Sharded, FindsTensorsAcrossShards) {
  const WeightFiles files(folder_.path());
  EXPECT_EQ(files.tensors().size(), 3U);
  EXPECT_EQ(files.total_bytes(), 4);
  EXPECT_EQ(files.folder(), folder_.path());
  const auto* b = files.find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->file->path(), folder_ / "two.safetensors");
  EXPECT_EQ(text_of(b->file->bytes(*b->entry)), "BB");
  EXPECT_EQ(files.find("d"), nullptr);
}

TEST_F(Sharded, ASingleFileWinsOverAnIndex) {
  write_safetensors(posix(), folder_ / "model.safetensors", {byte_tensor("single", "S")});
  EXPECT_EQ(WeightFiles(folder_.path()).tensors().count("single"), 1U);
}

TEST_F(Sharded, MovingKeepsItsPointers) {
  WeightFiles first(folder_.path());
  const WeightFiles second(std::move(first));
  const auto* a = second.find("a");
  EXPECT_EQ(text_of(a->file->bytes(*a->entry)), "A");
}

TEST_F(Sharded, IndexThatLiesIsRefused) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"([])", "no weight_map"},
      {R"({})", "no weight_map"},
      {R"({"a":1})", "tensor a: 1 is not a file name"},
      {R"({"a":"/etc/x.safetensors"})", "/etc/x.safetensors is not a plain name"},
      {R"({"a":"../one.safetensors"})", "is not a plain name"},
      {R"({"a":"sub/one.safetensors"})", "is not a plain name"},
      {R"({"a":".."})", "is not a plain name"},
      {R"({"a":""})", "is not a plain name"},
      {R"({"a":"pytorch_model.bin"})", "is not a plain name of a .safetensors"},
      {R"({"a":"one.safetensors","z":"three.safetensors"})", "shard three.safetensors is missing"},
      {R"({"a":"one.safetensors","b":"two.safetensors"})", "two.safetensors: tensor c is not in"},
      {R"({"a":"one.safetensors","b":"two.safetensors","c":"two.safetensors",)"
       R"("d":"one.safetensors"})",
       "tensor d is not in shard one.safetensors"},
      {R"({"a":"two.safetensors","b":"two.safetensors","c":"one.safetensors"})",
       "tensor a is not in shard two.safetensors"},
  };
  for (const auto& [weight_map, message] : cases) {
    write_index(weight_map);
    const std::string error = open_error(folder_.path());
    EXPECT_TRUE(error.starts_with(folder_.path())) << error;
    EXPECT_TRUE(contains(error, message)) << weight_map << ": " << error;
  }
}

TEST_F(Sharded, IndexThatIsNotJsonIsRefusedWithItsPlace) {
  folder_.write(kIndex, "{\"weight_map\":\n oops}");
  const std::string error = open_error(folder_.path());
  EXPECT_TRUE(contains(error, std::string(kIndex) + ":2:")) << error;
  folder_.write(kIndex, R"({"weight_map":{"a":"one.safetensors","a":"two.safetensors"}})");
  EXPECT_NE(open_error(folder_.path()), "") << "duplicate key";
}

TEST_F(Sharded, ATensorInTwoShardsIsRefused) {
  std::filesystem::remove(folder_ / "one.safetensors");
  write_safetensors(posix(), folder_ / "one.safetensors",
                    {byte_tensor("a", "A"), byte_tensor("b", "XX")});
  const std::string error = open_error(folder_.path());
  EXPECT_TRUE(contains(error, "two.safetensors: tensor b is in")) << error;
  EXPECT_TRUE(contains(error, "one.safetensors too")) << error;
}

TEST_F(Sharded, ATruncatedShardIsNamed) {
  const std::string two = read_text(folder_ / "two.safetensors");
  folder_.write("two.safetensors", two.substr(0, two.size() - 1));
  EXPECT_TRUE(contains(open_error(folder_.path()), "two.safetensors: tensor c: the file is trunc"));
}

TEST(HfFolder, WhatIsNotAModelFolderIsRefused) {
  const TestFolder folder;
  EXPECT_TRUE(contains(open_error(folder / "none"), "no such folder"));
  EXPECT_TRUE(contains(open_error(folder.write("file", "")), "a file: give the folder"));
  EXPECT_TRUE(contains(open_error(folder.path()), "not a Hugging Face model folder"));
  folder.write("config.json", "{}");
  EXPECT_TRUE(contains(open_error(folder.path()), "no weights"));
  folder.write("pytorch_model.bin", "");
  EXPECT_TRUE(contains(open_error(folder.path()), "pytorch_model.bin, which is not read: convert"));
  folder.write("model-00001-of-00002.safetensors", "");
  EXPECT_TRUE(
      contains(open_error(folder.path()), "has model-00001-of-00002.safetensors but neither"));
}

TEST(HfFolder, ShardsRoundTripUnderHuggingFaceNames) {
  const TestFolder folder;
  folder.write("config.json", "{}");
  std::vector<TensorSource> tensors;
  for (const char* name : {"b", "a", "big", "c", "d"}) {
    tensors.push_back(byte_tensor(name, std::string(name[1] == 'i' ? 9 : 2, name[0])));
  }
  write_shards(posix(), folder.path(), tensors, 5);  // [b, a], [big], [c, d]
  const auto index = config::read_json(folder / kIndex);
  EXPECT_EQ(index["metadata"]["total_size"], 17);
  EXPECT_EQ(index["weight_map"]["a"], "model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["big"], "model-00002-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["c"], "model-00003-of-00003.safetensors");
  const WeightFiles files(folder.path());
  ASSERT_EQ(files.tensors().size(), tensors.size());
  for (const TensorSource& tensor : tensors) {
    const auto* found = files.find(tensor.name);
    EXPECT_EQ(text_of(found->file->bytes(*found->entry)), text_of(tensor.bytes()));
  }
}

TEST(HfFolder, WhatFitsIsOneFile) {
  const TestFolder folder;
  write_shards(posix(), folder.path(), {byte_tensor("a", "12"), byte_tensor("b", "345")}, 5);
  EXPECT_FALSE(std::filesystem::exists(folder / kIndex));
  EXPECT_EQ(SafetensorsFile(folder / "model.safetensors").entries().size(), 2U);
  write_shards(posix(), folder.path(), {byte_tensor("a", "12"), byte_tensor("b", "345")}, 4);
  EXPECT_TRUE(std::filesystem::exists(folder / kIndex)) << "one byte too many";
}

TEST(HfFolder, CopiesTheTokenizerFilesThatExist) {
  const TestFolder folder;
  folder.write("from/tokenizer.json", "{\"a\":\n1}");
  folder.write("from/merges.txt", "");
  folder.write("from/model.safetensors", "");
  posix().make_folder(folder / "to");
  copy_tokenizer_files(posix(), folder / "from", "", folder / "to");
  EXPECT_EQ(read_text(folder / "to/tokenizer.json"), "{\"a\":\n1}");
  EXPECT_EQ(read_text(folder / "to/merges.txt"), "");
  EXPECT_FALSE(std::filesystem::exists(folder / "to/model.safetensors"));
}

TEST(HfFolder, FilesOfTwoTokenizersDoNotMix) {
  const TestFolder folder;
  for (const char* name : {"tokenizer.json", "added_tokens.json", "generation_config.json"}) {
    folder.write(std::string("model/") + name, "model's");
  }
  for (const char* name : {"tokenizer.json", "tekken.json", "generation_config.json"}) {
    folder.write(std::string("tokenizer/") + name, "tokenizer's");
  }
  posix().make_folder(folder / "to");
  copy_tokenizer_files(posix(), folder / "model", folder / "tokenizer", folder / "to");
  EXPECT_EQ(read_text(folder / "to/tokenizer.json"), "tokenizer's");
  EXPECT_EQ(read_text(folder / "to/tekken.json"), "tokenizer's");
  EXPECT_EQ(read_text(folder / "to/generation_config.json"), "model's");
  EXPECT_FALSE(std::filesystem::exists(folder / "to/added_tokens.json"));
}

}  // namespace
}  // namespace trireme::io
