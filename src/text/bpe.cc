#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <queue>

#include "base/error.h"
#include "text/utf8.h"

namespace r1 {
namespace {

// A shorter word is merged by scanning all its pairs each time, which is faster than a heap.
constexpr size_t kShortWord = 40;

// Murmur3's finaliser: every bit of the pair affects the low bits.
uint64_t mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xFF51AFD7ED558CCDULL;
  x ^= x >> 33;
  x *= 0xC4CEB9FE1A85EC53ULL;
  return x ^ (x >> 33);
}

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

// Writes unk for symbols without a token. One is held back until the next known symbol or the end, so that
// neighbours can fuse. As in tokenizers, a byte fallback is written before it.
class UnknownSymbols {
 public:
  UnknownSymbols(int32_t unk, bool fuse, std::vector<int32_t>& ids) : unk_(unk), fuse_(fuse), ids_(ids) {}
  void add() {
    if (unk_ < 0) return;  // the symbol is dropped
    if (!fuse_) release();
    waits_ = true;
  }
  void release() {
    if (waits_) ids_.push_back(unk_);
    waits_ = false;
  }

 private:
  int32_t unk_;
  bool fuse_;
  std::vector<int32_t>& ids_;
  bool waits_ = false;
};

}  // namespace

TokenTable::TokenTable(std::vector<TokenBytes> tokens, int32_t size)
    : offsets_(size + 1, 0), slots_(std::bit_ceil(tokens.size() * 2 + 2), -1) {
  std::sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  size_t bytes = 0;
  for (const auto& token : tokens) bytes += token.bytes.size();
  pool_.reserve(bytes);
  int32_t filled = 0;  // offsets_[0 .. filled] are set
  for (const auto& [token, id, is_word] : tokens) {
    R1_CHECK(filled <= id && id < size, "token ids are distinct and below ", size, ", got ", id);
    while (filled < id) offsets_[++filled] = pool_.size();
    pool_ += token;
    offsets_[++filled] = pool_.size();
    if (token.empty() || !is_word) continue;
    size_t slot = std::hash<std::string_view>()(token) & (slots_.size() - 1);
    while (slots_[slot] >= 0) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = id;
  }
  while (filled < size) offsets_[++filled] = pool_.size();
}

int32_t TokenTable::find(std::string_view wanted) const {
  if (wanted.empty()) return -1;
  size_t slot = std::hash<std::string_view>()(wanted) & (slots_.size() - 1);
  for (; slots_[slot] >= 0; slot = (slot + 1) & (slots_.size() - 1)) {
    if (bytes(slots_[slot]) == wanted) return slots_[slot];
  }
  return -1;
}

BpeModel::BpeModel(TokenTable table, std::span<const Merge> merges,
                   const std::variant<ByteTokens, CharacterTokens>& symbols, bool ignore_merges)
    : table_(std::move(table)),
      symbols_(symbols),
      pairs_(std::bit_ceil(merges.size() * 2 + 2)),
      ignore_merges_(ignore_merges),
      whole_(new std::atomic<Whole>[table_.size()]()) {
  if (const ByteTokens* bytes = std::get_if<ByteTokens>(&symbols_)) all_bytes_ = bytes->is_whole();
  for (const Merge& merge : merges) {
    const uint64_t key = pair_key(merge.left, merge.right);
    size_t slot = mix(key) & (pairs_.size() - 1);
    while (pairs_[slot].key != ~uint64_t{0} && pairs_[slot].key != key)
      slot = (slot + 1) & (pairs_.size() - 1);
    pairs_[slot] = {key, merge.rank, merge.result};
  }
}

BpeModel::Found BpeModel::find_merge(int32_t left, int32_t right) const {
  const uint64_t key = pair_key(left, right);
  size_t slot = mix(key) & (pairs_.size() - 1);
  for (; pairs_[slot].key != ~uint64_t{0}; slot = (slot + 1) & (pairs_.size() - 1)) {
    if (pairs_[slot].key == key) return {pairs_[slot].rank, pairs_[slot].result};
  }
  return {};
}

void BpeModel::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  const int32_t id = table_.find(word);
  if (id < 0) return merge_all(word, ids);
  const Whole known = ignore_merges_ ? Whole::yes : whole_[id].load(std::memory_order_relaxed);
  if (known == Whole::unknown) {
    const size_t begin = ids.size();
    merge_all(word, ids);
    const bool whole = ids.size() == begin + 1 && ids.back() == id;
    whole_[id].store(whole ? Whole::yes : Whole::no, std::memory_order_relaxed);
  } else if (known == Whole::yes) {
    ids.push_back(id);
  } else {
    merge_all(word, ids);
  }
}

