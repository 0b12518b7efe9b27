#include "text/tokenizer.h"

#include <fmt/format.h>

#include <unordered_map>

#include "base/error.h"
#include "formats/shown.h"
#include "text/bpe.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_spec.h"
#include "text/utf8.h"

namespace r1 {

struct Tokenizer::Impl {
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  AddedTokens added;
  BpeModel model;
  bool is_byte_level = true;
  DecoderRules decoder;                                  // of a vocabulary of characters
  std::unordered_map<std::string, int32_t> not_letters;  // byte-level: entries outside the byte alphabet
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;
  int32_t file_size = 0;  // the highest id of tokenizer.json + 1
  std::vector<std::string> warnings;

  // How a text is encoded. `mark` is erased from it after special tokens are found ("": nothing is).
  struct Encoding {
    bool skip_special = false;
    bool continues = false;  // it follows other text
    std::string_view mark = {};
  };
  void encode(std::string_view text, const Encoding& how, std::vector<int32_t>& ids) const;
  void encode_piece(std::string text, TextPlace place, std::string_view mark,
                    std::vector<int32_t>& ids) const;
  // Byte-level: the token's bytes; else its own text, which `decoder` reads.
  std::string_view stored(int32_t id) const;
};

namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;  // ICU and the merge list count with 31 bits

using TokenIds = std::unordered_map<std::string_view, int32_t>;

TokenIds collect_ids(const TokenizerSpec& spec, const std::string& source) {
  TokenIds vocab;
  std::unordered_map<int32_t, std::string_view> owner;
  vocab.reserve(spec.vocab.size());
  owner.reserve(spec.vocab.size());
  for (const auto& [token, id] : spec.vocab) {
    if (id < 0 || id > kMaxTokenId) {
      throw Error(fmt::format("{}: token {} has id {}; it must be between 0 and {}", source, shown(token), id,
                              kMaxTokenId));
    }
    if (!vocab.emplace(token, id).second)
      throw Error(fmt::format("{}: the vocabulary has {} twice", source, shown(token)));
    const auto [known, is_new] = owner.emplace(id, token);
    if (!is_new) {
      throw Error(fmt::format("{}: id {} is both {} and {}", source, id, shown(known->second), shown(token)));
    }
  }
  return vocab;
}

std::vector<TokenBytes> collect_tokens(const TokenizerSpec& spec) {
  std::vector<TokenBytes> tokens;
  tokens.reserve(spec.vocab.size());
  for (const auto& [token, id] : spec.vocab) {
    if (spec.symbols == TokenizerSpec::Symbols::characters) {
      tokens.push_back({token, id, true});
      continue;
    }
    auto bytes = letters_to_bytes(token);
    const bool is_word = bytes.has_value();
    tokens.push_back({is_word ? std::move(*bytes) : token, id, is_word});
  }
  return tokens;
}

// Adds one batch. Adds a warning for each token whose id differs from that in its file.
void add_tokens(AddedTokens& added, const std::vector<AddedToken>& batch, const TokenIds& vocab,
                const TokenizerSpec& spec, const std::string& source, std::vector<std::string>& warnings) {
  for (const AddedToken& token : batch) {
    if (token.content.size() > kMaxAddedToken) {
      throw Error(fmt::format("{}: added token {} has {} bytes; at most {} are accepted", source,
                              shown(token.content), token.content.size(), kMaxAddedToken));
    }
  }
  const AddedTokens::Vocabulary vocabulary{.id_of =
                                               [&](std::string_view content) {
                                                 const auto found = vocab.find(content);
                                                 return found == vocab.end() ? -1 : found->second;
                                               },
                                           .count = static_cast<int32_t>(vocab.size())};
  const std::vector<int32_t> ids = added.add(batch, vocabulary, spec.normalizer);
  if (added.size() > kMaxTokenId)
    throw Error(fmt::format("{}: the added tokens need ids above {}", source, kMaxTokenId));
  for (size_t i = 0; i < batch.size(); ++i) {
    if (batch[i].id < 0 || ids[i] == batch[i].id) continue;
    warnings.push_back(
        ids[i] < 0
            ? fmt::format("{}: the added token of id {} is empty; it is ignored", source, batch[i].id)
            : fmt::format(
                  "{}: added token {} has id {} in the file; its place in the list gives it id {}, which "
                  "is what transformers uses",
                  source, shown(batch[i].content), batch[i].id, ids[i]));
  }
}

std::vector<Merge> collect_merges(const TokenizerSpec& spec, const TokenIds& vocab,
                                  const std::string& source) {
  std::vector<Merge> merges;
  merges.reserve(spec.merges.size());
  std::string joined;
  const auto id_of = [&](const std::string& token) {
    const auto found = vocab.find(token);
    if (found == vocab.end()) {
      throw Error(fmt::format("{}: merge {} needs the token {}, which is not in the vocabulary", source,
                              merges.size(), shown(token)));
    }
    return found->second;
  };
  R1_CHECK(spec.ranks.empty() || spec.ranks.size() == spec.merges.size(), spec.ranks.size());
  for (const auto& [left, right] : spec.merges) {
    joined.assign(left).append(right);
    const size_t place = merges.size();
    const uint32_t rank = spec.ranks.empty() ? static_cast<uint32_t>(place) : spec.ranks[place];
    merges.push_back({id_of(left), id_of(right), id_of(joined), rank});
  }
  return merges;
}

bool occurs_in_utf8(int byte) {
  return byte < 0xF5 && byte != 0xC0 && byte != 0xC1;
}

ByteTokens collect_bytes(const TokenizerSpec& spec, const TokenIds& vocab, const std::string& source) {
  const auto id_of = [&](std::string_view token) {
    const auto found = vocab.find(token);
    return found == vocab.end() ? -1 : found->second;
  };
  ByteTokens bytes{.unk = spec.unk_token.empty() ? -1 : id_of(spec.unk_token), .fuse_unk = spec.fuse_unk};
  for (int byte = 0; byte < 256; ++byte) {
    const char text[] = {static_cast<char>(byte)};
    const std::string letter = bytes_to_letters(std::string_view(text, 1));
    bytes.id[byte] = id_of(letter);
    // The fallback belongs to the letter, not to the byte, because tokenizers applies it after the conversion
    // to letters.
    std::array<int32_t, 2>& fallback = bytes.fallback[byte];
    fallback = {-1, -1};
    bool whole = spec.byte_fallback;
    for (size_t i = 0; whole && i < letter.size(); ++i) {
      fallback[i] = id_of(fmt::format("<0x{:02X}>", static_cast<unsigned char>(letter[i])));
      whole = fallback[i] >= 0;
    }
    if (!whole) fallback = {-1, -1};
    if (bytes.id[byte] < 0 && !whole && bytes.unk < 0 && !spec.unk_token.empty() && occurs_in_utf8(byte)) {
      throw Error(
          fmt::format("{}: model.unk_token {} is not in the vocabulary, which has no token for byte {:02X}",
                      source, shown(spec.unk_token), byte));
    }
  }
  return bytes;
}

CharacterTokens collect_characters(const TokenizerSpec& spec, const TokenIds& vocab,
                                   const std::string& source) {
  const auto id_of = [&](std::string_view token) {
    const auto found = vocab.find(token);
    return found == vocab.end() ? -1 : found->second;
  };
  CharacterTokens out{.unk = spec.unk_token.empty() ? -1 : id_of(spec.unk_token), .fuse_unk = spec.fuse_unk};
  bool whole = spec.byte_fallback;
  for (int byte = 0; byte < 256; ++byte) {
    const int32_t id = spec.byte_fallback ? id_of(fmt::format("<0x{:02X}>", byte)) : -1;
    out.bytes[static_cast<size_t>(byte)] = id;
    whole = whole && (id >= 0 || !occurs_in_utf8(byte));
  }
  if (!whole && out.unk < 0 && !spec.unk_token.empty()) {
    throw Error(
        fmt::format("{}: model.unk_token {} is not in the vocabulary, which has no token for some "
                    "characters",
                    source, shown(spec.unk_token)));
  }
  return out;
}

}  // namespace

