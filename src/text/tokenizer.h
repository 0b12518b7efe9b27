// text/tokenizer.h: BPE tokenizers from tokenizer.json.
//   byte-level         DeepSeek V3 and R1, Qwen 2 and 3, Llama 3, and our own: pre_tokenizer has a ByteLevel
//   SentencePiece's    Llama 2, Mistral, Gemma: pre_tokenizer has none
//
// The ids and the decoded text are exactly those of Hugging Face's tokenizers library (0.23). Parts of the
// format that are not supported are refused with the field's name. "truncation" and "padding" are not
// applied. A byte-level file without a decoder is decoded as if it had ByteLevel.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"

namespace r1 {

struct AddedToken;
struct TokenizerSpec;
class TokenJoiner;

// A value type: copies share their tables. Const use is safe from many threads.
class Tokenizer {
 public:
  // Loads a tokenizer.json, or a directory with one; in a directory, the tokens that its other files add
  // count too (text/configured_tokens.h). A directory may have a tiktoken.model in its place
  // (text/tiktoken_file.h). Throws Error naming the file and the field.
  static Tokenizer load(const std::filesystem::path& file_or_directory);
  static Tokenizer from_json(const Json& tokenizer_json);
  static Tokenizer from_json(const Json& tokenizer_json, std::vector<AddedToken> configured);
  static Tokenizer from_spec(TokenizerSpec spec, const std::string& source);  // text/tokenizer_spec.h

  // If post_process is set, the tokens of the post-processor are added (R1: the begin-of-sentence token).
  // Bytes that are not UTF-8 are read as U+FFFD, one for each maximal invalid sequence. Added tokens in the
  // text become their ids. A byte or character without a token is dropped, unless the file has an unk_token
  // or byte_fallback.
  enum class Special { as_tokens, as_text };  // special tokens in the text
  std::vector<int32_t> encode(std::string_view text, bool post_process,
                              Special special = Special::as_tokens) const;
  // Encodes a text that goes on with an earlier one: where the tokenizer puts a space before a text, none is
  // put here.
  std::vector<int32_t> encode_continuation(std::string_view text) const;

  // Encodes a text in which `mark` stands inside added tokens that are not meant as such: an added token is
  // found only without a mark in it, and the marks themselves have no tokens. No tokens of the post-processor.
  std::vector<int32_t> encode_marked(std::string_view text, std::string_view mark) const;

  // Returns the text of ids; invalid UTF-8 (a character cut short) becomes U+FFFD. Ids without a token, as in
  // a padded vocabulary, have no text. Where encoding puts a space before a text, decoding takes it away.
  std::string decode(std::span<const int32_t> ids, bool skip_special = false) const;
  // The bytes of an id, perhaps only a part of a character, with the space that decode() takes away at the
  // beginning of a text; "" for an id without a token.
  std::string piece_bytes(int32_t id) const;

  int32_t vocab_size() const;  // the highest id + 1, added tokens included; a model's may be padded beyond
  // The same without the tokens that only a directory's other files add: the rows that a model must have.
  int32_t file_vocab_size() const;
  // Notes for the user about the file, one per line: added tokens whose ids are not those that the file
  // gives.
  const std::vector<std::string>& warnings() const;
  // `token` as tokenizer.json writes it: an added token's content, or the byte alphabet's letters.
  std::optional<int32_t> id_of(std::string_view token) const;
  // The inverse of id_of; "" for an id without a token.
  std::string token_of(int32_t id) const;
  bool is_special(int32_t id) const;  // decode(skip_special) drops it

 private:
  friend class StreamDecoder;
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

// Turns a growing list of ids into text for live printing: whole characters as soon as they are known. The
// joined pieces are decode() of all ids, except that in a SentencePiece vocabulary decode() replaces each
// byte of a run of byte tokens that is not UTF-8, and the stream has already shown the run's valid
// characters.
class StreamDecoder {
 public:
  explicit StreamDecoder(Tokenizer tokenizer, bool skip_special = false);
  ~StreamDecoder();
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;
  std::string feed(int32_t id);
  std::string flush();  // the rest of a character that was cut short: U+FFFD

 private:
  Tokenizer tokenizer_;
  bool skip_special_;
  std::string held_;                     // of a byte-level vocabulary: at most three bytes
  std::unique_ptr<TokenJoiner> joiner_;  // of a vocabulary of characters
};

}  // namespace r1
