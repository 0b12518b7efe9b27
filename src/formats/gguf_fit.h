// formats/gguf_fit.h: searches for the scales of quantised blocks. Private to the quantisers of
// gguf_blocks_quantize*.cc.
//
// N numbers x with weights w > 0 are to be approximated by few levels: by s * q with whole numbers q, by s *
// q + m, or by s * level. Each search tries a fixed list of scales around the one that just spans the
// numbers; for each it rounds every number to its level and then takes the scale (and offset) of least
// weighted squared error for these levels, in closed form. The best candidate is refined by rounding with it
// and solving again.
//
// All sums go over eight lanes, which are added in a fixed order, so the result is a function of the numbers
// alone.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace r1::gguf_fit {

inline constexpr int kLanes = 8;

inline float add_lanes(const float* lane) {
  return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

// The sum of term(i) over N.
template <int N, class Term>
float sum(const Term& term) {
  float lane[kLanes] = {};
  for (int i = 0; i < N; i += kLanes)
    for (int k = 0; k < kLanes; ++k) lane[k] += term(i + k);
  return add_lanes(lane);
}

// Rounds to nearest, ties to even: |v| < 2^22. The addition moves all but the whole part out of the mantissa.
inline float round_even(float v) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23
  return (v + kShift) - kShift;
}

inline float clamped(float v, float low, float high) {
  v = v < low ? low : v;
  return v > high ? high : v;
}

// 1 / s; 0 for a scale so small that this is infinite.
inline float inverse(float s) {
  constexpr float kLeast = 1e-38f;
  return std::fabs(s) < kLeast ? 0.0f : 1.0f / s;
}

template <int N>
float largest_magnitude(const float* x) {  // with its sign
  float most = 0.0f;
  for (int i = 0; i < N; ++i)
    if (std::fabs(x[i]) > std::fabs(most)) most = x[i];
  return most;
}

// Weights of the block that x is a part of: importance (by column, of mean 1; null: 1) times sqrt(mean square
// + x^2), so that large numbers, which matter more in a product, count more.
template <int N>
void weigh(const float* x, const float* importance, float* w) {
  const float mean = sum<N>([&](int i) { return x[i] * x[i]; }) / static_cast<float>(N);
  for (int i = 0; i < N; ++i) w[i] = std::sqrt(mean + x[i] * x[i]);
  if (importance == nullptr) return;
  for (int i = 0; i < N; ++i) w[i] *= importance[i];
}

// Levels of s * q: the whole numbers from low to high.
struct WholeLevels {
  float low, high;
  float nearest(float v) const { return round_even(clamped(v, low, high)); }
};

// The sixteen levels of IQ4_NL and IQ4_XS.
struct FixedLevels {
  static constexpr float kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                        1,    13,   25,  38,  53,  69,  89,  113};
  static constexpr float low = kLevels[0], high = kLevels[15];
  float nearest(float v) const {
    float level = kLevels[0];
    for (int i = 0; i < 15; ++i)
      level += v > 0.5f * (kLevels[i] + kLevels[i + 1]) ? kLevels[i + 1] - kLevels[i] : 0.0f;
    return level;
  }
  static int index(float level) {
    int at = 0;
    while (at < 15 && kLevels[at] != level) ++at;
    return at;
  }
};

// The scale of least weighted error for x = s * level, which may be negative; 0 for zeros.
template <int N, class Levels>
float fit_scale(const float* x, const float* w, const Levels& levels) {
  const float largest = largest_magnitude<N>(x);
  if (inverse(largest) == 0.0f) return 0.0f;
  float wx[N];
  for (int i = 0; i < N; ++i) wx[i] = w[i] * x[i];
  // With the best s for its levels, the error is a constant less gain = (sum w x q)^2 / (sum w q^2).
  float best_gain = 0.0f, best = 0.0f;
  const auto attempt = [&](float over) {
    float q[N];
    for (int i = 0; i < N; ++i) q[i] = levels.nearest(x[i] * over);
    const float qx = sum<N>([&](int i) { return wx[i] * q[i]; });
    const float qq = sum<N>([&](int i) { return w[i] * q[i] * q[i]; });
    if (!(qq > 0.0f)) return;
    const float gain = qx * qx / qq;
    if (!(gain > best_gain)) return;
    best_gain = gain;
    best = qx / qq;
  };
  // The largest number falls onto a level from a tenth below the last one to a tenth above it, on either
  // side.
  constexpr int kSteps = 9;
  for (const float end : {levels.low, levels.high}) {
    const float step = std::max(0.1f, std::fabs(end) * 0.012f);
    for (int k = -kSteps; k <= kSteps; ++k)
      attempt((end + (end < 0.0f ? -step : step) * static_cast<float>(k)) / largest);
  }
  for (int round = 0; round < 2 && best != 0.0f; ++round) attempt(inverse(best));
  return best;
}

struct Line {
  float scale = 0, least = 0;
};

// The line of least weighted error for x = scale * q + least, q from 0 to `most`; if `below`, least is at
// most 0.
template <int N>
Line fit_line(const float* x, const float* w, float most, bool below) {
  float low = *std::min_element(x, x + N);
  const float high = *std::max_element(x, x + N);
  if (below && low > 0.0f) low = 0.0f;
  if (inverse(high - low) == 0.0f) return {0.0f, low};
  float wx[N];
  for (int i = 0; i < N; ++i) wx[i] = w[i] * x[i];
  const float sw = sum<N>([&](int i) { return w[i]; }), swx = sum<N>([&](int i) { return wx[i]; });
  Line best{(high - low) / most, low};
  float best_error = INFINITY;
  const auto attempt = [&](float over, float from) {
    float q[N];
    for (int i = 0; i < N; ++i) q[i] = round_even(clamped((x[i] - from) * over, 0.0f, most));
    const float sq = sum<N>([&](int i) { return w[i] * q[i]; });
    const float sqq = sum<N>([&](int i) { return w[i] * q[i] * q[i]; });
    const float sqx = sum<N>([&](int i) { return wx[i] * q[i]; });
    const float determinant = sw * sqq - sq * sq;
    if (!(determinant > 0.0f)) return;
    Line line{(sw * sqx - sq * swx) / determinant, (sqq * swx - sq * sqx) / determinant};
    if (below && line.least > 0.0f) line = {sqx / sqq, 0.0f};
    if (!(line.scale > 0.0f)) return;
    const float error = sum<N>([&](int i) {
      const float off = line.scale * q[i] + line.least - x[i];
      return w[i] * off * off;
    });
    if (!(error < best_error)) return;
    best_error = error;
    best = line;
  };
  constexpr int kSteps = 10;
  const float step = std::max(0.05f, most * 0.01f);
  for (int k = -kSteps; k <= kSteps; ++k) attempt((most + step * static_cast<float>(k)) / (high - low), low);
  for (int round = 0; round < 2; ++round) attempt(inverse(best.scale), best.least);
  return best;
}

}  // namespace r1::gguf_fit
