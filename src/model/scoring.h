// model/scoring.h: log-probs of given tokens under a model; what `r1 score` prints and what training
// differentiates.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "model/lanes.h"
#include "model/model.h"

namespace r1 {

// A sequence whose tokens [from, end) are scored given what precedes them; 1 <= from <= size.
struct ScoredRow {
  std::span<const int32_t> tokens;
  int64_t from = 1;
};

// Shared: consecutive rows whose tokens before the first scored one are the same are a group, cut into
// families, whose prompt runs once each (tensor/batch.h). How a group is cut depends on its rows alone, so
// that the order in which gradients are summed does, too.
enum class Prompts : uint8_t { repeated, shared };

// Rows [begin, end) of the list. What cannot be cut.
struct PromptFamily {
  size_t begin = 0, end = 0;
  int64_t prompt = 0;  // tokens that run once, at the head; 0: every row whole
  int64_t tokens = 0;  // all that are run
};
std::vector<PromptFamily> prompt_families(std::span<const ScoredRow> rows, Prompts prompts);

// Scored tokens of a family, at most (one longer row: a family of its own). Short ones are a thread's work
// that stays in its caches; where the prompt is long, a family has enough tokens to make its repetition
// cheap.
constexpr int64_t most_family_tokens(int64_t prompt) {
  constexpr int64_t kLeast = 384, kMost = 2048, kPrompts = 16;
  return std::clamp(kPrompts * prompt, kLeast, kMost);
}
// Rows of each family of a group of answers of so many scored tokens to a prompt of `prompt` tokens (that are
// not scored themselves): about the same size each.
std::vector<size_t> cut_group(std::span<const int64_t> scored, int64_t prompt);

// Rows as one forward's input: the last token of a row predicts nothing and is not run.
struct ScoreBatch {
  WholeBatch batch;
  std::vector<int32_t> targets;  // [T]: the next token where it is scored, else -1
  std::vector<int64_t> scored;   // of each row: where in [T] its scored tokens begin; they are together
};
// Of whole families, which are consecutive.
ScoreBatch make_score_batch(std::span<const ScoredRow> rows, std::span<const PromptFamily> families);
ScoreBatch make_score_batch(std::span<const ScoredRow> rows, Prompts prompts = Prompts::repeated);

// Consecutive families [first, second) of at most `tokens` tokens a piece (a longer one is a piece of its
// own).
std::vector<std::pair<size_t, size_t>> cut_pieces(std::span<const PromptFamily> families, int64_t tokens);

// How rows go through a model.
struct ScoringOptions {
  float temperature = 1.0f;
  int64_t micro_tokens = 4096;  // the most tokens whose activations are held at a time
  Prompts prompts = Prompts::shared;
  bool entropy = false;  // is wanted of differentiate()
};

// Without a tape. Result: one vector a row, of size - from log-probs.
std::vector<std::vector<float>> score(const Model& model, Lanes& lanes, std::span<const ScoredRow> rows,
                                      const ScoringOptions& options);

// A row in differentiate(): its scored tokens' log-probs, their entropies (where wanted), and the gradients
// of their log-probs, which the caller sets (empty for a row that is only scored).
struct RowGradient {
  size_t row;
  std::span<const float> logprobs, entropy;
  std::span<float> gradient;
};

// Adds to the gradients of the model's parameters: forward, set(row) for every row, backward; the last `idle`
// rows are only scored (whose gradients are known to be 0: they fill the threads' waits at the end). Rows go
// by pieces that threads may take side by side, so set may be called from several threads, for rows in any
// order; what it is given, and all gradients, are functions of the rows alone.
void differentiate(Model& model, Lanes& lanes, std::span<const ScoredRow> rows, const ScoringOptions& options,
                   const std::function<void(const RowGradient&)>& set, const RouterTraining& routers = {},
                   size_t idle = 0);

}  // namespace r1
