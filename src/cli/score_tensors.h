// cli/score_tensors.h: what `r1 score` writes as safetensors. A file appears when all of it is there.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "cli/score_rows.h"
#include "model/lanes.h"
#include "model/model.h"

namespace r1 {

// "logits.<row>" [T, V] of every row that could be used; with `last`, only the last `last` of the T.
void write_logits(std::span<const ScoreRow> rows, const Model& model, Context& ctx,
                  std::optional<int64_t> last, const std::string& path);

// "loss": the mean over all scored tokens of minus their log-prob; "grad.<name>": its gradient for every
// trainable parameter. Throws Error if no row has a token to score.
void write_gradients(std::span<const ScoreRow> rows, Model& model, Lanes& lanes, double temperature,
                     const std::string& path);

}  // namespace r1
