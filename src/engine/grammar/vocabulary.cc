#include "engine/grammar/vocabulary.h"

#include <algorithm>

#include "base/error.h"
#include "text/think.h"

namespace r1 {
namespace {

// Returns true if bytes of the token, or those before it and its first ones, are </think>, and more follow.
bool goes_behind_tag(std::string_view piece) {
  for (size_t end = 1; end < piece.size(); ++end) {
    const std::string_view begin = piece.substr(0, end);
    if (begin.ends_with(kThinkClose) || kThinkClose.ends_with(begin)) return true;
  }
  return false;
}

}  // namespace

std::shared_ptr<const TokenVocabulary> TokenVocabulary::of(const Tokenizer& tokenizer, int64_t vocab_size) {
  std::vector<std::string> pieces(static_cast<size_t>(vocab_size));
  std::vector<bool> special(pieces.size(), true);
  for (int32_t id = 0; id < std::min<int64_t>(tokenizer.vocab_size(), vocab_size); ++id) {
    pieces[static_cast<size_t>(id)] = tokenizer.piece_bytes(id);
    special[static_cast<size_t>(id)] = tokenizer.is_special(id);
  }
  return std::make_shared<const TokenVocabulary>(std::move(pieces), special);
}

TokenVocabulary::TokenVocabulary(std::vector<std::string> pieces, const std::vector<bool>& special)
    : pieces_(std::move(pieces)), special_(special) {
  R1_CHECK(pieces_.size() == special_.size(), pieces_.size(), " tokens, ", special_.size(), " flags");
  for (int32_t id = 0; id < size(); ++id) {
    if (goes_behind_tag(bytes(id))) tag_ends_.push_back(id);
  }
  std::vector<int32_t> order;
  for (size_t id = 0; id < pieces_.size(); ++id) {
    // A longer token is no text.
    if (!special_[id] && !pieces_[id].empty() && pieces_[id].size() <= UINT16_MAX)
      order.push_back(static_cast<int32_t>(id));
  }
  std::ranges::sort(order, [&](int32_t a, int32_t b) {
    const int compared = bytes(a).compare(bytes(b));
    return compared != 0 ? compared < 0 : a < b;
  });
  std::vector<uint32_t> path;  // the nodes of the token before
  const auto close = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back())
      nodes_[path.back()].end = static_cast<uint32_t>(nodes_.size());
  };
  std::string_view before;
  for (const int32_t id : order) {
    const std::string_view piece = bytes(id);
    const auto same = static_cast<size_t>(std::ranges::mismatch(before, piece).in2 - piece.begin());
    close(same);
    for (size_t depth = same; depth < piece.size(); ++depth) {
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back({.end = 0,
                        .first_token = static_cast<uint32_t>(token_ids_.size()),
                        .tokens = 0,
                        .depth = static_cast<uint16_t>(depth + 1),
                        .byte = static_cast<uint8_t>(piece[depth])});
    }
    deepest_ = std::max(deepest_, std::ssize(piece));
    ++nodes_[path.back()].tokens;
    token_ids_.push_back(id);
    before = piece;
  }
  close(0);
}

}  // namespace r1