Tokenizer Tokenizer::from_spec(TokenizerSpec spec, const std::string& source) {
  const TokenIds vocab = collect_ids(spec, source);
  int32_t size = 0;
  for (const auto& [token, id] : spec.vocab) size = std::max(size, id + 1);
  std::vector<TokenBytes> tokens = collect_tokens(spec);
  std::unordered_map<std::string, int32_t> not_letters;
  for (const TokenBytes& token : tokens) {
    if (!token.is_word) not_letters.emplace(token.bytes, token.id);
  }
  const std::vector<Merge> merges = collect_merges(spec, vocab, source);
  const bool is_byte_level = spec.symbols == TokenizerSpec::Symbols::bytes;
  std::variant<ByteTokens, CharacterTokens> symbols;
  if (is_byte_level) {
    symbols = collect_bytes(spec, vocab, source);
  } else {
    symbols = collect_characters(spec, vocab, source);
  }
  BpeModel model(TokenTable(std::move(tokens), size), merges, symbols, spec.ignore_merges);
  AddedTokens added(is_byte_level);
  std::vector<std::string> warnings;
  add_tokens(added, spec.added, vocab, spec, source, warnings);
  const int32_t file_size = std::max(size, added.size());
  add_tokens(added, spec.configured, vocab, spec, source, warnings);
  return Tokenizer(std::make_shared<const Impl>(Impl{.normalizer = spec.normalizer,
                                                     .pre_tokenizer = std::move(spec.pre_tokenizer),
                                                     .added = std::move(added),
                                                     .model = std::move(model),
                                                     .is_byte_level = is_byte_level,
                                                     .decoder = std::move(spec.decoder),
                                                     .not_letters = std::move(not_letters),
                                                     .prefix = std::move(spec.prefix),
                                                     .suffix = std::move(spec.suffix),
                                                     .file_size = file_size,
                                                     .warnings = std::move(warnings)}));
}

