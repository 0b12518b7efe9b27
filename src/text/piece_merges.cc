#include "text/piece_merges.h"

#include <algorithm>
#include <numeric>
#include <unordered_set>

#include "base/error.h"

namespace r1 {

PieceMerges merges_of_pieces(const std::vector<RankedPiece>& pieces, bool at_characters) {
  std::unordered_set<std::string_view> known;
  known.reserve(pieces.size());
  for (const RankedPiece& piece : pieces) known.insert(piece.text);
  std::vector<size_t> order(pieces.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return pieces[i].rank; });
  PieceMerges out;
  for (const size_t i : order) {
    const std::string_view text = pieces[i].text;
    R1_CHECK(text.size() <= kMaxPieceBytes, text.size());
    for (size_t cut = 1; cut < text.size(); ++cut) {
      if (at_characters && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) continue;
      if (!known.contains(text.substr(0, cut)) || !known.contains(text.substr(cut))) continue;
      out.merges.emplace_back(text.substr(0, cut), text.substr(cut));
      out.ranks.push_back(pieces[i].rank);
    }
  }
  return out;
}

}  // namespace r1
