#include "io/safetensors.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/rng.h"
#include "io/io_testing.h"
#include "io/safetensors_header.h"

namespace trireme::io {
namespace {

std::string open_error(const std::string& path) {
  return user_error([&] { SafetensorsFile file(path); });
}

// A header of one tensor named t.
std::string tensor_t(const std::string& dtype, const std::string& shape,
                     const std::string& offsets) {
  return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
         "}}";
}

// A row of a two-tensor header.
std::string row(const std::string& name, int begin, int end) {
  return fmt::format(R"("{}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}})", name,
                     end - begin, begin, end);
}

struct Attack {
  const char* name;
  std::string file;
  const char* message;  // a part of it
};

std::string prefix(uint64_t length) {
  return std::string(reinterpret_cast<const char*>(&length), sizeof length);
}

std::vector<Attack> length_attacks() {
  return {
      {"empty", "", "0 bytes are too few"},
      {"seven bytes", "1234567", "7 bytes are too few"},
      {"over 100 MB", prefix(100'000'001) + "{}", "a header of 100000001 bytes (at most 100000000"},
      {"largest length", prefix(~uint64_t{0}) + "{}", "a header of 18446744073709551615 bytes"},
      {"header cut", prefix(100) + "{}", "truncated: a header of 100 bytes expected, 2 found"},
      {"no header", prefix(0), "does not start with '{'"},
      {"pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"},
  };
}

std::vector<Attack> json_attacks() {
  const auto only = [](const std::string& header) { return safetensors_text(header, ""); };
  return {
      {"a list", only("[]"), "does not start with '{'"},
      {"space first", only(" {}"), "does not start with '{'"},
      {"byte order mark", only("\xef\xbb\xbf{}"), "does not start with '{'"},
      {"not closed", only("{"), "not valid JSON at its byte 2"},
      {"two documents", only("{}{}"), "not valid JSON at its byte 3"},
      {"comment", only("{/**/}"), "not valid JSON"},
      {"NUL hides a rest", only(std::string("{}\0{\"a\":1}", 10)), "NUL at its byte 3"},
      {"bad UTF-8", only("{\"\xff\":{}}"), "not valid UTF-8 at its byte"},
      {"deep", only("{\"a\":" + std::string(1 << 20, '[')),
       "tensor a: the header has a list where"},
      {"tensor is a number", only(R"({"a":1})"), "tensor a: the header has 1 where an object"},
      {"tensor is null", only(R"({"a":null})"), "tensor a: the header has null"},
      {"metadata is a list", only(R"({"__metadata__":[]})"), "has a list where an object (__m"},
      {"metadata holds a number", only(R"({"__metadata__":{"format":1}})"), "1 where a string"},
      {"metadata holds an object", only(R"({"__metadata__":{"a":{}}})"),
       "an object where a string"},
      {"metadata twice", only(R"({"__metadata__":{},"__metadata__":{}})"), "__metadata__ twice"},
      {"metadata key twice", only(R"({"__metadata__":{"a":"","a":""}})"), "has the key a twice"},
      {"line break in a name", only(R"({"a\nb":1})"), "tensor a\\x0ab: the header"},
  };
}

