// model/scoring.h: log-probs of given tokens under a model. `r1 score` prints them and training
// differentiates them. Of a value model (ModelConfig::value_head) they are the values before these tokens: its
// head's output at the positions where the others predict them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "model/lanes.h"
#include "model/model.h"
#include "model/token_range.h"
#include "tensor/numerics.h"

namespace r1 {

// A sequence and the ranges of its tokens that are scored, each token given all tokens before it. Nothing
// precedes token 0, so it is never scored.
struct ScoredRow {
  // Scores the tokens [from, end); 1 <= from <= size.
  ScoredRow(std::span<const int32_t> row, int64_t from);
  ScoredRow(std::span<const int32_t> row, TokenRanges scored);

  std::span<const int32_t> tokens;
  TokenRanges ranges;
  // Returns the first scored position, or size if no token is scored.
  int64_t first_scored() const { return ranges.empty() ? std::ssize(tokens) : ranges.front().begin; }
  int64_t scored() const { return count_tokens(ranges); }  // number of tokens
};

// With `shared`, consecutive rows with equal tokens before the first scored one form a group. A group is cut
// into families, and the prompt runs once per family (tensor/batch.h). The cut of a group depends on its rows
// alone; so does the order in which gradients are summed. Tokens between the ranges of a row belong to the
// row, not to the prompt.
enum class Prompts : uint8_t { repeated, shared };

// Rows [begin, end) of the list, which must stay together.
struct PromptFamily {
  size_t begin = 0, end = 0;
  int64_t prompt = 0;  // tokens that run once, before the rows; 0: every row runs whole
  int64_t tokens = 0;  // all tokens that run
};
std::vector<PromptFamily> prompt_families(std::span<const ScoredRow> rows, Prompts prompts,
                                          const GradientCut& cut = {});

// The most scored tokens of a family (a longer row is a family of its own). A short family is one thread's
// work and stays in its caches; with a long prompt, a family has enough tokens to make the prompt's
// repetition cheap.
constexpr int64_t most_family_tokens(int64_t prompt, const GradientCut& cut = {}) {
  return std::clamp(cut.prompts * prompt, cut.least, cut.most);
}
// Cuts a group of answers to a prompt of `prompt` tokens (that are not themselves scored) into families of
// about the same size. answers[i] is the number of tokens of answer i that run behind the prompt. Returns the
// number of rows of each family.
std::vector<size_t> cut_group(std::span<const int64_t> answers, int64_t prompt, const GradientCut& cut = {});

// Rows as the input of one forward. The last token of a row predicts nothing and does not run.
struct ScoreBatch {
  WholeBatch batch;
  std::vector<int32_t> targets;  // [T]: the next token if it is scored, else -1
  // Per row: where in [T] its first scored token is predicted. Its token p is predicted p - first_scored
  // later.
  std::vector<int64_t> scored;
};
// The families are whole and consecutive.
ScoreBatch make_score_batch(std::span<const ScoredRow> rows, std::span<const PromptFamily> families);
ScoreBatch make_score_batch(std::span<const ScoredRow> rows, Prompts prompts = Prompts::repeated);

// Cuts consecutive families into pieces [first, second) of at most `tokens` tokens each (a longer family is a
// piece of its own).
std::vector<std::pair<size_t, size_t>> cut_pieces(std::span<const PromptFamily> families, int64_t tokens);

// Options of score() and differentiate().
struct ScoringOptions {
  float temperature = 1.0f;
  int64_t micro_tokens = 4096;  // most tokens whose activations are held at a time
  Prompts prompts = Prompts::shared;
  bool entropy = false;  // differentiate() computes entropies
  // Activation checkpointing in differentiate(): a layer's activations are dropped after its forward and computed
  // again for its backward. It changes memory and time, and no bit.
  bool recompute = false;
};

// Applies the head to hidden states [T, D] and returns [T]: the log-probs of `targets` (-1: none), or a value model's
// values. `entropy`, if given, receives the entropies; a value model has none.
Tensor head_scores(Context& ctx, const Model& model, const Tensor& hidden, std::span<const int32_t> targets,
                   float temperature, const Tensor& entropy = {});

// Runs without a tape. Returns one vector per row: the log-probs of its scored tokens, in order.
std::vector<std::vector<float>> score(const Model& model, Lanes& lanes, std::span<const ScoredRow> rows,
                                      const ScoringOptions& options);

// A row in differentiate(): the log-probs of its scored tokens, range after range, their entropies (if
// options.entropy), and the gradients of the log-probs, which the caller sets (empty for a row that is only
// scored). All other tokens have gradient 0.
struct RowGradient {
  size_t row;
  std::span<const float> logprobs, entropy;
  std::span<float> gradient;
};

// Adds to the gradients of the model's parameters: forward, set(row) for every row, backward. The last `idle`
// rows are only scored: their gradients are known to be 0, and they fill the threads' waits at the end. Rows
// go in pieces that threads may take side by side, so set may be called from several threads, for rows in any
// order. Its arguments and all gradients are functions of the rows alone.
void differentiate(Model& model, Lanes& lanes, std::span<const ScoredRow> rows, const ScoringOptions& options,
                   const std::function<void(const RowGradient&)>& set, const RouterTraining& routers = {},
                   size_t idle = 0);

}  // namespace r1
