// reward/program/program_pool.h: [[reward.program]]: processes that read rows and write scores (scorer.h),
// one JSON object per line, in any order.
//
// - An answer belongs to the row with its id. If a row is answered twice, the first answer counts.
// - A process is killed with its group if it ends, prints a line that is not an answer, or gives no answer
// within
//   timeout_s. Its rows are asked again, each alone in a fresh process. A row that fails there too has failed, and
//   its `why` gives the reason. So the outcome of a row depends on that row alone, not on its neighbours or on the
//   process.
// - A row fails at once if its answer has no usable score.
// - Standard error is read continuously. Its end is quoted if the process fails.
// - If no row has ever been answered and kHopeless rows have failed, the remaining rows fail without being
// asked.
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
  // Starts no process yet.
  explicit ProgramPool(const ProgramConfig& config);
  ~ProgramPool() override;  // kills all processes
  std::vector<ScoreAnswer> ask(std::span<const RowToScore> rows, const std::function<void()>& tick) override;
  std::vector<std::string> take_notes() override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace r1
