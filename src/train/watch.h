// train/watch.h: warns about a reinforcement learning run from the rows of its metrics.jsonl. Each warning is
// given once, with the step and advice. A resumed run adds its earlier rows again, so that no warning is
// repeated.
//
// A window is the mean over kWindow steps; the first window is the run's beginning, the last one its present.
//
//   entropy    the last window is below kLeastEntropy nats and below kEntropyShare of the first
//   truncated  the last window is above kMostCutOff, and kCutOffRise above the first
//   held out   an evaluation's pass@1 is below its own best so far by more than the 95 % interval of the
//              difference, and the reward's last window is above the one at that best by kRewardRise of its size
//   no signal  no group of kFlatSteps consecutive steps had rewards that differ (without a critic)
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "formats/json.h"

namespace r1 {

inline constexpr int64_t kWindow = 5;  // steps
inline constexpr double kLeastEntropy = 0.05, kEntropyShare = 0.2;
inline constexpr double kMostCutOff = 0.5, kCutOffRise = 0.2;
inline constexpr double kRewardRise = 0.02;
inline constexpr int64_t kFlatSteps = 3;

class TrainingWatch {
 public:
  // Takes a step's row and returns the new warnings.
  std::vector<std::string> add(const Json& row);

 private:
  struct Series {
    std::vector<double> first, last;  // at most kWindow values each
    void add(double value);
    bool full() const { return static_cast<int64_t>(first.size()) == kWindow; }
    double start() const;
    double now() const;
  };
  struct Best {
    double pass_at_1 = -1, deviation = 0, reward = 0;
    int64_t step = 0;
  };
  void watch_entropy(const Json& row, std::vector<std::string>& said);
  void watch_length(const Json& row, std::vector<std::string>& said);
  void watch_held_out(const Json& row, std::vector<std::string>& said);
  void watch_signal(const Json& row, std::vector<std::string>& said);

  Series entropy_, truncated_, reward_;
  std::map<std::string, Best> best_;  // evaluation -> its best figure
  int64_t flat_ = 0;                  // consecutive steps without signal
  double flat_reward_ = 0;            // the sum of their rewards
  bool said_entropy_ = false, said_length_ = false, said_held_out_ = false, said_signal_ = false;
};

}  // namespace r1
