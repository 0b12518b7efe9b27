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
  std::unordered_map<std::string, int32_t> not_letters;  // vocabulary entries outside the byte alphabet
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;

  void encode(std::string_view text, bool skip_special, std::vector<int32_t>& ids) const;
  void encode_piece(std::string text, std::vector<int32_t>& ids) const;
};

namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;  // ICU and the merge list count in 31 bits

using TokenIds = std::unordered_map<std::string_view, int32_t>;

// Every id once; an added token that the vocabulary has too must be the same there.
std::vector<TokenBytes> collect_tokens(const TokenizerSpec& spec, const TokenIds& vocab,
                                       const std::string& source) {
  std::vector<TokenBytes> tokens;
  std::unordered_map<int32_t, std::string_view> owner;
  const auto claim = [&](int32_t id, std::string_view token) {
    if (id < 0 || id > kMaxTokenId) {
      throw Error(
          fmt::format("{}: token {} has id {}, 0 to {} are accepted", source, shown(token), id, kMaxTokenId));
    }
    const auto [known, is_new] = owner.emplace(id, token);
    if (!is_new && known->second != token) {
      throw Error(fmt::format("{}: id {} is both {} and {}", source, id, shown(known->second), shown(token)));
    }
    return is_new;
  };
  tokens.reserve(spec.vocab.size() + spec.added.size());
  for (const auto& [token, id] : spec.vocab) {
    if (!claim(id, token)) continue;
    auto bytes = letters_to_bytes(token);
    const bool is_word = bytes.has_value();
    tokens.push_back({is_word ? std::move(*bytes) : token, id, is_word});
  }
  for (const AddedToken& token : spec.added) {
    const auto known = vocab.find(token.content);
    if (known != vocab.end() && known->second != token.id) {
      throw Error(fmt::format("{}: added token {} has id {}, the vocabulary says {}", source, token.content,
                              token.id, known->second));
    }
    if (!claim(token.id, token.content)) continue;
    // What was found in the normalised text stands for normalised text.
    tokens.push_back(
        {token.normalized ? spec.normalizer.apply(token.content) : token.content, token.id, false});
  }
  return tokens;
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
  for (const auto& [left, right] : spec.merges) {
    joined.assign(left).append(right);
    merges.push_back({id_of(left), id_of(right), id_of(joined)});
  }
  return merges;
}

// Bytes that valid UTF-8 never has (C0, C1, F5..FF) may be missing; DeepSeek's vocabulary has them all the
// same.
std::vector<int32_t> collect_bytes(const TokenIds& vocab, const std::string& source) {
  std::vector<int32_t> ids(256, -1);
  for (int byte = 0; byte < 256; ++byte) {
    const char text[] = {static_cast<char>(byte)};
    const auto found = vocab.find(bytes_to_letters(std::string_view(text, 1)));
    if (found != vocab.end()) {
      ids[byte] = found->second;
    } else if (byte < 0xF5 && byte != 0xC0 && byte != 0xC1) {
      throw Error(fmt::format(
          "{}: the vocabulary has no token for byte {:02X}: byte-level BPE needs every byte", source, byte));
    }
  }
  return ids;
}

}  // namespace

Tokenizer Tokenizer::from_spec(TokenizerSpec spec, const std::string& source) {
  TokenIds vocab;
  vocab.reserve(spec.vocab.size());
  int32_t size = 0;
  for (const auto& [token, id] : spec.vocab) {
    if (!vocab.emplace(token, id).second)
      throw Error(fmt::format("{}: the vocabulary has {} twice", source, shown(token)));
    if (id <= kMaxTokenId) size = std::max(size, id + 1);
  }
  for (const AddedToken& token : spec.added) {
    if (token.content.empty()) throw Error(fmt::format("{}: added token {} is empty", source, token.id));
    if (token.content.size() > kMaxAddedToken) {
      throw Error(fmt::format("{}: added token {} has {} bytes, at most {} are accepted", source, token.id,
                              token.content.size(), kMaxAddedToken));
    }
    if (token.id <= kMaxTokenId) size = std::max(size, token.id + 1);
  }
  std::vector<TokenBytes> tokens = collect_tokens(spec, vocab, source);
  std::unordered_map<std::string, int32_t> not_letters;
  for (const TokenBytes& token : tokens) {
    if (!token.is_word) not_letters.emplace(token.bytes, token.id);
  }
  std::vector<int32_t> byte_ids = collect_bytes(vocab, source);
  const std::vector<Merge> merges = collect_merges(spec, vocab, source);
  BpeModel model(TokenTable(std::move(tokens), size), merges, collect_bytes(vocab, source),
                 spec.ignore_merges);
  AddedTokens added(std::move(spec.added), spec.normalizer);
  return Tokenizer(std::make_shared<const Impl>(
      Impl{spec.normalizer, std::move(spec.pre_tokenizer), std::move(added), std::move(model),
           std::move(not_letters), std::move(spec.prefix), std::move(spec.suffix)}));
}

