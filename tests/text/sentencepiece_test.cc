// SentencePiece's BPE vocabularies, from tokenizer.json and from GGUF, give the ids and texts of the packages
// tokenizers, sentencepiece and llama-cpp-python (tests/ref/sentencepiece_golden.py).
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/random.h"
#include "formats/gguf_file.h"
#include "tests/formats/gguf_builder.h"
#include "tests/text/text_test.h"
#include "text/gguf_tokenizer.h"
#include "text/gguf_tokenizer_files.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace r1::sentencepiece_test {
namespace {

const Json& variants() {
  static const Json json = read_json(golden("sentencepiece.json"));
  return json;
}

Tokenizer variant(std::string_view name) {
  return Tokenizer::from_json(variants().at(name).at("tokenizer"));
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special = false) {
  StreamDecoder stream(tokenizer, skip_special);
  std::string text;
  for (const int32_t id : ids) {
    const std::string piece = stream.feed(id);
    EXPECT_TRUE(is_valid_utf8(piece));
    text += piece;
  }
  return text + stream.flush();
}

TEST(SentencePiece, GivesHuggingFacesIdsAndTexts) {
  for (const auto& [name, variant] : variants().members()) {
    const Tokenizer tokenizer = Tokenizer::from_json(variant.at("tokenizer"));
    for (const Json& row : variant.at("texts").items()) {
      const std::string& text = row.get_string("text");
      const std::vector<int32_t> ids = to_ids(row.at("ids"));
      EXPECT_EQ(tokenizer.encode(text, false), ids) << name << ": " << text;
      EXPECT_EQ(tokenizer.encode(text, true), to_ids(row.at("post"))) << name << ": " << text;
      EXPECT_EQ(tokenizer.encode(text, false, Tokenizer::Special::as_text), to_ids(row.at("as_text")))
          << name << ": " << text;
      EXPECT_EQ(tokenizer.decode(ids), row.get_string("decoded")) << name << ": " << text;
      EXPECT_EQ(tokenizer.decode(ids, true), row.get_string("skipped")) << name << ": " << text;
      EXPECT_EQ(streamed(tokenizer, ids), row.get_string("decoded")) << name << ": " << text;
      EXPECT_EQ(streamed(tokenizer, ids, true), row.get_string("skipped")) << name << ": " << text;
    }
    for (const Json& row : variant.at("runs").items())
      EXPECT_EQ(tokenizer.decode(to_ids(row.at("ids"))), row.get_string("decoded"))
          << name << ": " << row.dump();
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id)
      EXPECT_EQ(tokenizer.id_of(tokenizer.token_of(id)), id) << name;
  }
}

TEST(SentencePiece, StreamsACharacterWhenItsLastByteCame) {
  const Tokenizer tokenizer = variant("legacy");
  const auto byte = [&](const char* name) { return *tokenizer.id_of(name); };
  StreamDecoder stream(tokenizer);
  EXPECT_EQ(stream.feed(byte("<0xE4>")), "");
  EXPECT_EQ(stream.feed(byte("<0xB8>")), "");
  EXPECT_EQ(stream.feed(byte("<0xAD>")), "\u4e2d");
  EXPECT_EQ(stream.feed(byte("<0xE4>")), "");
  EXPECT_EQ(stream.feed(byte("<0xB8>")), "");
  EXPECT_EQ(stream.feed(byte("a")), "\uFFFD\uFFFDa");  // one for each byte, as in the whole text
  EXPECT_EQ(stream.feed(byte("<0xF0>")), "");
  EXPECT_EQ(stream.flush(), "\uFFFD");
  EXPECT_EQ(stream.flush(), "");
  EXPECT_EQ(tokenizer.piece_bytes(byte("<0xE4>")), "\xE4");
}

