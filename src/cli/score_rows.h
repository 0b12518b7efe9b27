// cli/score_rows.h: the rows of `r1 score --input`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "formats/json.h"
#include "formats/jsonl.h"
#include "model/config.h"

namespace r1 {

struct ScoreRow {
  int64_t row = 0;         // its place in the input
  std::string error;       // not empty: the row could not be used
  std::optional<Json> id;  // any scalar; it is repeated in the output row as it was written
  std::vector<int32_t> tokens;
  int64_t from = 1;  // the first scored position
  int64_t size() const { return static_cast<int64_t>(tokens.size()); }
  // A single token has no score: it is conditioned on nothing.
  bool has_scores() const { return error.empty() && size() >= 2; }
};

// Reads every row, in order. Throws Error if there are too many.
std::vector<ScoreRow> read_score_rows(JsonlReader& input, const ModelConfig& config);

}  // namespace r1
