// A pair turns once in t = 2 pi theta^(2i / P) positions. llama3 leaves pairs with t < C / high alone,
// divides those with t > C / low by the factor F, and between them divides by 1 / ((1 - s) / F + s) with the
// share s = (C / t - low) / (high - low). With low = 1 and a guess of high, each pair between gives C = t (1
// + s (high - 1)).
#include "model/gguf_rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "base/math.h"

namespace r1 {
namespace {

constexpr double kNear = 1e-4;  // relative; the file's factors are f32

double positions_a_turn(double theta, size_t i, size_t pairs) {
  return 2.0 * std::numbers::pi * exact_pow(theta, static_cast<double>(i) / static_cast<double>(pairs));
}

bool is_near(double a, double b) {
  return std::fabs(a - b) <= kNear * std::fabs(b);
}

double expected_factor(const RopeConfig& config, double turn) {
  const auto context = static_cast<double>(config.original_positions);
  if (turn < context / config.high_freq_factor) return 1.0;
  if (turn > context / config.low_freq_factor) return config.factor;
  const double share =
      (context / turn - config.low_freq_factor) / (config.high_freq_factor - config.low_freq_factor);
  return 1.0 / ((1.0 - share) / config.factor + share);
}

bool gives(const RopeConfig& config, std::span<const float> factors) {
  for (size_t i = 0; i < factors.size(); ++i) {
    const double want = expected_factor(config, positions_a_turn(config.theta, i, factors.size()));
    if (!is_near(static_cast<double>(factors[i]), want)) return false;
  }
  return true;
}

// The contexts that the pairs between the two ends ask for, if the high factor is `high`.
std::vector<double> contexts_of(std::span<const float> factors, double theta, double factor, double high) {
  std::vector<double> out;
  for (size_t i = 0; i < factors.size(); ++i) {
    const auto f = static_cast<double>(factors[i]);
    if (is_near(f, 1.0) || is_near(f, factor)) continue;
    const double share = (1.0 / f - 1.0 / factor) / (1.0 - 1.0 / factor);
    out.push_back(positions_a_turn(theta, i, factors.size()) * (1.0 + share * (high - 1.0)));
  }
  return out;
}

}  // namespace

std::optional<RopeConfig> llama3_rope_of(std::span<const float> factors, double theta) {
  if (factors.empty()) return std::nullopt;
  RopeConfig config{.type = RopeType::llama3, .theta = theta};
  const double largest = static_cast<double>(*std::ranges::max_element(factors));
  config.factor = is_near(std::round(largest), largest) ? std::round(largest) : largest;
  if (!(config.factor > 1.0) || !std::isfinite(config.factor)) return std::nullopt;
  for (const double high : {4.0, 2.0, 3.0, 8.0}) {
    config.high_freq_factor = high;
    std::vector<double> contexts = contexts_of(factors, theta, config.factor, high);
    contexts.push_back(8192.0);  // of Llama 3; the only guess if no pair lies between
    std::ranges::nth_element(contexts, contexts.begin() + static_cast<std::ptrdiff_t>(contexts.size() / 2));
    const double middle = contexts[contexts.size() / 2];
    for (const double context : {8192.0, std::round(middle), std::round(contexts.front())}) {
      if (!(context >= 1.0 && context < 0x1p31)) continue;
      config.original_positions = static_cast<int64_t>(context);
      if (gives(config, factors)) return config;
    }
  }
  return std::nullopt;
}

}  // namespace r1