TEST(SentencePiece, TakesAwayTheSpaceBeforeTheFirstPieceOnly) {
  const Tokenizer tokenizer = variant("legacy");
  const int32_t the = *tokenizer.id_of("\u2581the");
  StreamDecoder stream(tokenizer);
  EXPECT_EQ(stream.feed(the), "the");
  EXPECT_EQ(stream.feed(the), " the");
  StreamDecoder again(tokenizer);
  EXPECT_EQ(again.feed(*tokenizer.id_of("\u2581")), "");
  EXPECT_EQ(again.feed(the), " the");
  StreamDecoder special(tokenizer);
  EXPECT_EQ(special.feed(*tokenizer.id_of("<s>")), "<s>");
  EXPECT_EQ(special.feed(the), " the");
  StreamDecoder skipped(tokenizer, true);
  EXPECT_EQ(skipped.feed(*tokenizer.id_of("<s>")), "");
  EXPECT_EQ(skipped.feed(the), "the");
  EXPECT_EQ(tokenizer.piece_bytes(the), " the");
  // A vocabulary without the space prefix keeps the space.
  const Tokenizer unmarked = variant("split");
  StreamDecoder kept(unmarked);
  EXPECT_EQ(kept.feed(*unmarked.id_of("\u2581the")), " the");
}

TEST(SentencePiece, DecodesWhatItEncodes) {
  const std::vector<std::string> parts = {"the", " and", "  ",     "\n",     "\t",      "7",  "<s>",
                                          "é",   "中",   "🙂",   "\u0301", "\u2581",  "ü",  "\r\n",
                                          "a",   "Z",    "\u00a0", "]",      "<0x41>x", "</", "\x01"};
  Random random(5);
  for (const char* name : {"legacy", "metaspace"}) {
    const Tokenizer tokenizer = variant(name);
    for (int round = 0; round < 500; ++round) {
      std::string text;
      for (int64_t i = random.below(40); i > 0; --i)
        text += parts[static_cast<size_t>(random.below(static_cast<int64_t>(parts.size())))];
      const auto ids = tokenizer.encode(text, false, Tokenizer::Special::as_text);
      std::string want;  // a mark in the text is a space afterwards
      for (size_t at = 0; at < text.size(); ++at) {
        const bool mark = std::string_view(text).substr(at).starts_with("\u2581");
        want += mark ? ' ' : text[at];
        if (mark) at += 2;
      }
      // Metaspace puts no second mark before a text that begins with a space.
      if (std::string_view(name) == "metaspace" && want.starts_with(' ')) want.erase(0, 1);
      EXPECT_EQ(tokenizer.decode(ids), want) << name;
      EXPECT_EQ(streamed(tokenizer, ids), want) << name;
    }
  }
}

TEST(SentencePiece, StreamsTheTextOfAnyIdsWhoseBytesAreUtf8) {
  const Tokenizer tokenizer = variant("legacy");
  Random random(6);
  int whole = 0;
  for (int round = 0; round < 2000; ++round) {
    std::vector<int32_t> ids;
    for (int64_t i = random.below(12); i > 0; --i)
      ids.push_back(static_cast<int32_t>(random.below(tokenizer.vocab_size() + 3)));
    const std::string text = tokenizer.decode(ids);
    if (text.find("\uFFFD") != std::string::npos) continue;
    ++whole;
    EXPECT_EQ(streamed(tokenizer, ids), text);
  }
  EXPECT_GT(whole, 200);
}

TEST(SentencePiece, AContinuationHasNoSpaceBeforeIt) {
  for (const char* name : {"legacy", "metaspace"}) {
    const Tokenizer tokenizer = variant(name);
    const std::string begin = "the capital", rest = " of France</s><s> and";
    std::vector<int32_t> both = tokenizer.encode(begin, false);
    const std::vector<int32_t> more = tokenizer.encode_continuation(rest);
    both.insert(both.end(), more.begin(), more.end());
    EXPECT_EQ(both, tokenizer.encode(begin + rest, false)) << name;
    EXPECT_NE(tokenizer.encode("of", false), tokenizer.encode_continuation("of")) << name;
    EXPECT_EQ(tokenizer.encode("</s>of", false), tokenizer.encode_continuation("</s>of")) << name;
  }
}

TEST(SentencePiece, TakesTimeInProportionToTheText) {
  const Tokenizer tokenizer = variant("legacy");
  for (const std::string_view unit : {"a", "the", " ", "-", "中", "ไ", "aé", "<"}) {
    std::string text;
    while (text.size() < 1'000'000) text += unit;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, false)), text);  // a quadratic step would take hours
  }
}

