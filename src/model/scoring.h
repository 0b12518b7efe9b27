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

// Rows as one forward's input: the last token of a row predicts nothing and is not run.
struct ScoreBatch {
  WholeBatch batch;
  std::vector<int32_t> targets;  // [T]: the next token where it is scored, else -1
};
ScoreBatch make_score_batch(std::span<const ScoredRow> rows);

// Consecutive rows [first, second) of at most `tokens` tokens a piece (a longer row is a piece of its own): a
// function of the rows' lengths alone.
std::vector<std::pair<size_t, size_t>> cut_micro_batches(std::span<const ScoredRow> rows, int64_t tokens);

// Without a tape. Result: one vector a row, of size - from log-probs. `entropy`, where given, likewise.
std::vector<std::vector<float>> score(const Model& model, Context& ctx, std::span<const ScoredRow> rows,
                                      float temperature, int64_t micro_tokens,
                                      std::vector<std::vector<float>>* entropy = nullptr);

// Takes the scored positions of a batch's flat [T] values apart, row by row.
std::vector<std::vector<float>> split_scored(std::span<const ScoredRow> rows, std::span<const float> flat);

}  // namespace r1
