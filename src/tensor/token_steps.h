// tensor/token_steps.h: the steps of sums over the tokens of a batch on tensor cores.
//
// A tensor core adds the products of kTokenStep tokens in one instruction. A batch consists of families
// (model/scoring.h), which may run together or apart, depending on the memory. So that this changes no bit of
// a weight's gradient, no step has tokens of two families: the last step of a family is filled up with tokens
// that are not there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace r1 {

inline constexpr int64_t kTokenStep = 16;

struct TokenSteps {
  std::span<const int64_t> families;  // the tokens of each
  // [steps * kTokenStep]: the batch's tokens in order; -1: none. `device` is the same list on the device.
  std::span<const int32_t> rows;
  const int32_t* device = nullptr;
};

// The list for families of so many tokens, which follow each other in the batch.
inline std::vector<int32_t> token_step_rows(std::span<const int64_t> families) {
  std::vector<int32_t> rows;
  int32_t token = 0;
  for (const int64_t tokens : families) {
    for (int64_t i = 0; i < tokens; ++i) rows.push_back(token++);
    while (rows.size() % kTokenStep != 0) rows.push_back(-1);
  }
  return rows;
}

}  // namespace r1
