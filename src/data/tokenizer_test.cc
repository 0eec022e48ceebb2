#include "data/tokenizer.h"

#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "base/error.h"
#include "data/tokenizer_testing.h"

namespace trireme::data {
namespace {

using config::Json;
using namespace testing_tools;
using Ids = std::vector<int32_t>;

const Merges kMerges = {{"h", "e"}, {"l", "l"}, {"he", "ll"}, {"hell", "o"}, {"\xC3", "\xA9"}};
constexpr int32_t kHello = 259, kEAcute = 260, kStart = 261, kEnd = 262, kEnding = 263;
const std::vector<std::string> kAdded = {"<|start|>", "<|end|>", "<|end|>ing"};

class TokenizerTest : public ::testing::Test {
 protected:
  // A folder with small_tokenizer, changed.
  std::string folder(const std::function<void(Json&)>& change = [](Json&) {}) {
    Json json = small_tokenizer(kMerges, kAdded);
    change(json);
    return folder_of(json.dump());
  }
  std::string folder_of(const std::string& text) {
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    const std::string path = ::testing::TempDir() + "/trireme_tokenizer_" + name;
    write_file(path + "/tokenizer.json", text);
    return path;
  }
  // The complaint without the folder.
  std::string complaint(const std::string& folder) {
    try {
      Tokenizer{folder};
    } catch (const UserError& error) {
      const std::string text = error.what();
      return text.starts_with(folder) ? text.substr(folder.size() + 1) : text;
    }
    return "";
  }
};

TEST_F(TokenizerTest, EncodesAndDecodes) {
  const Tokenizer tokenizer(folder());
  EXPECT_EQ(tokenizer.encode("hello"), Ids{kHello});
  EXPECT_EQ(tokenizer.encode("he\u0301"), (Ids{'h', kEAcute}));  // NFC
  EXPECT_EQ(tokenizer.decode({kHello, ' ', kEAcute}), "hello é");
  EXPECT_EQ(tokenizer.decode({0xE4, 'a'}), "\uFFFDa");
  EXPECT_EQ(tokenizer.size(), 264);
  EXPECT_EQ(tokenizer.encode(""), Ids{});
  EXPECT_EQ(tokenizer.decode({}), "");
}

TEST_F(TokenizerTest, InvalidInputEncodesAsReplacement) {
  const Tokenizer tokenizer(folder());
  EXPECT_EQ(tokenizer.encode("a\xFFhello"), tokenizer.encode("a\uFFFDhello"));
  const TextRun run{"a\xFFhello", Author::kUser};
  EXPECT_EQ(tokenizer.encode({&run, 1}, {}), tokenizer.encode("a\uFFFDhello"));
}

TEST_F(TokenizerTest, AddedTokensAreFoundLongestFirst) {
  const Tokenizer tokenizer(folder());
  EXPECT_EQ(tokenizer.encode("<|start|>hello<|end|><|end|>ing<|end|"),
            (Ids{kStart, kHello, kEnd, kEnding, '<', '|', 'e', 'n', 'd', '|'}));
  EXPECT_EQ(tokenizer.token_id("<|end|>"), kEnd);
  EXPECT_EQ(tokenizer.token_id("hello"), kHello);
  EXPECT_EQ(tokenizer.token_id("nothing"), std::nullopt);
}

Ids encode(const Tokenizer& tokenizer, const std::vector<TextRun>& runs,
           const ControlIds& control = {}) {
  return tokenizer.encode(runs, control);
}
const Ids kEndAsText = {'<', '|', 'e', 'n', 'd', '|', '>'};

TEST_F(TokenizerTest, AuthorsDecideWhichAddedTokensATextBecomes) {
  const Tokenizer tokenizer(folder([](Json& json) {
    json["added_tokens"].push_back(added_token(264, "<think>", /*special=*/false));
    json["added_tokens"].push_back(added_token(265, "hello!", /*special=*/false));
  }));
  const ControlIds control = tokenizer.tokens_of_template("<|start|>{{ content }}<think>");
  EXPECT_EQ(control, (ControlIds{kStart, 264}));
  const std::string all = "<|end|><think>hello!";
  const Ids think = {'<', 't', 'h', 'i', 'n', 'k', '>'};
  Ids by_user = kEndAsText, by_assistant = kEndAsText;
  by_user.insert(by_user.end(), think.begin(), think.end());
  by_user.push_back(265);
  by_assistant.insert(by_assistant.end(), {264, 265});
  EXPECT_EQ(encode(tokenizer, {{all, Author::kTemplate}}, control), (Ids{kEnd, 264, 265}));
  EXPECT_EQ(encode(tokenizer, {{all, Author::kAssistant}}, control), by_assistant);
  EXPECT_EQ(encode(tokenizer, {{all, Author::kUser}}, control), by_user);
}

// "<|end|>ing" is longer, but a part of it is the user's; merges go over the border.
TEST_F(TokenizerTest, ATokenOfSeveralRunsIsAllowedByAllOfThem) {
  const Tokenizer tokenizer(folder());
  EXPECT_EQ(encode(tokenizer, {{"<|end|>", Author::kTemplate}, {"ing", Author::kUser}}),
            (Ids{kEnd, 'i', 'n', 'g'}));
  EXPECT_EQ(encode(tokenizer, {{"<|end|>", Author::kTemplate}, {"ing", Author::kTemplate}}),
            (Ids{kEnding}));
  EXPECT_EQ(encode(tokenizer, {{"<|end", Author::kUser}, {"|>", Author::kTemplate}}), kEndAsText);
  EXPECT_EQ(encode(tokenizer, {{"he", Author::kTemplate}, {"llo", Author::kUser}}), Ids{kHello});
  EXPECT_EQ(encode(tokenizer, {{"e", Author::kUser}, {"\u0301", Author::kTemplate}}), Ids{kEAcute});
}

TEST_F(TokenizerTest, AuthorsSurviveComposition) {
  const Tokenizer tokenizer(folder([](Json& json) {
    json["added_tokens"].push_back(added_token(264, "e\u0301toile"));
    json["added_tokens"][3]["normalized"] = true;
  }));
  const std::string rest = "toile";
  const Ids composed = {264}, text = {kEAcute, 't', 'o', 'i', 'l', 'e'};
  const auto by = [&](Author first, Author second, Author third) {
    return encode(tokenizer, {{"e", first}, {"\u0301", second}, {rest, third}});
  };
  EXPECT_EQ(by(Author::kTemplate, Author::kTemplate, Author::kTemplate), composed);
  EXPECT_EQ(by(Author::kUser, Author::kTemplate, Author::kTemplate), text);
  EXPECT_EQ(by(Author::kTemplate, Author::kUser, Author::kTemplate), text);
  EXPECT_EQ(by(Author::kTemplate, Author::kTemplate, Author::kUser), text);
}

TEST_F(TokenizerTest, MergesNeverLeadToASpecialToken) {
  const Tokenizer tokenizer(folder([](Json& json) {
    json["model"]["ignore_merges"] = true;
    json["added_tokens"].push_back(added_token(kHello, "hello"));
  }));
  EXPECT_EQ(tokenizer.encode("hello"), Ids{kHello});
  EXPECT_EQ(encode(tokenizer, {{"hello", Author::kUser}}), (Ids{258, 'o'}));
}

TEST_F(TokenizerTest, WhiteSpaceIsNoTokenOfATemplate) {
  const Tokenizer tokenizer(
      folder([](Json& json) { json["added_tokens"].push_back(added_token(264, "\n\n", false)); }));
  EXPECT_EQ(tokenizer.tokens_of_template("a\n\n<|end|>"), ControlIds{kEnd});
}

TEST_F(TokenizerTest, AddedTokensTakeSpacesAndNormalisedText) {
  const Tokenizer tokenizer(folder([](Json& json) {
    json["added_tokens"][0]["lstrip"] = true;
    json["added_tokens"][1]["rstrip"] = true;
    json["added_tokens"].push_back(added_token(264, "e\u0301toile"));
    json["added_tokens"][3]["normalized"] = true;
  }));
  EXPECT_EQ(tokenizer.encode("a \u3000<|start|> b"), (Ids{'a', kStart, ' ', 'b'}));
  EXPECT_EQ(tokenizer.encode("a <|end|> \n b"), (Ids{'a', ' ', kEnd, 'b'}));
  EXPECT_EQ(tokenizer.encode("étoile"), Ids{264});
  EXPECT_EQ(tokenizer.encode("e\u0301toile"), Ids{264});
}

TEST_F(TokenizerTest, SpecialTokensCanBeLeftOut) {
  const Tokenizer tokenizer(folder([](Json& json) { json["added_tokens"][1]["special"] = false; }));
  EXPECT_EQ(tokenizer.decode({kStart, kHello, kEnd}), "<|start|>hello<|end|>");
  EXPECT_EQ(tokenizer.decode({kStart, kHello, kEnd}, true), "hello<|end|>");
  EXPECT_EQ(tokenizer.decode({kHello, 100000, -1}), "hello");  // padded embedding rows
}

TEST_F(TokenizerTest, MergesMayBeStrings) {
  const Tokenizer tokenizer(folder([](Json& json) {
    Json strings = Json::array();
    for (const Json& merge : json["model"]["merges"]) {
      strings.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    }
    json["model"]["merges"] = strings;
  }));
  EXPECT_EQ(tokenizer.encode("hello"), Ids{kHello});
}

TEST_F(TokenizerTest, ThreadsShareOneTokenizer) {
  const Tokenizer tokenizer(folder());
  std::string text;
  for (int i = 0; i < 2000; ++i)
    text += "hello 好看" + std::to_string(i * 7919) + (i % 3 ? " " : "\n");
  const Ids expected = tokenizer.encode(text);
  std::vector<Ids> results(4);
  std::vector<std::thread> threads;
  for (Ids& result : results) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) result = tokenizer.encode(text);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Ids& result : results) EXPECT_EQ(result, expected);
}

