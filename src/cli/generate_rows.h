// cli/generate_rows.h: the rows of `r1 generate --input`, each a request of its own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/common.h"
#include "cli/constraints.h"
#include "engine/engine.h"
#include "formats/json.h"
#include "formats/jsonl.h"

namespace r1 {

struct GenerateRow {
  int64_t row = 0;         // its place in the input
  std::string error;       // not empty: the row could not be used, and it has no request
  std::optional<Json> id;  // any scalar; it is repeated in every output row as it was written
  Request request;         // for all samples of the row
  int64_t rows() const { return error.empty() ? request.samples : 1; }  // number of output rows
};

// Reads every row of the input, in order. A row's settings override those of `base`. `now`: local time for
// templates that write the date, in seconds since 1970. Throws Error if the output would have too many rows.
std::vector<GenerateRow> read_generate_rows(JsonlReader& input, const SamplingModel& model,
                                            const Request& base, Constraints& constraints, int64_t now);

}  // namespace r1
