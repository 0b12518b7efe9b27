#include "text/added_tokens.h"

#include <unicode/uchar.h>

#include <algorithm>

#include "base/error.h"
#include "text/utf8.h"

namespace r1 {
namespace {

// Unicode's word characters (UTS 18, annex C).
bool is_word(char32_t code) {
  const auto c = static_cast<UChar32>(code);
  constexpr uint32_t kMask = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || (U_GET_GC_MASK(c) & kMask) != 0 ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

bool is_space(char32_t code) {
  return u_isUWhiteSpace(static_cast<UChar32>(code));
}

// Where the last character of text[0, end) begins; end > 0.
size_t step_back(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool is_word_alone(std::string_view text, size_t begin, size_t end) {
  if (begin > 0 && is_word(decode_utf8(text, step_back(text, begin)).code)) return false;
  return end == text.size() || !is_word(decode_utf8(text, end).code);
}

}  // namespace

void TokenTrie::add(std::string_view content, size_t index) {
  if (content.empty()) return;
  starts_[static_cast<unsigned char>(content[0])] = true;
  uint64_t node = 0;
  for (const char byte : content) {
    const auto [edge, is_new] =
        next_.try_emplace(node << 8 | static_cast<unsigned char>(byte), token_.size());
    if (is_new) token_.push_back(-1);
    node = edge->second;
  }
  token_[node] = static_cast<int64_t>(index);
}

TokenTrie::Hit TokenTrie::longest_at(std::string_view text, size_t at) const {
  Hit hit;
  if (!starts_[static_cast<unsigned char>(text[at])]) return hit;
  uint64_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto edge = next_.find(node << 8 | static_cast<unsigned char>(text[i]));
    if (edge == next_.end()) break;
    node = edge->second;
    if (token_[node] >= 0) hit = {static_cast<size_t>(token_[node]), i + 1 - at};
  }
  return hit;
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer)
    : tokens_(std::move(tokens)) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    by_content_.emplace(token.content, i);
    by_id_.emplace(token.id, i);
    if (token.normalized) {
      normalized_.add(normalizer.apply(token.content), i);
    } else {
      raw_.add(token.content, i);
    }
  }
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

std::vector<AddedTokens::Span> AddedTokens::cut_raw(std::string_view text, bool skip_special) const {
  return cut(raw_, text, skip_special);
}

std::vector<AddedTokens::Span> AddedTokens::cut_normalized(std::string_view text, bool skip_special) const {
  return cut(normalized_, text, skip_special);
}

std::vector<AddedTokens::Span> AddedTokens::cut(const TokenTrie& trie, std::string_view text,
                                                bool skip_special) const {
  std::vector<Span> spans;
  if (text.empty()) return spans;
  size_t done = 0;  // text[0, done) is in spans
  for (size_t at = 0; !trie.empty() && at < text.size();) {
    const TokenTrie::Hit hit = trie.longest_at(text, at);
    if (hit.size == 0) {
      ++at;
      continue;
    }
    // A match that is discarded is passed over as a whole: what begins inside it is not looked at.
    const AddedToken& token = tokens_[hit.index];
    size_t begin = at;
    size_t end = at + hit.size;
    at = end;
    if (skip_special && token.special) continue;
    if (token.single_word && !is_word_alone(text, begin, end)) continue;
    if (token.lstrip) {
      while (begin > done && is_space(decode_utf8(text, step_back(text, begin)).code))
        begin = step_back(text, begin);
    }
    if (token.rstrip) {
      while (end < text.size() && is_space(decode_utf8(text, end).code)) end += decode_utf8(text, end).size;
    }
    // After an rstrip the search goes on where the token's own characters ended, which may lie in text
    // already taken.
    begin = std::max(begin, done);
    if (end <= done) continue;
    if (done < begin) spans.push_back({{done, begin}, -1});
    spans.push_back({{begin, end}, token.id});
    done = end;
  }
  if (done < text.size()) spans.push_back({{done, text.size()}, -1});
  return spans;
}

}  // namespace r1