void Tokenizer::Impl::encode_piece(std::string text, TextPlace place, std::string_view mark,
                                   std::vector<int32_t>& ids) const {
  if (!mark.empty()) {
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at))
      text.erase(at, mark.size());
  }
  std::vector<TextRange> words;
  pre_tokenizer.split(text, words, place);
  for (const TextRange& word : words) {
    model.encode_word(std::string_view(text).substr(word.begin, word.end - word.begin), ids);
  }
}

void Tokenizer::Impl::encode(std::string_view text, const Encoding& how, std::vector<int32_t>& ids) const {
  if (text.size() > kMaxTextBytes) {
    throw Error(
        fmt::format("a text of {} bytes: at most {} can be tokenized at once", text.size(), kMaxTextBytes));
  }
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = replace_invalid_utf8(text);
    text = repaired;
  }
  for (const AddedTokens::Span& outer : added.cut_raw(text, how.skip_special)) {
    const std::string_view part = text.substr(outer.range.begin, outer.range.end - outer.range.begin);
    if (outer.id >= 0) {
      ids.push_back(outer.id);
      continue;
    }
    const TextPlace first = outer.range.begin > 0 ? TextPlace::inside
                            : how.continues       ? TextPlace::continuation
                                                  : TextPlace::beginning;
    std::string normal = normalizer.apply(part, first == TextPlace::continuation);
    if (!added.any_normalized()) {
      encode_piece(std::move(normal), first, how.mark, ids);
      continue;
    }
    for (const AddedTokens::Span& inner : added.cut_normalized(normal, how.skip_special)) {
      if (inner.id >= 0) {
        ids.push_back(inner.id);
      } else {
        encode_piece(normal.substr(inner.range.begin, inner.range.end - inner.range.begin),
                     inner.range.begin == 0 ? first : TextPlace::inside, how.mark, ids);
      }
    }
  }
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool post_process, Special special) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 8);
  if (post_process) ids = impl_->prefix;
  impl_->encode(text, {.skip_special = special == Special::as_text}, ids);
  if (post_process) ids.insert(ids.end(), impl_->suffix.begin(), impl_->suffix.end());
  return ids;
}