TEST_F(TokenizerTest, RefusesWhatItDoesNotKnow) {
  const auto with = [&](const char* key, const Json& value) {
    return complaint(folder([&](Json& json) { json[key] = value; }));
  };
  EXPECT_EQ(with("normalizer", {{"type", "StripAccents"}}),
            "tokenizer.json: normalizer 'StripAccents' is not supported: known are Lowercase, NFC, "
            "NFD, NFKC, NFKD, Prepend, Replace, Sequence, Strip");
  EXPECT_EQ(with("decoder", {{"type", "WordPiece"}}),
            "tokenizer.json: decoder 'WordPiece' is not supported: known are ByteLevel, "
            "ByteFallback, Fuse, Metaspace, Replace, Sequence, Strip");
  EXPECT_EQ(with("post_processor", {{"type", "Doubling"}}),
            "tokenizer.json: post_processor 'Doubling' is not supported: known are "
            "BertProcessing, ByteLevel, RobertaProcessing, Sequence, TemplateProcessing");
  EXPECT_EQ(with("model", {{"type", "Unigram"}}),
            "tokenizer.json: model type 'Unigram' is not supported: only BPE is");
  EXPECT_EQ(with("pre_tokenizer", {{"type", 5}}),
            "tokenizer.json: pre_tokenizer.type is 5: a string is expected");
}

