#include "train/default_lr.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/math.h"
#include "model/memory.h"

namespace r1 {

double default_lr(Teaching teaching, int64_t parameters) {
  const bool rl = teaching == Teaching::reinforcement;
  const double at_a_million = rl ? 1.5e-4 : 5e-4, power = rl ? -0.7 : -0.53, least = rl ? 1e-6 : 1e-5;
  const double millions = std::max(1.0, static_cast<double>(parameters) / 1e6);
  const double lr = std::max(least, at_a_million * exact_pow(millions, power));
  return std::strtod(fmt::format("{:.1e}", lr).c_str(), nullptr);
}

std::string choose_lr(OptimizerConfig& optimizer, ConfigFile& file, Teaching teaching,
                      const ModelConfig& model) {
  if (!optimizer.lr_by_size) return "";
  const int64_t gradients = model_memory(model, Numerics::cpu_f32, DType::f32).gradients;
  const int64_t parameters = gradients / static_cast<int64_t>(sizeof(float));
  optimizer.lr = default_lr(teaching, parameters);
  optimizer.lr_by_size = false;
  file.override_with("optimizer.lr", Json(optimizer.lr));
  return fmt::format(
      "optimizer.lr is not set: {} is taken, by the model's {:.3g} million parameters, after {} steps of "
      "warm-up",
      optimizer.lr, static_cast<double>(parameters) / 1e6, optimizer.warmup);
}

std::string choose_critic_lr(OptimizerConfig& critic, ConfigFile& file, const OptimizerConfig& policy) {
  if (!critic.lr_by_size) return "";
  constexpr double kFaster = 4;
  critic.lr = std::min(kFaster * policy.lr, 1.0);
  critic.lr_by_size = false;
  file.override_with("critic.lr", Json(critic.lr));
  return fmt::format("critic.lr is not set: {} is taken, {} times optimizer.lr", critic.lr, kFaster);
}

}  // namespace r1
