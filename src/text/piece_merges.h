// text/piece_merges.h: the merges of a vocabulary that lists its tokens in the order in which they were
// learnt, or with scores, and not its merges: SentencePiece's BPE models and tiktoken's files.
//
// Two neighbours merge if their joined text is a token; the token's rank says which pair is first, and of
// equal ranks the leftmost. So a token has one merge for each way to cut it into two tokens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace r1 {

// A token that longer ones are made of, and its rank: the lowest is merged first.
struct RankedPiece {
  std::string_view text;
  uint32_t rank = 0;
};

struct PieceMerges {
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  std::vector<uint32_t> ranks;
};

// The time to cut a token grows with the square of its size.
inline constexpr size_t kMaxPieceBytes = 1024;

// Pieces are distinct, in UTF-8 (at_characters: cut only between characters) or any bytes, and have at most
// kMaxPieceBytes.
PieceMerges merges_of_pieces(const std::vector<RankedPiece>& pieces, bool at_characters);

}  // namespace r1
