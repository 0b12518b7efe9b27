// A tiktoken.model of any bytes is read, or refused with one line. What is read has tokens, each with a rank.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "text/piece_merges.h"
#include "text/tiktoken_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto tokens = r1::parse_tiktoken({reinterpret_cast<const char*>(data), size}, "fuzz");
    if (tokens.empty()) std::abort();
    std::vector<r1::RankedPiece> pieces;
    for (const r1::TiktokenToken& token : tokens) {
      if (token.bytes.empty() || token.rank < 0) std::abort();
      pieces.push_back({token.bytes, static_cast<uint32_t>(token.rank)});
    }
    const r1::PieceMerges merges = r1::merges_of_pieces(pieces, false);
    if (merges.merges.size() != merges.ranks.size()) std::abort();
  } catch (const r1::Error& error) {
    const std::string_view why = error.what();
    if (!why.starts_with("fuzz:") || why.find('\n') != std::string_view::npos) std::abort();
  }
  return 0;
}
