#include "text/tokenizer.h"

#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "tests/text/text_test.h"
#include "text/regex.h"
#include "text/unicode_delta.h"
#include "text/utf8.h"

namespace r1::tokenizer_test {
namespace {

const char* const kPublished[] = {"deepseek-r1", "deepseek-r1-distill-qwen", "deepseek-r1-distill-llama"};

void check_cases(const Tokenizer& tokenizer, const Json& cases, const std::string& name) {
  for (const Json& row : cases.items()) {
    const std::string& text = row.get_string("text");
    const auto ids = tokenizer.encode(text, false);
    EXPECT_EQ(ids, to_ids(row.at("ids"))) << name << ": " << text;
    EXPECT_EQ(tokenizer.encode(text, true), to_ids(row.at("post"))) << name << ": " << text;
    EXPECT_EQ(tokenizer.decode(to_ids(row.at("ids"))), row.get_string("decoded")) << name << ": " << text;
    EXPECT_EQ(tokenizer.decode(to_ids(row.at("ids")), true), row.get_string("skipped"))
        << name << ": " << text;
  }
}

Json minimal_model(const Json& behaviors) {
  Json model = Json::object();
  model.set("type", "BPE").set("vocab", behaviors.at("vocab")).set("merges", behaviors.at("merges"));
  Json out = Json::object();
  out.set("model", std::move(model));
  out.set("pre_tokenizer", parse_json(R"({"type": "ByteLevel", "add_prefix_space": false})", "test"));
  return out;
}

const Json& behaviors() {
  static const Json json = read_json(golden("behaviors.json"));
  return json;
}

TEST(Tokenizer, GivesHuggingFacesIdsForEveryBehaviour) {
  for (const auto& [name, variant] : behaviors().at("variants").members()) {
    Json json = minimal_model(behaviors());
    for (const auto& [field, value] : variant.at("fields").members()) json.set(field, value);
    Json model = json.at("model");
    model.set("ignore_merges", variant.get_bool("ignore_merges"));
    if (variant.contains("merges")) {
      Json merges = Json::array();
      for (int64_t i = 0; i < variant.get_int("merges"); ++i)
        merges.push_back(behaviors().at("merges").at(i));
      model.set("merges", std::move(merges));
    }
    json.set("model", std::move(model));
    check_cases(Tokenizer::from_json(json), variant.at("cases"), name);
  }
}

TEST(Tokenizer, GivesHuggingFacesIdsForPublishedModels) {
  const Json expected = read_json(golden("published.json"));
  for (const char* name : kPublished) {
    const auto path = shared_data("tokenizers") / name;
    R1_NEEDS(path);
    check_cases(Tokenizer::load(path), expected.at(name), name);
  }
}

TEST(Tokenizer, GivesQwen2sIdsForLlamaCppsTexts) {
  const auto folder = shared_data("tokenizers");
  R1_NEEDS(folder);
  const Tokenizer tokenizer = Tokenizer::load(folder / "deepseek-r1-distill-qwen" / "tokenizer.json");
  const std::string input = read_file(folder / "ggml-vocab-qwen2.gguf.inp");
  const auto lines = read_lines(folder / "ggml-vocab-qwen2.gguf.out");
  constexpr std::string_view kMark = "\n__ggml_vocab_test__\n";
  size_t rows = 0;
  for (size_t at = 0; at <= input.size() && rows < lines.size(); ++rows) {
    const size_t end = std::min(input.find(kMark, at), input.size());
    const std::string text = input.substr(at, end - at);
    std::string got;
    for (const int32_t id : tokenizer.encode(text, false)) got += " " + std::to_string(id);
    EXPECT_EQ(got, lines[rows]) << "text " << rows << ": " << text;
    at = end + kMark.size();
  }
  EXPECT_GE(rows, 40u);
}

TEST(Tokenizer, DecodesWhatItEncodes) {
  const std::vector<std::string> parts = {
      "the", " and", "  ", "\n", "\t",     "7",      "42",     "é", "中",   "🙂",
      "'ll", "(",    ")+", "<",  "think>", "\u00a0", "\u0301", "ü", "\r\n", "\U0001F469\u200D\U0001F680"};
  Random random(1);
  std::vector<Tokenizer> tokenizers = {Tokenizer::from_json(minimal_model(behaviors()))};
  const auto folder = shared_data("tokenizers");
  if (std::filesystem::exists(folder)) tokenizers.push_back(Tokenizer::load(folder / "deepseek-r1"));
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (int64_t i = random.below(60); i > 0; --i) {
      const int64_t kind = random.below(4);
      if (kind < 2) {
        text += parts[random.below(static_cast<int64_t>(parts.size()))];
      } else if (kind == 2) {
        text += static_cast<char>(random.between(0, 127));
      } else {
        const auto code = static_cast<char32_t>(random.below(0x110000));
        append_utf8(text, code >= 0xD800 && code < 0xE000 ? U'x' : code);
      }
    }
    for (const Tokenizer& tokenizer : tokenizers) {
      const auto ids = tokenizer.encode(text, false);
      EXPECT_EQ(tokenizer.decode(ids), text);
      StreamDecoder stream(tokenizer);
      std::string streamed;
      for (const int32_t id : ids) {
        const std::string piece = stream.feed(id);
        EXPECT_TRUE(is_valid_utf8(piece));
        streamed += piece;
      }
      EXPECT_EQ(streamed + stream.flush(), text);
    }
  }
}

TEST(Tokenizer, ReadsInvalidBytesAsReplacementCharacters) {
  const Tokenizer tokenizer = Tokenizer::from_json(minimal_model(behaviors()));
  const std::pair<std::string, std::string> rows[] = {
      {"a\xFF"
       "b",
       "a\uFFFDb"},
      {"\xC3", "\uFFFD"},
      {"\xE2\x82", "\uFFFD"},
      {"\xE2\x82z", "\uFFFDz"},
      {"\xC0\x80", "\uFFFD\uFFFD"},
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\xF0\x9F\x99", "\uFFFD"},
      {"\x80\x80", "\uFFFD\uFFFD"},
      {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
  };
  for (const auto& [bytes, text] : rows) EXPECT_EQ(tokenizer.decode(tokenizer.encode(bytes, false)), text);
  Random random(2);
  for (int round = 0; round < 300; ++round) {
    std::string bytes;
    for (int64_t i = random.below(20); i > 0; --i) bytes += static_cast<char>(random.between(0, 255));
    const auto ids = tokenizer.encode(bytes, false);
    EXPECT_EQ(tokenizer.decode(ids), replace_invalid_utf8(bytes));
  }
}

TEST(Tokenizer, StreamsTheSameTextFromAnyIds) {
  const Tokenizer tokenizer = Tokenizer::from_json(minimal_model(behaviors()));
  Random random(3);
  for (int round = 0; round < 500; ++round) {
    std::vector<int32_t> ids;
    for (int64_t i = random.below(30); i > 0; --i) {
      // The ids stand for bytes of UTF-8 characters, in and out of order.
      ids.push_back(static_cast<int32_t>(random.below(tokenizer.vocab_size() + 3)));
    }
    StreamDecoder stream(tokenizer);
    std::string streamed;
    for (const int32_t id : ids) streamed += stream.feed(id);
    streamed += stream.flush();
    EXPECT_EQ(streamed, tokenizer.decode(ids));
  }
}

TEST(Tokenizer, AnswersForTokens) {
  const auto path = shared_data("tokenizers/deepseek-r1");
  R1_NEEDS(path);
  const Tokenizer tokenizer = Tokenizer::load(path);
  EXPECT_EQ(tokenizer.vocab_size(), 128815);
  EXPECT_EQ(tokenizer.id_of("<｜begin▁of▁sentence｜>"), 0);
  EXPECT_EQ(tokenizer.id_of("<think>"), 128798);
  EXPECT_EQ(tokenizer.id_of("Ġt"), tokenizer.encode(" t", false).at(0));
  EXPECT_FALSE(tokenizer.id_of("no such token"));
  EXPECT_TRUE(tokenizer.is_special(0));
  EXPECT_FALSE(tokenizer.is_special(128798));
  EXPECT_FALSE(tokenizer.is_special(100));
  EXPECT_EQ(tokenizer.piece_bytes(1000000), "");
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{-1, 129279, 1 << 30}), "");
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string token = tokenizer.token_of(id);
    if (!token.empty()) {
      EXPECT_EQ(tokenizer.id_of(token), id) << token;
    }
  }
  const auto trusted = tokenizer.encode("<｜User｜>hi", false);
  const auto plain = tokenizer.encode("<｜end▁of▁sentence｜>hi", false, Tokenizer::Special::as_text);
  EXPECT_EQ(trusted.size(), 2u);
  EXPECT_GT(plain.size(), 2u);
  EXPECT_EQ(tokenizer.decode(plain), "<｜end▁of▁sentence｜>hi");
}

