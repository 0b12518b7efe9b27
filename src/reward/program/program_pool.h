// reward/program/program_pool.h: [[reward.program]]: processes that read rows and write scores (scorer.h), one JSON
// object a line, in any order.
//
// - An answer belongs to the row of its id. If a row is answered twice, the first answer counts.
// - A process that ends, prints a line that is no answer, or gives no answer within timeout_s is killed with its group.
//   The rows that it had are asked again, each alone in a fresh process. A row that fails there again has failed; its
//   `why` says how. So what is said of a row depends on that row alone, not on its neighbours or on the
//   process.
// - An answer that names its row but has no usable score fails at once.
// - Standard error is read all the time; its end is quoted if the process fails.
// - If no row has ever been answered and kHopeless rows have failed, the remaining rows fail without being asked.
#pragma once

#include <cstdint>
#include <memory>

#include "reward/reward_config.h"
#include "reward/scorer.h"

namespace r1 {

inline constexpr int64_t kHopeless = 8;
inline constexpr size_t kMaxAnswerLine = size_t{1} << 20;  // bytes

class ProgramPool : public Scorer {
 public:
  // Starts nothing yet.
  explicit ProgramPool(const ProgramConfig& config);
  ~ProgramPool() override;  // kills all processes
  std::vector<ScoreAnswer> ask(std::span<const RowToScore> rows, const std::function<void()>& tick) override;
  std::vector<std::string> take_notes() override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace r1