// `tokenizers` gives an added token the id of its entry, or the next behind all, whatever the file
// says; it warns. So does the log.
TEST_F(TokenizerTest, AnAddedTokenHasTheIdThatTheReferenceGivesIt) {
  const std::string path = folder([&](Json& json) {
    json["added_tokens"] = Json::array({added_token(264, "<x>"), added_token(300, "hello")});
  });
  testing::internal::CaptureStderr();
  const Tokenizer tokenizer(path);
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(tokenizer.token_id("<x>"), 261);
  EXPECT_EQ(tokenizer.token_id("hello"), 259);
  EXPECT_EQ(tokenizer.encode("<x>hello"), (Ids{261, 259}));
  EXPECT_NE(log.find("tokenizer.json: the id of added token '<x>' is 261, not 264, as `tokenizers` "
                     "numbers it (1 more)"),
            std::string::npos)
      << log;
}

// An id that is cut or wraps is another token's.
TEST_F(TokenizerTest, IdsOfAddedTokensAreReadAsTheyStand) {
  const auto with = [&](const std::string& entry) {
    return complaint(folder([&](Json& json) { json["added_tokens"] = {Json::parse(entry)}; }));
  };
  const std::string start = "tokenizer.json: added_tokens[0]";
  const std::string whole = ": a whole number from 0 to 2147483647 is expected";
  for (const char* id :
       {"1.9", "261.0", "4294967557", "18446744073709551516", "-1", "\"261\"", "true"}) {
    EXPECT_EQ(with(fmt::format(R"({{"id": {}, "content": "<x>"}})", id)),
              fmt::format("{}.id is {}{}", start, id, whole));
  }
  EXPECT_EQ(with(R"({"content": "<x>"})"), "tokenizer.json: the key added_tokens[0].id is missing");
  EXPECT_EQ(with(R"({"id": 261})"), "tokenizer.json: the key added_tokens[0].content is missing");
  EXPECT_EQ(with(R"({"id": 261, "content": "<x>", "special": 1})"),
            start + ".special is 1: true or false is expected");
  EXPECT_EQ(with("5"), start + " is 5: an object is expected");
}