void BpeModel::merge_all(std::string_view word, std::vector<int32_t>& ids) const {
  const size_t begin = ids.size();
  if (all_bytes_) {
    const ByteTokens& bytes = std::get<ByteTokens>(symbols_);
    for (const char byte : word) ids.push_back(bytes.id[static_cast<unsigned char>(byte)]);
  } else if (std::holds_alternative<ByteTokens>(symbols_)) {
    put_bytes(word, ids);
  } else {
    put_characters(word, ids);
  }
  if (ids.size() - begin <= kShortWord) {
    merge_short(ids, begin);
  } else {
    merge_long(ids, begin);
  }
}

void BpeModel::put_bytes(std::string_view word, std::vector<int32_t>& ids) const {
  const ByteTokens& bytes = std::get<ByteTokens>(symbols_);
  UnknownSymbols unknown(bytes.unk, bytes.fuse_unk, ids);
  for (const char c : word) {
    const auto byte = static_cast<unsigned char>(c);
    if (const int32_t id = bytes.id[byte]; id >= 0) {
      unknown.release();
      ids.push_back(id);
    } else if (bytes.fallback[byte][0] >= 0) {
      for (const int32_t part : bytes.fallback[byte]) {
        if (part >= 0) ids.push_back(part);
      }
    } else {
      unknown.add();
    }
  }
  unknown.release();
}

void BpeModel::put_characters(std::string_view word, std::vector<int32_t>& ids) const {
  const CharacterTokens& tokens = std::get<CharacterTokens>(symbols_);
  UnknownSymbols unknown(tokens.unk, tokens.fuse_unk, ids);
  const auto byte_token = [&](char c) { return tokens.bytes[static_cast<unsigned char>(c)]; };
  for (size_t at = 0; at < word.size();) {
    const std::string_view character = word.substr(at, static_cast<size_t>(decode_utf8(word, at).size));
    at += character.size();
    if (const int32_t id = table_.find(character); id >= 0) {
      unknown.release();
      ids.push_back(id);
    } else if (std::ranges::all_of(character, [&](char c) { return byte_token(c) >= 0; })) {
      for (const char c : character) ids.push_back(byte_token(c));
    } else {
      unknown.add();
    }
  }
  unknown.release();
}

void BpeModel::merge_short(std::vector<int32_t>& ids, size_t begin) const {
  int32_t* symbol = ids.data() + begin;
  size_t n = ids.size() - begin;
  Found pair[kShortWord];  // pair[i] merges symbol[i] and symbol[i + 1]
  for (size_t i = 0; i + 1 < n; ++i) pair[i] = find_merge(symbol[i], symbol[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (pair[i].rank < pair[best].rank) best = i;
    }
    if (pair[best].result < 0) break;
    symbol[best] = pair[best].result;
    std::move(symbol + best + 2, symbol + n, symbol + best + 1);
    if (best + 2 < n) std::move(pair + best + 2, pair + n - 1, pair + best + 1);
    --n;
    if (best > 0) pair[best - 1] = find_merge(symbol[best - 1], symbol[best]);
    if (best + 1 < n) pair[best] = find_merge(symbol[best], symbol[best + 1]);
  }
  ids.resize(begin + n);
}

void BpeModel::merge_long(std::vector<int32_t>& ids, size_t begin) const {
  // Symbols are a linked list, and a heap holds candidate merges ordered by (rank, position). A candidate is
  // stale if the pair at its position now has another merge.
  struct Symbol {
    int32_t id;  // -1 if merged into its left neighbour
    uint32_t before;
    uint32_t after;
  };
  struct Candidate {
    uint32_t rank;
    uint32_t at;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  const size_t n = ids.size() - begin;
  constexpr uint32_t kNone = UINT32_MAX;
  R1_CHECK(n < kNone, "a word of ", n, " bytes");
  std::vector<Symbol> symbols(n);
  for (size_t i = 0; i < n; ++i) {
    const auto at = static_cast<uint32_t>(i);
    symbols[i] = {ids[begin + i], i == 0 ? kNone : at - 1, i + 1 == n ? kNone : at + 1};
  }
  std::vector<Candidate> store;
  store.reserve(n);
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap({}, std::move(store));
  const auto push = [&](uint32_t at) {
    if (at == kNone || symbols[at].after == kNone) return;
    const Found found = find_merge(symbols[at].id, symbols[symbols[at].after].id);
    if (found.result >= 0) heap.push({found.rank, at});
  };
  for (size_t i = 0; i < n; ++i) push(static_cast<uint32_t>(i));
  while (!heap.empty()) {
    const Candidate top = heap.top();
    heap.pop();
    Symbol& left = symbols[top.at];
    if (left.id < 0 || left.after == kNone) continue;
    Symbol& right = symbols[left.after];
    const Found found = find_merge(left.id, right.id);
    if (found.result < 0 || found.rank != top.rank) continue;
    left.id = found.result;
    right.id = -1;
    left.after = right.after;
    if (left.after != kNone) symbols[left.after].before = top.at;
    push(left.before);
    push(top.at);
  }
  size_t out = begin;
  for (uint32_t at = 0; at != kNone; at = symbols[at].after) ids[out++] = symbols[at].id;
  ids.resize(out);
}

}  // namespace r1
