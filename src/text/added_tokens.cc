#include "text/added_tokens.h"

#include <unicode/uchar.h>

#include <algorithm>

#include "text/byte_alphabet.h"
#include "text/unicode_delta.h"
#include "text/utf8.h"

namespace r1 {
namespace {

// Returns true for Unicode's word characters (UTS 18, annex C), as Rust's regex crate defines them.
bool is_word(char32_t code) {
  if (code < 0x80) {
    return (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z') || (code >= '0' && code <= '9') ||
           code == '_';
  }
  // ICU may be older than Unicode 16. A character that it does not know is alphabetic if it is a letter or a
  // mark.
  if (const UnicodeRange* range = find_new_character(code)) {
    return range->category[0] == 'L' || range->category[0] == 'M' ||
           std::string_view(range->category) == "Nd";
  }
  const auto c = static_cast<UChar32>(code);
  constexpr uint32_t kMask = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || (U_GET_GC_MASK(c) & kMask) != 0 ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

bool is_space(char32_t code) {
  return u_isUWhiteSpace(static_cast<UChar32>(code));
}

// Returns the start of the last character of text[0, end). Requires end > 0.
size_t step_back(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool is_word_alone(std::string_view text, size_t begin, size_t end) {
  if (begin > 0 && is_word(decode_utf8(text, step_back(text, begin)).code)) return false;
  return end == text.size() || !is_word(decode_utf8(text, end).code);
}

// Finds the end of the white space at text[at]. It remembers its last result, so that a run of white space
// before several tokens is scanned only once.
class SpaceEnd {
 public:
  explicit SpaceEnd(std::string_view text) : text_(text) {}
  size_t operator()(size_t at) {
    if (at < begin_ || at >= end_) {
      begin_ = end_ = at;
      while (end_ < text_.size()) {
        const Utf8Step step = decode_utf8(text_, end_);
        if (!is_space(step.code)) break;
        end_ += step.size;
      }
    }
    return end_;
  }

 private:
  std::string_view text_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace

void TokenTrie::add(std::string_view content, int32_t id) {
  if (content.empty()) return;
  starts_[static_cast<unsigned char>(content[0])] = true;
  uint64_t node = 0;
  for (const char byte : content) {
    const auto [edge, is_new] =
        next_.try_emplace(node << 8 | static_cast<unsigned char>(byte), token_.size());
    if (is_new) token_.push_back(-1);
    node = edge->second;
  }
  if (token_[node] < 0) token_[node] = id;
}

TokenTrie::Hit TokenTrie::longest_at(std::string_view text, size_t at) const {
  Hit hit;
  if (!may_begin(text[at])) return hit;
  uint64_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto edge = next_.find(node << 8 | static_cast<unsigned char>(text[i]));
    if (edge == next_.end()) break;
    node = edge->second;
    if (token_[node] >= 0) hit = {token_[node], i + 1 - at};
  }
  return hit;
}

std::vector<int32_t> AddedTokens::add(const std::vector<AddedToken>& batch, const Vocabulary& vocabulary,
                                      const Normalizer& normalizer) {
  std::vector<int32_t> ids;
  int32_t next = std::max(vocabulary.count, size());
  for (const AddedToken& token : batch) {
    if (token.content.empty()) {
      ids.push_back(-1);
      continue;
    }
    int32_t id = id_of(token.content);
    if (id >= 0 && token.if_known != AddedToken::IfKnown::replace) {
      if (token.if_known == AddedToken::IfKnown::make_special) special_.insert(token.content);
      ids.push_back(id);
      continue;
    }
    if (id < 0) id = vocabulary.id_of(token.content);
    if (id < 0) id = next++;
    ids.push_back(id);
    // The normalised content of an earlier token with the same id stays, as in tokenizers.
    if (token.normalized) {
      std::string normal = normalizer.apply(token.content);
      if (normal != token.content) normal_[id] = std::move(normal);
    }
    ids_[token.content] = id;
    if (token.special) special_.insert(token.content);
    tokens_[id] = {.token = token};
  }
  rebuild();
  return ids;
}

void AddedTokens::rebuild() {
  raw_ = {};
  normalized_ = {};
  has_.assign(static_cast<size_t>(size()), false);
  for (auto& [id, entry] : tokens_) {
    const auto normal = normal_.find(id);
    const std::string& shown = normal == normal_.end() ? entry.token.content : normal->second;
    entry.bytes = letters_ ? letters_to_bytes(shown).value_or(shown) : shown;
    entry.skipped = special_.contains(shown);
    has_[static_cast<size_t>(id)] = true;
    if (entry.token.normalized) {
      normalized_.add(shown, id);
    } else {
      raw_.add(entry.token.content, id);
    }
  }
}

const std::string* AddedTokens::content_of(int32_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : &found->second.token.content;
}

int32_t AddedTokens::id_of(std::string_view content) const {
  const auto found = ids_.find(std::string(content));
  return found == ids_.end() ? -1 : found->second;
}

const std::string* AddedTokens::bytes_of(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= has_.size() || !has_[static_cast<size_t>(id)]) return nullptr;
  return &tokens_.find(id)->second.bytes;
}

bool AddedTokens::is_skipped(int32_t id) const {
  const auto found = tokens_.find(id);
  return found != tokens_.end() && found->second.skipped;
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
  SpaceEnd space_end(text);
  size_t done = 0;  // the end of the last token's span
  for (size_t at = 0; !trie.empty() && at < text.size();) {
    if (!trie.may_begin(text[at])) {
      ++at;
      continue;
    }
    const TokenTrie::Hit hit = trie.longest_at(text, at);
    if (hit.size == 0) {
      ++at;
      continue;
    }
    // If a match is discarded, all of it is skipped; matches that begin inside it are ignored.
    const AddedToken& token = tokens_.find(hit.id)->second.token;
    size_t begin = at;
    size_t end = at + hit.size;
    at = end;
    if (skip_special && special_.contains(token.content)) continue;
    if (token.single_word && !is_word_alone(text, begin, end)) continue;
    if (token.lstrip) {
      while (begin > done && is_space(decode_utf8(text, step_back(text, begin)).code))
        begin = step_back(text, begin);
      begin = std::max(begin, done);
    }
    if (token.rstrip) end = space_end(end);
    // A token with lstrip has no text left if the previous token took the white space around it.
    if (begin >= end) continue;
    if (done < begin) spans.push_back({{done, begin}, -1});
    spans.push_back({{begin, end}, hit.id});
    // The search continues at the end of the match, before the white space that the token took. A token that
    // is found in that white space counts too, and the text after it is ordinary text, even if it was taken.
    done = end;
  }
  if (done < text.size()) spans.push_back({{done, text.size()}, -1});
  return spans;
}

}  // namespace r1