GgufMetadata golden_metadata() {
  return GgufFile(R1_SOURCE_DIR "/tests/golden/gguf/sentencepiece.gguf").metadata();
}

TEST(SentencePiece, AGgufFileGivesTheIdsOfTheModelThatItWasMadeOf) {
  const GgufMetadata metadata = golden_metadata();
  const Tokenizer tokenizer = read_gguf_tokenizer(metadata);
  const Tokenizer written =
      Tokenizer::from_json(parse_json(gguf_tokenizer_files(metadata).at("tokenizer.json"), "written"));
  const Json rows = read_json(R1_SOURCE_DIR "/tests/golden/gguf/sentencepiece_ids.json");
  ASSERT_GT(rows.size(), 20u);
  for (const Json& row : rows.items()) {
    const std::string& text = row.get_string("text");
    const std::vector<int32_t> ids = to_ids(row.at("ids")), special = to_ids(row.at("special"));
    EXPECT_EQ(tokenizer.encode(text, false, Tokenizer::Special::as_text), ids) << text;
    EXPECT_EQ(tokenizer.encode(text, false), special) << text;
    EXPECT_EQ(written.encode(text, false, Tokenizer::Special::as_text), ids) << text;
    EXPECT_EQ(written.encode(text, false), special) << text;
    std::vector<int32_t> with_bos = special;
    with_bos.insert(with_bos.begin(), 1);
    EXPECT_EQ(tokenizer.encode(text, true), with_bos) << text;
    EXPECT_EQ(tokenizer.decode(special), written.decode(special)) << text;
  }
  const GgufSpecialTokens tokens = read_gguf_special_tokens(metadata);
  EXPECT_EQ(tokens.bos, 1);
  EXPECT_EQ(tokens.unk, 0);
  EXPECT_EQ(tokens.stops, std::vector<int32_t>{2});
}

// <unk>, <s>, </s>, a space, letters and pieces; no bytes.
GgufBuilder small_pieces() {
  GgufBuilder out;
  out.set("tokenizer.ggml.model", "llama");
  out.set("tokenizer.ggml.tokens", std::vector<std::string>{"<unk>", "<s>", "</s>", "\u2581", "a", "b", "ab",
                                                            "aa", "\u2581a", "<tool>"});
  return out;
}
const std::vector<int32_t> kTypes = {2, 3, 3, 1, 1, 1, 1, 1, 1, 4};
const std::vector<float> kScores = {0, 0, 0, -9, -9, -9, -1, -1, -3, 0};

std::vector<int32_t> ids_of(const GgufBuilder& builder, std::string_view text, bool post = false) {
  const std::string file = builder.file();
  const GgufMetadata metadata = parse_gguf_header(std::as_bytes(std::span(file)), "m.gguf").metadata;
  return read_gguf_tokenizer(metadata).encode(text, post);
}

TEST(SentencePiece, OfEqualScoresTheLeftmostPairIsFirst) {
  GgufBuilder builder = small_pieces();
  builder.set("tokenizer.ggml.token_type", kTypes).set("tokenizer.ggml.scores", kScores);
  EXPECT_EQ(ids_of(builder, "aab"), (std::vector<int32_t>{3, 7, 5}));   // aa before ab
  EXPECT_EQ(ids_of(builder, "abab"), (std::vector<int32_t>{3, 6, 6}));  // ab before ▁a
  EXPECT_EQ(ids_of(builder, "a"), (std::vector<int32_t>{8}));
  EXPECT_EQ(ids_of(builder, "a xyz b"), (std::vector<int32_t>{8, 3, 0, 3, 5}));  // unk tokens are one
  EXPECT_EQ(ids_of(builder, "a<tool>a", true), (std::vector<int32_t>{1, 8, 9, 8}));
  const std::string file = builder.file();
  const GgufMetadata metadata = parse_gguf_header(std::as_bytes(std::span(file)), "m.gguf").metadata;
  try {
    gguf_tokenizer_files(metadata);
    ADD_FAILURE() << "written";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "m.gguf: tokenizer.ggml.scores gives ab and aa the same score: a tokenizer.json, which "
                 "orders its merges, cannot hold this vocabulary");
  }
  builder.set("tokenizer.ggml.add_space_prefix", false).set("tokenizer.ggml.add_bos_token", false);
  EXPECT_EQ(ids_of(builder, "aab", true), (std::vector<int32_t>{7, 5}));
}

