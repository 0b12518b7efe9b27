// train/default_lr.h: the learning rate of a run that names none.
//
// One number cannot serve a model of a million parameters and one of a billion: 1.5e-4, at which
// reinforcement learning is quick on r1-nano-base, destroys a pre-trained model of 1.5 billion, for which
// practice has settled near 1e-6. So the default follows a power of the number of trainable parameters P,
// through the two ends that are known:
//
//   reinforcement learning   1.5e-4 (P / 10^6)^-0.7    at least 1e-6
//                            10^6: 1.5e-4    10^7: 3e-5     1.3 10^9 and up: 1e-6
//   fine-tuning              5e-4 (P / 10^6)^-0.53     at least 1e-5
//                            10^6: 5e-4      10^8: 4.4e-5   1.6 10^9 and up: 1e-5
//
// Below 10^6 parameters it is that of 10^6. The ends are measured (docs/log.md) or common practice; what lies
// between is interpolated and has not been measured: a run that matters sets optimizer.lr.
#pragma once

#include <cstdint>
#include <string>

#include "formats/config_file.h"
#include "model/config.h"
#include "train/optimizer.h"

namespace r1 {

enum class Teaching : uint8_t { reinforcement, fine_tuning };

// Rounded to two significant digits.
double default_lr(Teaching teaching, int64_t parameters);

// What a fine-tuning or reinforcement learning stage reads [optimizer] with.
inline constexpr OptimizerDefaults kTeachingDefaults{.lr = std::nullopt, .warmup = 5};

// If the file gave no lr: sets it, in the file's settings too. Returns what to tell a person; "" if it gave
// one.
std::string choose_lr(OptimizerConfig& optimizer, ConfigFile& file, Teaching teaching,
                      const ModelConfig& model);

}  // namespace r1