// The second list would leave "<|end|>" an ordinary text; what follows a NUL would go unread.
TEST_F(TokenizerTest, NothingOfTheFileIsPassedOver) {
  const std::string text = small_tokenizer(kMerges, kAdded).dump();
  EXPECT_EQ(complaint(folder_of(text)), "");
  const std::string twice = text.substr(0, text.size() - 1) + ",\n\"added_tokens\":[]}";
  EXPECT_EQ(complaint(folder_of(twice)),
            "tokenizer.json:2:1: the key 'added_tokens' is given twice in one object: remove one");
  EXPECT_EQ(complaint(folder_of(text + "\n" + std::string(1, '\0') + "x")),
            "tokenizer.json:2:1: a NUL byte: JSON is text");
  EXPECT_NE(complaint(folder_of("{\"model\": " + std::string(100'000, '[')))
                .find("nested more than 100 levels"),
            std::string::npos);
}

TEST_F(TokenizerTest, NamesTheFaultyPlace) {
  EXPECT_EQ(complaint(folder_of("{\n \"model\": {,")),
            "tokenizer.json:2:12: expected a key in double quotes, found ','");
  EXPECT_NE(complaint(folder_of("[]")), "");
  EXPECT_NE(complaint(::testing::TempDir() + "/no_such_folder"), "");
  const auto model = [&](const std::string& text) {
    return complaint(folder_of("{\"model\": {\"type\": \"BPE\", " + text + "}}"));
  };
  EXPECT_EQ(model(R"("vocab": {"a": -1})"),
            "tokenizer.json: model.vocab: 'a' has the id -1: ids are integers from 0");
  EXPECT_EQ(model(R"("vocab": {"a": 1, "a": 2})"),
            "tokenizer.json:1:45: the key 'a' is given twice in one object: remove one");
  EXPECT_EQ(model(R"("vocab": {"a": [1]})"),
            "tokenizer.json: model.vocab: 'a' has the id [1]: ids are integers from 0");
  EXPECT_EQ(model(R"("merges": [["a", "b"], ["a"]])"),
            "tokenizer.json: model.merges: entry 1 has 1 parts: expected two strings");
  EXPECT_EQ(model(R"("merges": ["a b c"])"),
            "tokenizer.json: model.merges: entry 0 'a b c': expected two strings");
  EXPECT_NE(model(R"("merges": [{"a": "b"}])"), "");
  EXPECT_NE(model(R"("vocab": {"a": 2000000000})"), "");
}

}  // namespace
}  // namespace trireme::data