std::vector<int32_t> Tokenizer::encode_continuation(std::string_view text) const {
  std::vector<int32_t> ids;
  impl_->encode(text, {.continues = true}, ids);
  return ids;
}

std::vector<int32_t> Tokenizer::encode_marked(std::string_view text, std::string_view mark) const {
  std::vector<int32_t> ids;
  impl_->encode(text, {.mark = mark}, ids);
  return ids;
}

std::string_view Tokenizer::Impl::stored(int32_t id) const {
  if (const std::string* bytes = added.bytes_of(id)) return *bytes;
  const TokenTable& table = model.table();
  return id < 0 || id >= table.size() ? std::string_view() : table.bytes(id);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  std::vector<std::string_view> tokens;
  for (const int32_t id : ids) {
    if (skip_special && is_special(id)) continue;
    const std::string_view stored = impl_->stored(id);
    if (impl_->is_byte_level) {
      bytes += stored;
    } else if (!stored.empty()) {
      tokens.push_back(stored);
    }
  }
  if (!impl_->is_byte_level) return TokenJoiner::join(impl_->decoder, tokens);
  return is_valid_utf8(bytes) ? bytes : replace_invalid_utf8(bytes);
}

std::string Tokenizer::piece_bytes(int32_t id) const {
  const std::string_view stored = impl_->stored(id);
  return impl_->is_byte_level ? std::string(stored) : r1::piece_bytes(impl_->decoder, stored);
}

int32_t Tokenizer::vocab_size() const {
  return std::max(impl_->file_size, impl_->added.size());
}

int32_t Tokenizer::file_vocab_size() const {
  return impl_->file_size;
}

const std::vector<std::string>& Tokenizer::warnings() const {
  return impl_->warnings;
}

std::optional<int32_t> Tokenizer::id_of(std::string_view token) const {
  if (const int32_t id = impl_->added.id_of(token); id >= 0) return id;
  if (!impl_->is_byte_level) {
    const int32_t id = impl_->model.table().find(token);
    return id < 0 ? std::nullopt : std::optional(id);
  }
  if (const auto bytes = letters_to_bytes(token)) {
    const int32_t id = impl_->model.table().find(*bytes);
    if (id >= 0) return id;
  }
  const auto found = impl_->not_letters.find(std::string(token));
  return found == impl_->not_letters.end() ? std::nullopt : std::optional(found->second);
}

std::string Tokenizer::token_of(int32_t id) const {
  if (const std::string* content = impl_->added.content_of(id)) return *content;
  const std::string bytes(impl_->stored(id));
  if (!impl_->is_byte_level) return bytes;
  return impl_->model.table().find(bytes) == id ? bytes_to_letters(bytes) : bytes;
}

bool Tokenizer::is_special(int32_t id) const {
  return impl_->added.is_skipped(id);
}

StreamDecoder::StreamDecoder(Tokenizer tokenizer, bool skip_special)
    : tokenizer_(std::move(tokenizer)), skip_special_(skip_special) {
  if (!tokenizer_.impl_->is_byte_level) joiner_ = std::make_unique<TokenJoiner>(tokenizer_.impl_->decoder);
}

StreamDecoder::~StreamDecoder() = default;
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;

std::string StreamDecoder::feed(int32_t id) {
  if (skip_special_ && tokenizer_.is_special(id)) return {};
  if (joiner_) {
    const std::string_view token = tokenizer_.impl_->stored(id);
    return token.empty() ? std::string() : joiner_->add(token);
  }
  held_ += tokenizer_.piece_bytes(id);
  const size_t whole = complete_utf8_prefix(held_);
  std::string text = replace_invalid_utf8(std::string_view(held_).substr(0, whole));
  held_.erase(0, whole);
  return text;
}

std::string StreamDecoder::flush() {
  if (joiner_) return joiner_->finish();
  std::string text = replace_invalid_utf8(held_);
  held_.clear();
  return text;
}

}  // namespace r1
