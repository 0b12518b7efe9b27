// Added tokens, and vocabularies without some bytes, compared with the tokenizers package and with
// transformers.
#include "text/added_tokens.h"

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "tests/text/text_test.h"
#include "text/configured_tokens.h"
#include "text/tokenizer.h"

namespace r1::added_tokens_test {
namespace {

Json with_changes(const Json& base, const Json& changes) {
  Json out = base;
  for (const auto& [field, value] : changes.members()) out.set(field, value);
  return out;
}

TEST(AddedTokens, AreNumberedFoundAndDecodedAsTheTokenizersPackageDoes) {
  const Json file = read_json(golden("added_tokens.json"));
  for (const Json& one : file.at("cases").items()) {
    Json json = with_changes(file.at("tokenizer"), one.at("changes"));
    json.set("model", with_changes(json.at("model"), one.at("model")));
    const Tokenizer tokenizer = Tokenizer::from_json(json);
    for (const Json& row : one.at("rows").items()) {
      const std::string& text = row.get_string("text");
      const std::string what = one.get_string("name") + ": " + row.at("text").dump();
      const std::vector<int32_t> ids = tokenizer.encode(text, false);
      EXPECT_EQ(ids, to_ids(row.at("ids"))) << what;
      EXPECT_EQ(tokenizer.encode(text, false, Tokenizer::Special::as_text), to_ids(row.at("split"))) << what;
      EXPECT_EQ(tokenizer.decode(ids), row.get_string("decoded")) << what;
      EXPECT_EQ(tokenizer.decode(ids, true), row.get_string("skipped")) << what;
    }
  }
}

TEST(AddedTokens, OfADirectorysOtherFilesAreAddedAsTransformersDoes) {
  const Json file = read_json(golden("configured_tokens.json"));
  const auto folder = std::filesystem::path(testing::TempDir()) / "r1_configured_tokens_test";
  for (const Json& one : file.at("cases").items()) {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "tokenizer.json") << file.at("tokenizer").dump();
    for (const auto& [name, content] : one.at("files").members())
      std::ofstream(folder / name) << content.dump();
    const Tokenizer tokenizer = Tokenizer::load(folder);
    EXPECT_EQ(tokenizer.file_vocab_size(), 260) << one.get_string("name");
    for (const Json& row : one.at("rows").items()) {
      const std::string what = one.get_string("name") + ": " + row.get_string("text");
      const std::vector<int32_t> ids = tokenizer.encode(row.get_string("text"), false);
      EXPECT_EQ(ids, to_ids(row.at("ids"))) << what;
      EXPECT_EQ(tokenizer.decode(ids), row.get_string("decoded")) << what;
      EXPECT_EQ(tokenizer.decode(ids, true), row.get_string("skipped")) << what;
    }
  }
  std::filesystem::remove_all(folder);
}

TEST(AddedTokens, AnIdThatIsNotTheFilesIsNamedInAWarning) {
  Json json = read_json(golden("added_tokens.json")).at("tokenizer");
  json.set("added_tokens",
           parse_json(
               R"([{"id": 300, "content": "<a>"}, {"id": 257, "content": "<b>"}, {"id": 9, "content": ""}])",
               "test"));
  const Tokenizer tokenizer = Tokenizer::from_json(json);
  ASSERT_EQ(tokenizer.warnings().size(), 2u);
  EXPECT_NE(tokenizer.warnings()[0].find("<a> has id 300 in the file; its place in the list gives it id 256"),
            std::string::npos)
      << tokenizer.warnings()[0];
  EXPECT_NE(tokenizer.warnings()[1].find("id 9 is empty"), std::string::npos) << tokenizer.warnings()[1];
  EXPECT_EQ(tokenizer.id_of("<b>"), 257);
  EXPECT_EQ(tokenizer.token_of(256), "<a>");
}

// The package panics here. This program returns only the token that took the white space.
TEST(AddedTokens, AnLstripTokenInsideWhiteSpaceThatWasTakenVanishes) {
  Json json = read_json(golden("added_tokens.json")).at("tokenizer");
  json.set("added_tokens", parse_json(R"([{"id": 256, "content": "<a>", "rstrip": true},
                                          {"id": 257, "content": " ", "lstrip": true}])",
                                      "test"));
  const Tokenizer tokenizer = Tokenizer::from_json(json);
  EXPECT_EQ(tokenizer.encode("<a>  x", false),
            (std::vector<int32_t>{256, tokenizer.encode("x", false).at(0)}));
}

TEST(AddedTokens, TakeTimeInProportionToWhiteSpace) {
  Json json = read_json(golden("added_tokens.json")).at("tokenizer");
  json.set("added_tokens", parse_json(R"([{"id": 256, "content": " ", "rstrip": true},
                                          {"id": 257, "content": "\n", "lstrip": true}])",
                                      "test"));
  const Tokenizer tokenizer = Tokenizer::from_json(json);
  EXPECT_EQ(tokenizer.encode(std::string(300'000, ' '), false).size(),
            300'000u);  // a quadratic step would take long
  EXPECT_EQ(tokenizer.encode(std::string(300'000, '\t') + "\n", false).size(), 1u);
}

TEST(AddedTokens, RefusesAnUnkTokenThatIsMissing) {
  Json json = read_json(golden("added_tokens.json")).at("tokenizer");
  json.set("model",
           parse_json(R"({"type": "BPE", "unk_token": "<unk>", "vocab": {"a": 0}, "merges": []})", "test"));
  try {
    Tokenizer::from_json(json);
    ADD_FAILURE() << "loaded";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("unk_token <unk> is not in the vocabulary"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace r1::added_tokens_test