TEST(Tokenizer, GivesTheSameIdsFromManyThreads) {
  const Tokenizer tokenizer = Tokenizer::from_json(minimal_model(behaviors()));
  const std::string text = "the other dog and the cat, don't you know 12 * 3 = 36 naïve café again and again";
  const auto wanted = tokenizer.encode(text, false);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) wrong += tokenizer.encode(text, false) != wanted;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Tokenizer, TakesTimeInProportionToTheText) {
  const Tokenizer tokenizer = Tokenizer::from_json(minimal_model(behaviors()));
  for (const std::string_view unit : {"a", "the", " ", "\n", "1", "é", "<", "'"}) {
    std::string text;
    while (text.size() < 200'000) text += unit;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, false)), text);  // a quadratic step would take long
  }
}

std::string error_of(const Json& json) {
  try {
    Tokenizer::from_json(json);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Tokenizer, RefusesWhatItDoesNotSupportByName) {
  const auto with = [&](std::string_view path, const std::string& value) {
    Json json = minimal_model(behaviors());
    const Json parsed = parse_json(value, "test");
    if (path.starts_with("model.")) {
      Json model = json.at("model");
      model.set(path.substr(6), parsed);
      return error_of(json.set("model", std::move(model)));
    }
    return error_of(json.set(path, parsed));
  };
  const std::tuple<const char*, const char*, const char*> rows[] = {
      {"model.type", R"("Unigram")", "only BPE"},
      {"model.dropout", "0.1", "byte-level BPE"},
      {"model.end_of_word_suffix", R"("</w>")", "byte-level BPE"},
      {"model.merges", R"([["a", "b", "c"]])", "two"},
      {"model.merges", R"(["ab"])", "one space"},
      {"model.merges", R"(["a zz"])", "not in the vocabulary"},
      {"model.vocab", R"({"a": 99999999})", "99999999"},
      {"normalizer", R"({"type": "Lowercase"})", "Lowercase"},
      {"pre_tokenizer", "null", "ByteLevel"},
      {"pre_tokenizer", R"({"type": "Whitespace"})", "Whitespace"},
      {"pre_tokenizer", R"({"type": "Sequence", "pretokenizers": []})", "ByteLevel"},
      {"pre_tokenizer",
       R"j({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "(?R)"},
                         "behavior": "Isolated"}, {"type": "ByteLevel"}]})j",
       "group"},
      {"pre_tokenizer", R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "["},
                         "behavior": "Isolated"}, {"type": "ByteLevel"}]})",
       "class"},
      {"post_processor", R"({"type": "BertProcessing"})", "BertProcessing"},
      {"post_processor",
       R"({"type": "Sequence", "processors": [{"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}]},
                                              {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}]}]})",
       "second TemplateProcessing"},
      {"decoder", R"({"type": "Metaspace"})", "Metaspace"},
      {"decoder", R"({"type": "Sequence", "decoders": []})", "0 ByteLevel"},
      {"decoder", R"({"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "ByteLevel"}]})",
       "2 ByteLevel"},
      {"model.merges", R"(["#version: 0.2", "a zz"])", "merge 0"},
  };
  for (const auto& [path, value, wanted] : rows) {
    const std::string error = with(path, value);
    EXPECT_NE(error.find(wanted), std::string::npos) << path << " = " << value << ": " << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
}

