#include "text/gguf_sentencepiece_write.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "formats/shown.h"
#include "text/gguf_sentencepiece.h"
#include "text/piece_merges.h"

namespace r1 {
namespace {

[[noreturn]] void refuse_pieces(const std::string& source, const std::string& what) {
  throw Error(
      fmt::format("{}: {}, so no other program would cut a text as this one does: give --no-tokenizer "
                  "to write the weights alone",
                  source, what));
}

std::pair<std::string, std::string> pair_of(const Json& merge) {
  if (merge.is_array()) return {merge.at(0).string(), merge.at(1).string()};
  const std::string& text = merge.string();
  const size_t space = text.find(' ', 1);
  return {text.substr(0, space), text.substr(std::min(space, text.size() - 1) + 1)};
}

std::vector<std::pair<std::string, std::string>> merges_of_json(const Json& tokenizer_json) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const Json& merge : tokenizer_json.at("model").at("merges").items()) {
    if (!merge.is_array() && merge.string().starts_with("#version")) continue;
    out.push_back(pair_of(merge));
  }
  return out;
}

bool reads_as(const Json& tokenizer_json, bool prefix) {
  const GgufPieceRules rules = gguf_piece_rules(prefix);
  const Json* const normalizer = tokenizer_json.find("normalizer");
  const Json* const decoder = tokenizer_json.find("decoder");
  return normalizer != nullptr && *normalizer == rules.normalizer && decoder != nullptr &&
         *decoder == rules.decoder;
}

bool has_prefix(const Json& tokenizer_json, const std::string& source) {
  const Json* const pre = tokenizer_json.find("pre_tokenizer");
  if (pre == nullptr || pre->is_null()) {
    if (reads_as(tokenizer_json, true)) return true;
    if (reads_as(tokenizer_json, false)) return false;
  }
  refuse_pieces(source,
                "pre_tokenizer, normalizer and decoder are not those of Llama 2, which GGUF supposes of "
                "SentencePiece's vocabularies");
}

}  // namespace

bool is_sentencepiece(const Json& tokenizer_json) {
  const Json* const pre = tokenizer_json.find("pre_tokenizer");
  return pre == nullptr || pre->is_null() || pre->dump().find("\"ByteLevel\"") == std::string::npos;
}

GgufPieces gguf_pieces(const Json& tokenizer_json, const std::vector<std::string>& tokens,
                       const std::vector<bool>& can_merge, const std::string& source) {
  GgufPieces out;
  out.space_prefix = has_prefix(tokenizer_json, source);
  // A piece's rank is the place of its first merge among those of the other pieces.
  std::vector<std::pair<std::string, std::string>> merges = merges_of_json(tokenizer_json);
  std::map<std::string, uint32_t> ranks;
  std::vector<uint32_t> wanted;  // per merge
  for (const auto& [left, right] : merges)
    wanted.push_back(ranks.emplace(left + right, static_cast<uint32_t>(ranks.size())).first->second);
  std::vector<RankedPiece> pieces;
  for (size_t id = 0; id < tokens.size(); ++id) {
    const auto rank = ranks.find(tokens[id]);
    const bool merged = can_merge[id] && rank != ranks.end();
    out.scores.push_back(merged ? -static_cast<float>(rank->second) : -static_cast<float>(ranks.size()));
    if (can_merge[id])
      pieces.push_back({tokens[id], merged ? rank->second : static_cast<uint32_t>(ranks.size())});
  }
  const PieceMerges read = merges_of_pieces(pieces, true);
  std::vector<std::pair<uint32_t, std::pair<std::string, std::string>>> got, want;
  for (size_t i = 0; i < read.merges.size(); ++i) got.emplace_back(read.ranks[i], read.merges[i]);
  for (size_t i = 0; i < merges.size(); ++i) want.emplace_back(wanted[i], std::move(merges[i]));
  std::ranges::sort(got);
  std::ranges::sort(want);
  const auto [at, other] = std::ranges::mismatch(want, got);
  if (at != want.end() || other != got.end()) {
    const auto& [left, right] = (at != want.end() ? *at : *other).second;
    refuse_pieces(source, fmt::format("the merge of {} and {} does not follow from scores of the tokens, "
                                      "which is how GGUF orders merges",
                                      shown(left), shown(right)));
  }
  return out;
}

}  // namespace r1
