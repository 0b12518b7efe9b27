#include "cli/bounds.h"

#include <fmt/format.h>

#include "base/error.h"

namespace r1 {

void check_between(std::string_view option, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high)
    throw Error(fmt::format("{} is {}; it must be between {} and {}", option, value, low, high));
}

void check_row_count(int64_t rows) {
  if (rows > kMostRows)
    throw Error(fmt::format("the output would have {} rows, and at most {} are written: split the job", rows,
                            kMostRows));
}

void check_max_tokens(const SamplingFlags& flags, const ModelConfig& config) {
  if (flags.max_tokens) check_between("--max-tokens", *flags.max_tokens, 1, config.max_positions);
}

}  // namespace r1
