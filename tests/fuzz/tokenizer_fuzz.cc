// A tokenizer.json of any bytes is loaded or refused with one line. A loaded tokenizer encodes and decodes.
//
// A fuzzer rarely finds a whole tokenizer.json, so a plain JSON value may also be given as {"pre_tokenizer",
// "added_tokens", ...}, which extends a small valid file. With "characters" that is one of SentencePiece's
// kind.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer.h"

namespace {

constexpr std::string_view kText =
    "Hello  wörld\n\n 12345 <think>e\u0301 中文\xFF \xE2\x82 don't</think> "
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\t";

const r1::Json& small_tokenizer() {
  static const r1::Json json = [] {
    r1::Json vocab = r1::Json::object();
    for (int byte = 0; byte < 256; ++byte) {
      const char text[] = {static_cast<char>(byte)};
      vocab.set(r1::bytes_to_letters(std::string_view(text, 1)), byte);
    }
    vocab.set("aa", 256).set("aaaa", 257).set("\u0120w", 258);
    r1::Json model = r1::Json::object();
    model.set("type", "BPE").set("vocab", std::move(vocab));
    model.set("merges", r1::parse_json(R"(["a a", "aa aa", "\u0120 w"])", "fuzz"));
    r1::Json out = r1::Json::object();
    out.set("model", std::move(model));
    out.set("pre_tokenizer", r1::parse_json(R"({"type": "ByteLevel"})", "fuzz"));
    return out;
  }();
  return json;
}

// Pieces of characters with byte fallback, as Llama 2 has it.
const r1::Json& small_pieces() {
  static const r1::Json json = [] {
    r1::Json vocab = r1::Json::object();
    vocab.set("<unk>", 0).set("<s>", 1).set("</s>", 2);
    for (int byte = 0; byte < 256; ++byte) {
      constexpr std::string_view kDigits = "0123456789ABCDEF";
      vocab.set(std::string("<0x") + kDigits[static_cast<size_t>(byte / 16)] +
                    kDigits[static_cast<size_t>(byte % 16)] + ">",
                3 + byte);
    }
    int64_t id = 259;
    for (const char* piece : {"\u2581", "a", "e", "l", "o", "aa", "aaaa", "lo", "\u2581a", "\u2581\u2581"})
      vocab.set(piece, id++);
    r1::Json model = r1::Json::object();
    model.set("type", "BPE").set("unk_token", "<unk>").set("fuse_unk", true).set("byte_fallback", true);
    model.set("vocab", std::move(vocab));
    model.set("merges", r1::parse_json(R"(["a a", "aa aa", "l o", "\u2581 a", "\u2581 \u2581"])", "fuzz"));
    r1::Json out = r1::parse_json(R"({"normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}, "pre_tokenizer": null,
        "decoder": {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
        {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}})",
                                  "fuzz");
    out.set("model", std::move(model));
    return out;
  }();
  return json;
}

void one_line(const r1::Error& error) {
  if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
}

void use(const r1::Json& json) {
  const r1::Tokenizer tokenizer = r1::Tokenizer::from_json(json);
  // Where a run of byte tokens is not UTF-8, the text of all tokens may have U+FFFD for what a stream shows.
  for (const std::string_view given : {kText, kText.substr(0, 20), std::string_view(" lo aaaa\u4e2d")}) {
    const auto ids = tokenizer.encode(given, true);
    const std::string text = tokenizer.decode(ids);
    r1::StreamDecoder stream(tokenizer);
    std::string streamed;
    for (const int32_t id : ids) streamed += stream.feed(id);
    streamed += stream.flush();
    if (streamed != text && text.find("\uFFFD") == std::string::npos) std::abort();
  }
  tokenizer.encode(kText, false, r1::Tokenizer::Special::as_text);
  tokenizer.encode_continuation(kText);
}

void fuzz_tokenizer(std::string_view text) {
  const r1::Json json = r1::parse_json(text, "fuzz");
  if (!json.is_object() || json.contains("model")) return use(json);
  r1::Json whole = json.contains("characters") ? small_pieces() : small_tokenizer();
  r1::Json model = whole.at("model");
  for (const auto& [name, value] : json.members()) {
    if (name == "of_model") {
      for (const auto& [field, field_value] : value.members()) model.set(field, field_value);
    } else if (name == "missing") {
      r1::Json vocab = r1::Json::object();
      for (const auto& [token, id] : model.at("vocab").members()) {
        const auto is_token = [&](const r1::Json& one) { return one.is_string() && one.string() == token; };
        if (std::ranges::none_of(value.items(), is_token)) vocab.set(token, id);
      }
      model.set("vocab", std::move(vocab));
    } else {
      whole.set(name, value);
    }
  }
  use(whole.set("model", std::move(model)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    fuzz_tokenizer({reinterpret_cast<const char*>(data), size});
  } catch (const r1::Error& error) {
    one_line(error);
  }
  return 0;
}