std::string refusal(const GgufBuilder& builder) {
  const std::string file = builder.file();
  try {
    read_gguf_tokenizer(parse_gguf_header(std::as_bytes(std::span(file)), "m.gguf").metadata);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(SentencePiece, NamesTheKeyOfAGgufFileThatIsWrong) {
  EXPECT_EQ(refusal(GgufBuilder().set("tokenizer.ggml.model", "t5")),
            "m.gguf: tokenizer.ggml.model is t5: only gpt2, which is byte-level BPE, and llama, which is "
            "SentencePiece BPE, are supported");
  EXPECT_EQ(refusal(small_pieces()), "m.gguf: tokenizer.ggml.token_type is missing");
  EXPECT_EQ(refusal(small_pieces().set("tokenizer.ggml.token_type", kTypes)),
            "m.gguf: tokenizer.ggml.scores is missing");
  const auto with_scores = [](const std::vector<float>& scores) {
    GgufBuilder builder = small_pieces();
    return refusal(builder.set("tokenizer.ggml.token_type", kTypes).set("tokenizer.ggml.scores", scores));
  };
  EXPECT_EQ(with_scores({0, 1}), "m.gguf: tokenizer.ggml.scores has 2 elements, and there are 10 tokens");
  std::vector<float> scores = kScores;
  scores[4] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(with_scores(scores), "m.gguf: tokenizer.ggml.scores has nan for token 4");
  const auto with_types = [](std::vector<int32_t> types) {
    GgufBuilder builder = small_pieces();
    return refusal(builder.set("tokenizer.ggml.token_type", types).set("tokenizer.ggml.scores", kScores));
  };
  EXPECT_EQ(with_types({2, 3}), "m.gguf: tokenizer.ggml.token_type has 2 elements, and there are 10 tokens");
  EXPECT_EQ(with_types({2, 3, 3, 1, 6, 1, 1, 1, 1, 4}),
            "m.gguf: tokenizer.ggml.token_type calls token 4, a, a byte; a byte reads <0x41>");
  EXPECT_EQ(with_types({2, 3, 3, 1, 7, 1, 1, 1, 1, 4}),
            "m.gguf: tokenizer.ggml.token_type has 7 for token 4; it must be between 0 and 6");
  GgufBuilder bytes;
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  for (int byte = 0; byte < 256; ++byte) {
    constexpr const char* kDigits = "0123456789ABCDEF";
    if (byte == 0x4A) continue;
    tokens.push_back(std::string("<0x") + kDigits[byte / 16] + kDigits[byte % 16] + ">");
    types.push_back(6);
  }
  bytes.set("tokenizer.ggml.model", "llama").set("tokenizer.ggml.tokens", tokens);
  bytes.set("tokenizer.ggml.token_type", types);
  bytes.set("tokenizer.ggml.scores", std::vector<float>(tokens.size()));
  EXPECT_EQ(refusal(bytes), "m.gguf: tokenizer.ggml.token_type names 255 byte pieces; <0x4A> is missing");
  GgufBuilder no_unk;
  no_unk.set("tokenizer.ggml.model", "llama").set("tokenizer.ggml.tokens", std::vector<std::string>{"a"});
  no_unk.set("tokenizer.ggml.token_type", std::vector<int32_t>{1});
  no_unk.set("tokenizer.ggml.scores", std::vector<float>{0})
      .set("tokenizer.ggml.unknown_token_id", 0xFFFFFFFFu);
  EXPECT_EQ(refusal(no_unk),
            "m.gguf: tokenizer.ggml.token_type names no byte pieces, and the file has no unknown token for "
            "other characters");
  GgufBuilder huge = small_pieces();
  huge.set("tokenizer.ggml.token_type", kTypes).set("tokenizer.ggml.scores", kScores);
  huge.set("tokenizer.ggml.bos_token_id", -2);
  EXPECT_EQ(refusal(huge), "m.gguf: tokenizer.ggml.bos_token_id is 4294967294, and there are 10 tokens");
  GgufBuilder longer;
  longer.set("tokenizer.ggml.model", "llama");
  longer.set("tokenizer.ggml.tokens", std::vector<std::string>{"<unk>", std::string(1025, 'a')});
  longer.set("tokenizer.ggml.token_type", std::vector<int32_t>{2, 1});
  longer.set("tokenizer.ggml.scores", std::vector<float>{0, 0});
  EXPECT_EQ(refusal(longer),
            "m.gguf: tokenizer.ggml.tokens has token 1 of 1025 bytes; at most 1024 are accepted");
}

TEST(SentencePiece, NamesTheFieldOfATokenizerJsonThatIsWrong) {
  const auto with = [](std::string_view field, const std::string& value) {
    Json json = variants().at("legacy").at("tokenizer");
    const Json parsed = parse_json(value, "");
    if (field.starts_with("model.")) {
      Json model = json.at("model");
      json.set("model", model.set(field.substr(6), parsed));
    } else {
      json.set(field, parsed);
    }
    try {
      Tokenizer::from_json(parse_json(json.dump(), "t.json"));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(with("model.type", R"("Unigram")"),
            "t.json: model.type is Unigram, only BPE is supported: byte-level, or SentencePiece's as Llama 2 "
            "has it");
  EXPECT_EQ(with("model.merges", R"([["a", "zzz"]])"),
            "t.json: merge 0 needs the token zzz, which is not in the vocabulary");
  EXPECT_EQ(with("model.vocab", R"({"a": -1})"), "t.json: model.vocab.a is -1, 0 to 4194303 are accepted");
  EXPECT_EQ(with("decoder", "null"),
            "t.json: pre_tokenizer has no ByteLevel, and the file has no decoder: byte-level BPE has the "
            "one, SentencePiece BPE the other");
  EXPECT_EQ(with("decoder", R"({"type": "WordPiece"})"),
            "t.json: decoder.type is WordPiece, only Replace, Metaspace, ByteFallback, Fuse, Strip and "
            "Sequence are supported where the pre-tokenizer has no ByteLevel");
  EXPECT_EQ(with("decoder", R"({"type": "a\nb"})").find('\n'), std::string::npos);
  EXPECT_EQ(with("pre_tokenizer", R"({"type": "a\nb"})").find('\n'), std::string::npos);
  EXPECT_EQ(with("normalizer", R"({"type": "Precompiled", "precompiled_charsmap": "AA=="})"),
            "t.json: normalizer.type is Precompiled, only NFC, Prepend, Replace and Sequence are supported");
  EXPECT_EQ(with("normalizer", R"({"type": "Replace", "pattern": {"Regex": " +"}, "content": " "})"),
            "t.json: normalizer.pattern.Regex is a regular expression: only a pattern that is a String is "
            "supported here");
  EXPECT_EQ(with("pre_tokenizer", R"({"type": "Metaspace", "replacement": "ab", "prepend_scheme": "first"})"),
            "t.json: pre_tokenizer.replacement must be one character");
  EXPECT_EQ(with("pre_tokenizer", R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"})"),
            "t.json: pre_tokenizer.prepend_scheme is last; it must be first, always or never");
}

TEST(SentencePiece, AByteWithoutAPieceIsUnknown) {
  Json json = variants().at("legacy").at("tokenizer");
  Json model = json.at("model"), vocab = Json::object();
  for (const auto& [token, id] : model.at("vocab").members())
    if (token != "<0xF0>") vocab.set(token, id);
  json.set("model", model.set("vocab", vocab));
  const Tokenizer tokenizer = Tokenizer::from_json(json);
  const int32_t unk = *tokenizer.id_of("<unk>");
  EXPECT_EQ(tokenizer.encode_continuation("🙂🙂"), std::vector<int32_t>{unk});
  EXPECT_EQ(tokenizer.encode_continuation("ไ").size(), 3u);  // its bytes are there
}

}  // namespace
}  // namespace r1::sentencepiece_test
