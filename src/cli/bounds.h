// cli/bounds.h: limits on the size of a job. A larger job is refused before memory is allocated.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cli/commands.h"
#include "model/config.h"

namespace r1 {

inline constexpr int64_t kMostSamples = 65'536;  // per prompt
// Rows of an output. A journal's index takes 12 bytes per row.
inline constexpr int64_t kMostRows = int64_t{1} << 24;
inline constexpr int64_t kMostBatch = 65'536;  // sequences at a time
inline constexpr int64_t kMostPrefillChunk = int64_t{1} << 20;
inline constexpr int64_t kMostProblems = 1'000'000;

// Throws Error "--batch is 0; it must be between 1 and 65536".
void check_between(std::string_view option, int64_t value, int64_t low, int64_t high);

// Throws Error if `rows` rows are more than one output may have.
void check_row_count(int64_t rows);

// Throws Error if --max-tokens is given and is more than the model's context holds.
void check_max_tokens(const SamplingFlags& flags, const ModelConfig& config);

}  // namespace r1