std::vector<Attack> field_attacks() {
  const auto eight = [](const std::string& header) { return safetensors_text(header, "12345678"); };
  const std::string big = "9223372036854775807";
  std::string ones = "[";
  for (int i = 0; i < 32; ++i) ones += "1,";
  return {
      {"tensor twice", eight("{" + row("a", 0, 8) + "," + row("a", 0, 8) + "}"), "has a twice"},
      {"field twice", eight(R"({"t":{"dtype":"U8","dtype":"I8"}})"),
       "tensor t: dtype is there twice"},
      {"unknown field", eight(R"({"t":{"dtype":"U8","order":"C"}})"), "t: unknown field order"},
      {"field missing", eight(R"({"t":{"dtype":"U8","shape":[8]}})"), "data_offsets is missing"},
      {"unknown dtype", eight(tensor_t("F8_E5M2", "[8]", "[0,8]")), "tensor t: dtype F8_E5M2 is"},
      {"dtype is a number", eight(R"({"t":{"dtype":8}})"),
       "tensor t: the header has 8 where a string"},
      {"shape is a number", eight(tensor_t("U8", "8", "[0,8]")), "8 where a list"},
      {"negative size", eight(tensor_t("U8", "[-8]", "[0,8]")), "has -8 where a size"},
      {"fraction", eight(tensor_t("U8", "[8.0]", "[0,8]")), "has 8.0 where a size"},
      {"size above 2^63", eight(tensor_t("U8", "[9223372036854775808]", "[0,8]")), "where a size"},
      {"size above 2^64", eight(tensor_t("U8", "[18446744073709551617]", "[0,8]")), "where a size"},
      {"elements overflow", eight(tensor_t("U8", "[4294967296,4294967304]", "[0,8]")), "64 bits"},
      {"bytes overflow", eight(tensor_t("F32", "[4611686018427387906]", "[0,8]")), "64 bits"},
      {"nested shape", eight(tensor_t("U8", "[[8]]", "[0,8]")), "a list where a size"},
      {"33 dimensions", eight(tensor_t("U8", ones + "8]", "[0,8]")), "shape has more than 32"},
      {"one offset", eight(tensor_t("U8", "[8]", "[8]")), "data_offsets must be two"},
      {"three offsets", eight(tensor_t("U8", "[8]", "[0,8,8]")), "data_offsets has more than 2"},
      {"negative offset", eight(tensor_t("U8", "[8]", "[-1,7]")), "-1 where a byte position"},
      {"end before begin", eight(tensor_t("U8", "[8]", "[8,0]")), "[8, 0] end before they begin"},
      {"too few bytes", eight(tensor_t("F32", "[3]", "[0,8]")),
       "F32 need 12 bytes, data_offsets give 8"},
      {"too many bytes", eight(tensor_t("F32", "[1]", "[0,8]")),
       "F32 need 4 bytes, data_offsets give 8"},
      {"far end", eight(tensor_t("U8", "[" + big + "]", "[0," + big + "]")), "truncated"},
      {"far begin", eight(tensor_t("U8", "[0]", "[" + big + "," + big + "]")),
       "belong to no tensor"},
  };
}

std::vector<Attack> cover_attacks() {
  const auto two = [](const std::string& a, const std::string& b, const std::string& data) {
    return safetensors_text("{" + a + "," + b + "}", data);
  };
  return {
      {"truncated data", two(row("a", 0, 4), row("b", 4, 8), "1234567"),
       "tensor b: the file is truncated: 8 bytes of data expected, 7 found"},
      {"no data", two(row("a", 0, 4), row("b", 4, 8), ""), "tensor a: the file is truncated: 8"},
      {"overlap", two(row("a", 0, 5), row("b", 4, 8), "12345678"),
       "tensors a and b overlap at byte 4"},
      {"same range", two(row("a", 0, 8), row("b", 0, 8), "12345678"), "tensors a and b overlap"},
      {"inside", two(row("a", 0, 8), row("b", 2, 4), "12345678"),
       "tensors a and b overlap at byte 2"},
      {"hole", two(row("b", 5, 8), row("a", 0, 4), "12345678"),
       "tensor b: bytes 4 to 5 of the data"},
      {"hole first", two(row("a", 1, 4), row("b", 4, 8), "12345678"), "tensor a: bytes 0 to 1"},
      {"trailing", two(row("a", 0, 4), row("b", 4, 8), "12345678x"),
       "1 bytes after the last tensor"},
      {"only data", safetensors_text("{}", "PK"), "2 bytes after the last tensor"},
  };
}

void expect_refused(const std::vector<Attack>& attacks) {
  const TestFolder folder;
  for (const Attack& attack : attacks) {
    const std::string path = folder.write("f.safetensors", attack.file);
    const std::string error = open_error(path);
    EXPECT_TRUE(error.starts_with(path + ": ")) << attack.name << ": " << error;
    EXPECT_TRUE(contains(error, attack.message)) << attack.name << ": " << error;
    EXPECT_FALSE(contains(error, "\n")) << attack.name;
  }
}

