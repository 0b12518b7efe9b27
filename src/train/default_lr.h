// train/default_lr.h: the learning rate of a run whose configuration sets none.
//
// No single rate suits models of a million and of a billion parameters: 1.5e-4, at which reinforcement
// learning is quick on r1-nano-base, destroys a pre-trained model of 1.5 billion, for which common practice
// is about 1e-6. So the default is a power law in the number of trainable parameters P, through the two known
// ends:
//
//   reinforcement learning   1.5e-4 (P / 10^6)^-0.7    at least 1e-6
//                            10^6: 1.5e-4    10^7: 3e-5     1.3 10^9 and up: 1e-6
//   fine-tuning              5e-4 (P / 10^6)^-0.53     at least 1e-5
//                            10^6: 5e-4      10^8: 4.4e-5   1.6 10^9 and up: 1e-5
//
// Below 10^6 parameters the rate is that of 10^6. The ends are measured (docs/log.md) or common practice. The
// rates between them are interpolated, not measured: a run that matters should set optimizer.lr.
#pragma once

#include <cstdint>
#include <string>

#include "formats/config_file.h"
#include "model/config.h"
#include "train/optimizer.h"

namespace r1 {

enum class Teaching : uint8_t { reinforcement, fine_tuning };

// Returns the default rate, rounded to two significant digits.
double default_lr(Teaching teaching, int64_t parameters);

// The defaults of [optimizer] in fine-tuning and reinforcement learning stages.
inline constexpr OptimizerDefaults kTeachingDefaults{.lr = std::nullopt, .warmup = 5};

// Sets the learning rate, in the file's settings too, if the file gave none, and returns a note for the user.
// Returns "" if the file gave one.
std::string choose_lr(OptimizerConfig& optimizer, ConfigFile& file, Teaching teaching,
                      const ModelConfig& model);

// PPO's critic learns faster than its policy, as is common practice: sets its learning rate, in the file's settings too, if the
// file gave none, and returns a note for the user. Returns "" if the file gave one.
std::string choose_critic_lr(OptimizerConfig& critic, ConfigFile& file, const OptimizerConfig& policy);

}  // namespace r1
