#include "text/gguf_sentencepiece.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "formats/shown.h"
#include "text/piece_merges.h"

namespace r1 {
namespace {

constexpr std::string_view kScores = "tokenizer.ggml.scores", kPieces = "tokenizer.ggml.tokens",
                           kPieceTypes = "tokenizer.ggml.token_type",
                           kSpacePrefix = "tokenizer.ggml.add_space_prefix";
constexpr const char* kSpaceMark = "\xE2\x96\x81";  // U+2581

std::vector<double> read_scores(const GgufMetadata& metadata, size_t count) {
  std::vector<double> scores = metadata.numbers(kScores);
  if (scores.size() != count)
    metadata.fail(kScores, fmt::format("has {} elements, and there are {} tokens", scores.size(), count));
  for (size_t id = 0; id < scores.size(); ++id) {
    if (std::isnan(scores[id])) metadata.fail(kScores, fmt::format("has nan for token {}", id));
  }
  return scores;
}

// Tells what text can become by merging: no control token, no byte, not the unknown token. A user-defined
// token is found in the text before, unless it has the mark that only normalising writes.
bool can_merge(const GgufVocabulary& vocabulary, size_t id) {
  const int64_t kind = vocabulary.kinds[id];
  if (kind == GgufVocabulary::kUserDefined)
    return vocabulary.is_token(id) && vocabulary.tokens[id].find(kSpaceMark) != std::string_view::npos;
  return vocabulary.is_token(id) && kind != GgufVocabulary::kControl && kind != GgufVocabulary::kUnknown &&
         kind != GgufVocabulary::kByte;
}

// Gives equal scores equal ranks, the highest score the rank 0.
std::vector<RankedPiece> ranked_pieces(const GgufMetadata& metadata, const GgufVocabulary& vocabulary) {
  const std::vector<double> scores = read_scores(metadata, vocabulary.tokens.size());
  std::vector<double> distinct;
  for (size_t id = 0; id < scores.size(); ++id) {
    if (can_merge(vocabulary, id)) distinct.push_back(scores[id]);
  }
  std::ranges::sort(distinct, std::greater<>());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  std::vector<RankedPiece> pieces;
  for (size_t id = 0; id < scores.size(); ++id) {
    if (!can_merge(vocabulary, id)) continue;
    const std::string_view text = vocabulary.tokens[id];
    if (text.size() > kMaxPieceBytes) {
      metadata.fail(kPieces, fmt::format("has token {} of {} bytes; at most {} are accepted", id, text.size(),
                                         kMaxPieceBytes));
    }
    const auto rank = std::ranges::lower_bound(distinct, scores[id], std::greater<>());
    pieces.push_back({text, static_cast<uint32_t>(rank - distinct.begin())});
  }
  return pieces;
}

// A character without a token becomes its bytes, if the vocabulary has byte pieces, or else unk.
void read_fallback(const GgufMetadata& metadata, const GgufVocabulary& vocabulary, TokenizerSpec& spec) {
  bool has[256] = {};
  size_t count = 0;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (vocabulary.kinds[id] != GgufVocabulary::kByte) continue;
    int byte = 0;
    while (byte < 256 && vocabulary.tokens[id] != fmt::format("<0x{:02X}>", byte)) ++byte;
    if (byte == 256) {
      metadata.fail(kPieceTypes, fmt::format("calls token {}, {}, a byte; a byte reads <0x41>", id,
                                             shown(vocabulary.tokens[id])));
    }
    has[byte] = true;
    ++count;
  }
  const int32_t unk = read_gguf_special_tokens(metadata).unk;
  if (count == 0 && unk < 0)
    metadata.fail(kPieceTypes,
                  "names no byte pieces, and the file has no unknown token for other characters");
  if (unk >= 0) spec.unk_token = vocabulary.tokens[static_cast<size_t>(unk)];
  spec.fuse_unk = true;
  spec.byte_fallback = count > 0;
  if (count == 0) return;
  const bool* missing = std::find(std::begin(has), std::end(has), false);
  if (missing != std::end(has)) {
    metadata.fail(kPieceTypes, fmt::format("names {} byte pieces; <0x{:02X}> is missing", count,
                                           missing - std::begin(has)));
  }
}

Json string_pattern(std::string_view text) {
  return Json::object().set("String", text);
}

Json replace_step(std::string_view pattern, std::string_view content) {
  return Json::object()
      .set("type", "Replace")
      .set("pattern", string_pattern(pattern))
      .set("content", content);
}

Json list_of(const char* name, Json parts) {
  return Json::object().set("type", "Sequence").set(name, std::move(parts));
}

}  // namespace

GgufPieceRules gguf_piece_rules(bool space_prefix) {
  Json steps = Json::array();
  if (space_prefix) steps.push_back(Json::object().set("type", "Prepend").set("prepend", kSpaceMark));
  steps.push_back(replace_step(" ", kSpaceMark));
  Json decoders = Json::array();
  decoders.push_back(replace_step(kSpaceMark, " "));
  decoders.push_back(Json::object().set("type", "ByteFallback"))
      .push_back(Json::object().set("type", "Fuse"));
  if (space_prefix) {
    decoders.push_back(
        Json::object().set("type", "Strip").set("content", " ").set("start", 1).set("stop", 0));
  }
  return {.normalizer = list_of("normalizers", std::move(steps)),
          .decoder = list_of("decoders", std::move(decoders))};
}

void read_gguf_sentencepiece(const GgufMetadata& metadata, const GgufVocabulary& vocabulary,
                             GgufTokenizerParts& parts) {
  if (!metadata.contains(kPieceTypes)) metadata.fail(kPieceTypes, "is missing");
  parts.spec.symbols = TokenizerSpec::Symbols::characters;
  read_fallback(metadata, vocabulary, parts.spec);
  PieceMerges merges = merges_of_pieces(ranked_pieces(metadata, vocabulary), true);
  parts.spec.merges = std::move(merges.merges);
  parts.spec.ranks = std::move(merges.ranks);
  GgufPieceRules rules = gguf_piece_rules(metadata.get_bool_or(kSpacePrefix, true));
  parts.rules = {.normalizer = std::move(rules.normalizer), .add_bos = true};
  parts.decoder = std::move(rules.decoder);
  parts.spec.decoder = DecoderRules::parse(parts.decoder);
}

}  // namespace r1