TEST(Safetensors, LengthsThatLieAreRefused) { expect_refused(length_attacks()); }
TEST(Safetensors, HeadersThatAreNotJsonAreRefused) { expect_refused(json_attacks()); }
TEST(Safetensors, FieldsThatLieAreRefused) { expect_refused(field_attacks()); }
TEST(Safetensors, RangesThatDoNotCoverAreRefused) { expect_refused(cover_attacks()); }

TEST(Safetensors, LegalOddities) {
  const TestFolder folder;
  const auto entries = [&](const std::string& header, const std::string& data) {
    return SafetensorsFile(folder.write("f", safetensors_text(header, data))).entries();
  };
  EXPECT_TRUE(entries("{}", "").empty());
  EXPECT_TRUE(entries("{\"__metadata__\":{\"format\":\"pt\"}} \t\n ", "").empty());
  const std::string zero = R"({"z":{"dtype":"F32","shape":[0,3],"data_offsets":[4,4]},)";
  EXPECT_EQ(entries(zero + row("a", 0, 4) + "," + row("b", 4, 5) + "}", "12345").size(), 3U);
  const auto scalar = entries(tensor_t("F64", "[]", "[0,8]"), "12345678").at("t");
  EXPECT_TRUE(scalar.shape.empty());
  EXPECT_EQ(scalar.end - scalar.begin, 8U);
}

TEST(Safetensors, NotAFile) {
  const TestFolder folder;
  EXPECT_TRUE(contains(open_error(folder.path()), "it is a folder"));
  EXPECT_TRUE(contains(open_error(folder / "none"), "no such file"));
  EXPECT_TRUE(contains(open_error("/dev/null"), "not a regular file"));
}

TEST(Safetensors, EveryPrefixOfAFileIsRefused) {
  const TestFolder folder;
  write_safetensors(posix(), folder / "whole", {byte_tensor("a", "12"), byte_tensor("b", "345")});
  const std::string whole = read_text(folder / "whole");
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(open_error(folder.write("cut", whole.substr(0, size))), "") << size;
  }
}

// Mutations of a legal header: either refused in one line or a map whose ranges lie in the data.
TEST(Safetensors, MutatedHeadersNeverEscape) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},)" + row("a", 0, 4) + "," + row("b", 4, 8) + "}";
  Rng rng(3);
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = header;
    for (uint64_t edits = 1 + rng.below(3); edits > 0; --edits) {
      const size_t at = 1 + rng.below(text.size() - 1);
      const std::string piece = text.substr(rng.below(text.size()), rng.below(12));
      if (rng.below(2) == 0) text[at] = static_cast<char>(rng.below(256));
      if (rng.below(3) == 0) text.insert(at, piece);
    }
    const auto error = user_error([&] {
      for (const auto& [name, entry] : parse_header(text, 8, "f")) {
        EXPECT_TRUE(entry.begin <= entry.end && entry.end <= 8) << text;
      }
      ++accepted;
    });
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
  EXPECT_GT(accepted, 100) << "the mutations must reach past the parser";
}

TEST(Safetensors, RoundTripInTheOrderGivenAndAligned) {
  const TestFolder folder;
  const std::vector<float> wide = {1, 2, 3};
  std::vector<std::string> calls;
  const auto numbers = [&] {
    calls.push_back("w");
    return std::as_bytes(std::span(wide));
  };
  auto z = byte_tensor("z", "odd");
  z.bytes = [&, inner = z.bytes] {
    calls.push_back("z");
    return inner();
  };
  write_safetensors(posix(), folder / "f",
                    {z, {"w", DType::kF32, {3, 1}, numbers}, byte_tensor("a", "")});
  EXPECT_EQ(calls, (std::vector<std::string>{"w", "z"})) << "wider dtypes first, each once";
  SafetensorsFile opened(folder / "f");
  const SafetensorsFile file(std::move(opened));
  ASSERT_EQ(file.entries().size(), 3U);
  const TensorEntry& w = file.entries().at("w");
  EXPECT_EQ(w.dtype, DType::kF32);
  EXPECT_EQ(w.shape, (std::vector<int64_t>{3, 1}));
  EXPECT_EQ(w.begin % 8, 0U);
  EXPECT_EQ(text_of(file.bytes(w)), text_of(std::as_bytes(std::span(wide))));
  EXPECT_EQ(text_of(file.bytes(file.entries().at("z"))), "odd");
}

