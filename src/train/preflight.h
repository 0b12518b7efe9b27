// train/preflight.h: measures before the first step of a GRPO or PPO run if answers are cut off, if rewards differ
// within groups, and how long a step takes.
//
// Samples are keyed by (seed, kPreflightStep + round, prompt, sample), which no step of a run and no
// evaluation uses; problems are the run's first ones. Training is timed on one micro-batch, whose gradients
// are then cleared. So no bit of the run depends on its preflight.
//
// At least `groups` groups are sampled, and more as long as a refusal is near but not justified. No group is
// begun once `seconds` have passed. A run is refused for two reasons only:
//
//   truncated   The lower end of the 95 % interval of the truncated share is above kMostTruncated. The interval
//               is Wilson's with n / d samples; d >= 1 is the design effect of sampling in groups (Kish 1965).
//   no signal   None of n groups has rewards that differ (with a critic: from the first sample's reward), and a step would have less than one such group even at
//               the upper end of the 95 % interval of their share, 1 - 0.05^(1/n): about three steps of groups.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/model_bundle.h"
#include "formats/json.h"
#include "train/grpo.h"
#include "train/memory.h"

namespace r1 {

inline constexpr uint32_t kPreflightStep = 0x50524546;  // "PREF"
inline constexpr double kMostTruncated = 0.9;

struct PreflightLimits {
  int64_t groups = 8;
  double seconds = 30;
};

// Counts over one group of samples.
struct GroupTally {
  int64_t samples = 0, right = 0, well_formed = 0, truncated = 0, verifier_failed = 0;
  int64_t tokens = 0, longest = 0;  // of the answers
  double reward = 0, spread = 0;    // mean and standard deviation within the group
  bool signal = false;  // the rewards differ; with a critic, one differs from the first sample's of all
};

struct Share {
  double value = 0, low = 0, high = 1;  // a share with its 95 % interval
};

struct Preflight {
  std::vector<GroupTally> groups;
  int64_t max_tokens = 0;             // of the run
  int64_t sampled_to = 0;             // the limit of answer tokens here; below max_tokens if time was short
  int64_t groups_a_step = 0;          // the largest number of groups that a step samples
  double seconds = 0;                 // the time that the preflight took
  MemoryEstimate memory;              // of a step
  double sample_s = 0, verify_s = 0;  // of a step, from the measured rate
  double score_s = 0, train_s = 0;    // of a step, from one micro-batch
  int64_t micro_batch = 0;            // tokens of that micro-batch; 0: none was measured
  int64_t steps = 0;

  int64_t samples() const;
  Share truncated() const;
  Share accuracy() const;
  Share signal() const;  // of groups
  double step_s() const { return sample_s + verify_s + score_s + train_s; }
};

// Returns the number of groups without signal that justifies a refusal.
int64_t groups_to_refuse(int64_t groups_a_step);

// A problem of the run, and advice.
struct PreflightFinding {
  std::string what, advice;
  bool refuses = false;  // false: a warning
};
std::vector<PreflightFinding> findings(const Preflight& preflight, const GrpoConfig& config);

// Samples and measures. Throws Error if a step does not fit into memory, and Stopped if options.stop returns
// true.
Preflight run_preflight_samples(ModelBundle& bundle, const GrpoConfig& config, const PreflightLimits& limits,
                                ThreadPool& threads, const TrainOptions& options);

// Returns lines for the user: the figures, then the findings.
std::vector<std::string> preflight_table(const Preflight& preflight, std::span<const PreflightFinding> found);
Json to_json(const Preflight& preflight, std::span<const PreflightFinding> found);

}  // namespace r1
