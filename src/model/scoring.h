// model/scoring.h: log-probs of given tokens under a model; what `r1 score` prints and what training
// differentiates.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "model/model.h"

namespace r1 {

// A sequence whose tokens [from, end) are scored given what precedes them; 1 <= from <= size.
struct ScoredRow {
  std::span<const int32_t> tokens;
  int64_t from = 1;
};

// Shared: consecutive rows whose tokens before the first scored one are the same are a family, whose prompt
// runs once (tensor/batch.h). A family has at most kFamilyTokens scored tokens (one longer row: a family of
// its own), whatever the micro-batch, so that the order in which gradients are summed is a function of the
// rows.
enum class Prompts : uint8_t { repeated, shared };
inline constexpr int64_t kFamilyTokens = 2048;

// Rows as one forward's input: the last token of a row predicts nothing and is not run.
struct ScoreBatch {
  WholeBatch batch;
  std::vector<int32_t> targets;  // [T]: the next token where it is scored, else -1
  std::vector<int64_t> scored;   // of each row: where in [T] its scored tokens begin; they are together
};
ScoreBatch make_score_batch(std::span<const ScoredRow> rows, Prompts prompts = Prompts::repeated);

// Consecutive rows [first, second) of at most `tokens` tokens a piece, no family cut (a longer family is a
// piece of its own): a function of the rows alone.
std::vector<std::pair<size_t, size_t>> cut_micro_batches(std::span<const ScoredRow> rows, int64_t tokens,
                                                         Prompts prompts = Prompts::repeated);

// Without a tape. Result: one vector a row, of size - from log-probs. `entropy`, where given, likewise.
std::vector<std::vector<float>> score(const Model& model, Context& ctx, std::span<const ScoredRow> rows,
                                      float temperature, int64_t micro_tokens,
                                      std::vector<std::vector<float>>* entropy = nullptr);

// Takes the scored positions of a batch's flat [T] values apart, row by row.
std::vector<std::vector<float>> split_scored(const ScoreBatch& input, std::span<const ScoredRow> rows,
                                             std::span<const float> flat);

}  // namespace r1