TEST(Safetensors, DtypeTableAgreesWithItself) {
  for (const char* name : {"F32", "F16", "BF16", "I64", "I32", "U8", "F64", "I8", "I16", "BOOL"}) {
    ASSERT_TRUE(dtype_of(name)) << name;
    EXPECT_STREQ(dtype_name(*dtype_of(name)), name);
  }
  EXPECT_FALSE(dtype_of("f32"));
}

// An entry and a part of it, by read() and in the mapping.
TEST(Safetensors, PartsOfTensors) {
  const TestFolder folder;
  const std::string big(100'001, 'b');
  write_safetensors(posix(), folder / "f", {byte_tensor("a", "x"), byte_tensor("b", big)});
  const SafetensorsFile file(folder / "f");
  TensorEntry part = file.entries().at("b");
  part.begin += 5000;
  EXPECT_EQ(text_of(file.bytes(part)), big.substr(5000));
  std::string copy(part.end - part.begin, ' ');
  file.read(part, std::as_writable_bytes(std::span(copy)));
  EXPECT_EQ(copy, big.substr(5000));
  EXPECT_EQ(text_of(file.bytes(file.entries().at("b"))), big);
}

TEST(Safetensors, FileShortenedAfterOpeningIsAnErrorNotAFault) {
  const TestFolder folder;
  write_safetensors(posix(), folder / "f", {byte_tensor("a", std::string(100'000, 'a'))});
  const SafetensorsFile file(folder / "f");
  ASSERT_EQ(::truncate((folder / "f").c_str(), 8192), 0);
  std::string copy(100'000, ' ');
  const auto read_error = user_error(
      [&] { file.read(file.entries().at("a"), std::as_writable_bytes(std::span(copy))); });
  EXPECT_TRUE(contains(read_error, "ends at byte 8192: the file was shortened")) << read_error;
}

// A mapping of the file would end the program there.
TEST(Safetensors, FileShortenedBeforeItsHeaderIsReadIsAnError) {
  const TestFolder folder;
  const std::string whole = safetensors_text(tensor_t("U8", "[8]", "[0,8]"), "12345678");
  for (const size_t left : {0, 7, 8, 30}) {
    const std::string path = folder.write("f", whole.substr(0, left));
    const Fd fd(::open(path.c_str(), O_RDONLY));
    const auto error = user_error([&] { read_header(fd, whole.size(), path); });
    EXPECT_EQ(error,
              fmt::format("{}: ends at byte {}: the file was shortened meanwhile", path, left));
  }
}

// The same from outside: the file is shortened and grows back while it is opened again and again.
TEST(Safetensors, FileShortenedWhileItIsOpenedIsNeverAFault) {
  const TestFolder folder;
  const std::string header(100'000, ' ');
  const std::string path = folder.write("f", safetensors_text("{}" + header, ""));
  const auto size = static_cast<off_t>(header.size()) + 10;
  std::atomic<bool> done{false};
  std::thread other([&] {
    while (!done) {
      (void)::truncate(path.c_str(), 8);
      (void)::truncate(path.c_str(), size);
    }
  });
  for (int i = 0; i < 3000; ++i) open_error(path);
  done = true;
  other.join();
}

TEST(SafetensorsDeathTest, WrongSourcesAreOurBugs) {
  const TestFolder folder;
  auto source = byte_tensor("a", "12");
  EXPECT_DEATH(write_safetensors(posix(), folder / "f", {source, source}), "tensor a twice");
  source.shape = {3};
  EXPECT_DEATH(write_safetensors(posix(), folder / "f", {source}), "2 bytes given, 3 declared");
}

}  // namespace
}  // namespace trireme::io