TEST(Tokenizer, RefusesPatternsThatMeanSomethingElseHere) {
  for (const char* pattern : {"(?i:st)", "(?i:s)s", "(?i:\u00e9)", "\\p{Greek}", "\\p{Alphabetic}",
                              "[[:alpha:]]", "[\U0001ccf3-\U0001fae9]", "\u2426", "[a\u2426]", "[a&&[^b]]",
                              "[^\\p{L}&&[^\\p{Han}]]", "[\\p{L}&&[\\p{Lu}]]", "[\\p{L}&&[^a]&&[^b]]"}) {
    EXPECT_THROW(Regex{pattern}, Error) << pattern;
  }
  for (const char* pattern :
       {"(?i:'s|'t|'re|'ve|'m|'ll|'d)", "[\u4e00-\u9fa5\u0800-\u4e00]", "\\p{Han}+",
        "[\U0001f300-\U0001faff]", "[^\\x{80}-\\x{10FFFF}]", "[\\p{Lo}\\p{M}&&[^\\p{Han}]]+"}) {
    EXPECT_NO_THROW(Regex{pattern}) << pattern;
  }
}

TEST(Tokenizer, PatternsSeeNewCharactersAsTheyAre) {
  const auto found = [](std::string_view pattern, std::string_view text) {
    std::vector<TextRange> matches;
    Regex(pattern).find_all(swap_new_characters(text).empty() ? std::string(text) : swap_new_characters(text),
                            matches);
    return matches.size();
  };
  EXPECT_EQ(found("\\p{Han}", "\U00031350"), 1u);                  // Unicode 15
  EXPECT_EQ(found("[\u0800-\u4e00\uac00-\ud7ff]", "\ua7da"), 0u);  // Unicode 16, outside the range
  EXPECT_EQ(found("[\u0800-\u4e00\uac00-\ud7ff]", "\u0897"), 1u);  // Unicode 16, inside the range
  EXPECT_EQ(found("[\U0001f300-\U0001faff]", "\U0001fae9"), 1u);
  EXPECT_EQ(found("[\\p{Lo}\\p{M}&&[^\\p{Han}a]]", "\u4e2d\u3042a\u0301"), 2u);
  EXPECT_EQ(found("\\w", "\u00b2"), 1u);  // Oniguruma's \w outside a class, and inside (next line)
  EXPECT_EQ(found("[\\w]", "\u00b2"), 0u);
  EXPECT_EQ(found("\\b", "a \u0301"), 4u);  // a mark is a word character
  EXPECT_EQ(found("a*", "baab"), 3u);       // an empty match is found, but not where the last match ended
}

TEST(Tokenizer, GivesUpOnHostilePatternsInsteadOfHanging) {
  Json json = minimal_model(behaviors());
  json.set("pre_tokenizer", parse_json(R"j({"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "((a+)+)+[bc]"}, "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "use_regex": false, "add_prefix_space": false}]})j",
                                       "test"));
  const Tokenizer tokenizer = Tokenizer::from_json(json);
  EXPECT_THROW(tokenizer.encode(std::string(5000, 'a'), false), Error);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("xaab", false)), "xaab");
}

}  // namespace
}  // namespace r1::tokenizer_test
