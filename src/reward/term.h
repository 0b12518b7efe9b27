// reward/term.h: the parts of a reward. A term looks at a whole group of samples and gives a value to each.
//
//   reward = sum over the terms of weight x value, added in double in this order:
//
//   accuracy     1 if the answer is right, else 0
//   format       1 if the response is well formed (response.h), else 0
//   overlong     [-1, 0] DAPO's soft punishment (2503.14476): 0 up to cap - overlong_tokens answer tokens, then
//                falling linearly to -1 at the cap
//   brevity      [-1, 1] right answers only: (m - n) / m, with n the answer's tokens and m the mean of the group's
//                right answers, cut to [-1, 1]. So a wrong answer gains nothing by being short, and the values of a
//                group sum to 0 unless one is cut.
//   language     [0, 1] share of the thought's words in the target language (language.h)
//   repetition   [-1, 0] minus the share of n-grams that repeat an earlier one (repetition.h)
//   length       with a target of N tokens: -min(1, |n - N| / N) (LCPO-Exact, 2503.04697). Without one, Kimi k1.5's
//                length reward (2501.12599): v = 1/2 - (n - shortest) / (longest - shortest) over the group; a right
//                answer gets v, a wrong one min(0, v); 0 for all if the group's answers are equally long
//   programs     their scores (reward.h), in the order of the file
//   endpoints    their scores, in the order of the file
//
// accuracy and format are always added, the other terms only if their weight is not 0. Samples whose verifier
// failed are not part of their group or of its means. Their value is 0 and not used.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reward/reward_config.h"

namespace r1 {

struct TermSample {
  std::string_view response{};  // the whole response (text/think.h)
  bool correct = false, well_formed = false;
  int64_t tokens = 0;  // answer tokens
  bool failed = false;
};

class Term {
 public:
  virtual ~Term() = default;
  // Returns one value per sample of the group. Safe from any thread.
  virtual std::vector<double> values(std::span<const TermSample> group) const = 0;
};

struct WeightedTerm {
  std::string name;
  double weight = 0;
  std::unique_ptr<const Term> term;
};

// Returns the terms of a configuration in the order above, without programs and endpoints. `cap` is the
// largest number of answer tokens. Throws Error for an unknown language.
std::vector<WeightedTerm> make_terms(const RewardConfig& config, int64_t cap);

}  // namespace r1