void Tokenizer::Impl::encode_piece(std::string text, std::vector<int32_t>& ids) const {
  std::vector<TextRange> words;
  pre_tokenizer.split(text, words);
  for (const TextRange& word : words) {
    model.encode_word(std::string_view(text).substr(word.begin, word.end - word.begin), ids);
  }
}

void Tokenizer::Impl::encode(std::string_view text, bool skip_special, std::vector<int32_t>& ids) const {
  if (text.size() > kMaxTextBytes) {
    throw Error(
        fmt::format("a text of {} bytes: at most {} can be tokenized at once", text.size(), kMaxTextBytes));
  }
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = replace_invalid_utf8(text);
    text = repaired;
  }
  for (const AddedTokens::Span& outer : added.cut_raw(text, skip_special)) {
    const std::string_view part = text.substr(outer.range.begin, outer.range.end - outer.range.begin);
    if (outer.id >= 0) {
      ids.push_back(outer.id);
      continue;
    }
    std::string normal = normalizer.apply(part);
    if (!added.any_normalized()) {
      encode_piece(std::move(normal), ids);
      continue;
    }
    for (const AddedTokens::Span& inner : added.cut_normalized(normal, skip_special)) {
      if (inner.id >= 0) {
        ids.push_back(inner.id);
      } else {
        encode_piece(normal.substr(inner.range.begin, inner.range.end - inner.range.begin), ids);
      }
    }
  }
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool post_process) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 8);
  if (post_process) ids = impl_->prefix;
  impl_->encode(text, false, ids);
  if (post_process) ids.insert(ids.end(), impl_->suffix.begin(), impl_->suffix.end());
  return ids;
}

std::vector<int32_t> Tokenizer::encode_ordinary(std::string_view text) const {
  std::vector<int32_t> ids;
  impl_->encode(text, true, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  const TokenTable& table = impl_->model.table();
  for (const int32_t id : ids) {
    if (id < 0 || id >= table.size() || (skip_special && is_special(id))) continue;
    bytes += table.bytes(id);
  }
  return is_valid_utf8(bytes) ? bytes : replace_invalid_utf8(bytes);
}

std::string Tokenizer::piece_bytes(int32_t id) const {
  const TokenTable& table = impl_->model.table();
  return id < 0 || id >= table.size() ? std::string() : std::string(table.bytes(id));
}

int32_t Tokenizer::vocab_size() const {
  return impl_->model.table().size();
}

std::optional<int32_t> Tokenizer::id_of(std::string_view token) const {
  if (const AddedToken* added = impl_->added.find(token)) return added->id;
  if (const auto bytes = letters_to_bytes(token)) {
    const int32_t id = impl_->model.table().find(*bytes);
    if (id >= 0) return id;
  }
  const auto found = impl_->not_letters.find(std::string(token));
  return found == impl_->not_letters.end() ? std::nullopt : std::optional(found->second);
}

std::string Tokenizer::token_of(int32_t id) const {
  if (const AddedToken* added = impl_->added.find(id)) return added->content;
  const std::string bytes = piece_bytes(id);
  return impl_->model.table().find(bytes) == id ? bytes_to_letters(bytes) : bytes;
}

bool Tokenizer::is_special(int32_t id) const {
  const AddedToken* added = impl_->added.find(id);
  return added != nullptr && added->special;
}

std::string StreamDecoder::feed(int32_t id) {
  if (skip_special_ && tokenizer_.is_special(id)) return {};
  held_ += tokenizer_.piece_bytes(id);
  const size_t whole = complete_utf8_prefix(held_);
  std::string text = replace_invalid_utf8(std::string_view(held_).substr(0, whole));
  held_.erase(0, whole);
  return text;
}

std::string StreamDecoder::flush() {
  std::string text = replace_invalid_utf8(held_);
  held_.clear();
  return text;
}

}  // namespace r1
