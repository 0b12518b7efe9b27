// text/bpe.h: byte-pair encoding of one word (Sennrich, Haddow, Birch 2016), over bytes, as GPT-2 does, or
// over characters, as SentencePiece does.
//
// The adjacent pair whose merge has the lowest rank is merged, the leftmost of equal ranks first, until no
// pair has a merge. The work for a word of n characters grows as n log n.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace r1 {

struct TokenBytes {
  std::string bytes;
  int32_t id = -1;
  bool is_word = true;  // found by its bytes; false for what merging never makes
};

// Byte strings by id, ids by byte string.
class TokenTable {
 public:
  // Ids are distinct, 0 <= id < size. An id that no token has stands for an empty string.
  TokenTable(std::vector<TokenBytes> tokens, int32_t size);
  int32_t size() const { return static_cast<int32_t>(offsets_.size()) - 1; }
  std::string_view bytes(int32_t id) const {
    return std::string_view(pool_).substr(offsets_[id], offsets_[id + 1] - offsets_[id]);
  }
  int32_t find(std::string_view bytes) const;  // of the words; -1: none

 private:
  std::string pool_;
  std::vector<uint64_t> offsets_;  // [size + 1]
  std::vector<int32_t> slots_;     // open addressing; -1: free
};

struct Merge {
  int32_t left = 0;
  int32_t right = 0;
  int32_t result = 0;
  uint32_t rank = 0;
};

// The symbols that bytes become before merging: letters of the byte alphabet.
struct ByteTokens {
  std::array<int32_t, 256> id{};                          // the byte's token, -1: none
  std::array<std::array<int32_t, 2>, 256> fallback = {};  // instead of one that is missing; -1: no token
  int32_t unk = -1;       // instead of a byte that has neither; -1: it is dropped
  bool fuse_unk = false;  // neighbours share one unk
  bool is_whole() const { return std::ranges::find(id, -1) == id.end(); }
};

// The symbols that characters become before merging. A character is a token of the table; else, if each of
// its bytes has a token here, these; else unk, which neighbours may share; without an unk it is dropped.
struct CharacterTokens {
  std::array<int32_t, 256> bytes{};  // -1: none
  int32_t unk = -1;
  bool fuse_unk = false;
};

class BpeModel {
 public:
  // If two merges have one pair, the later counts, as in Hugging Face's loader. With ignore_merges a word
  // that is a token is that token.
  BpeModel(TokenTable table, std::span<const Merge> merges,
           const std::variant<ByteTokens, CharacterTokens>& symbols, bool ignore_merges);

  // Appends the ids of one word. Safe from many threads.
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const;
  const TokenTable& table() const { return table_; }

 private:
  struct PairSlot {
    uint64_t key = ~uint64_t{0};  // left << 32 | right
    uint32_t rank = 0;
    int32_t result = 0;
  };
  struct Found {
    uint32_t rank = UINT32_MAX;  // no merge
    int32_t result = -1;
  };
  Found find_merge(int32_t left, int32_t right) const;
  void merge_all(std::string_view word, std::vector<int32_t>& ids) const;
  void put_bytes(std::string_view word, std::vector<int32_t>& ids) const;
  void put_characters(std::string_view word, std::vector<int32_t>& ids) const;
  void merge_short(std::vector<int32_t>& ids, size_t begin) const;
  void merge_long(std::vector<int32_t>& ids, size_t begin) const;

  TokenTable table_;
  std::variant<ByteTokens, CharacterTokens> symbols_;
  bool all_bytes_ = false;  // each byte has a letter's token
  std::vector<PairSlot> pairs_;
  bool ignore_merges_ = false;
  // Tells if merging turns a word that is a token into that token: not known yet, yes (the usual case), no.
  // Relaxed accesses suffice, because every thread finds the same value.
  enum class Whole : uint8_t { unknown, yes, no };
  std::unique_ptr<std::atomic<Whole>[]> whole_;
};

}  // namespace r1
