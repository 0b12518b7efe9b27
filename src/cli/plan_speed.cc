#include "cli/plan_speed.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string>

#include "engine/speed.h"
#include "model/plan.h"

namespace r1 {
namespace {

constexpr int64_t kSliceBytes = int64_t{640} << 20;  // many times what caches hold
constexpr int64_t kLargestSlice = int64_t{3} << 30;  // of a shape whose single layers are large
constexpr int64_t kSmallVocabulary = 256, kDeep = 4096;

// A part of a model, and the formats of its matrices.
struct Slice {
  ModelConfig config;
  WeightFormats formats;
  HeldMatrices held = {};
};

// Formats of layers that are spread over those of the model.
WeightFormats formats_of_slice(const WeightFormats& whole, const ModelConfig& config,
                               const ModelConfig& slice) {
  constexpr std::string_view kLayers = "model.layers.";
  WeightFormats out{.by_name = {}, .rest = whole.rest};
  const int64_t dense = slice.first_dense_layers, others = slice.layers - dense;
  for (const auto& [name, format] : whole.by_name) {
    if (!name.starts_with(kLayers)) out.by_name.emplace(name, format);
  }
  for (int64_t i = 0; i < slice.layers; ++i) {
    const int64_t from = i < dense ? i
                                   : config.first_dense_layers +
                                         (i - dense) * (config.layers - config.first_dense_layers) / others;
    const std::string prefix = fmt::format("{}{}.", kLayers, from);
    for (auto at = whole.by_name.lower_bound(prefix);
         at != whole.by_name.end() && at->first.starts_with(prefix); ++at)
      out.by_name.emplace(fmt::format("{}{}.{}", kLayers, i, at->first.substr(prefix.size())), at->second);
  }
  return out;
}

Slice slice_of(const ModelConfig& config, Numerics numerics, const WeightFormats& formats) {
  Slice out{.config = config, .formats = formats};
  ModelConfig& slice = out.config;
  slice.max_positions = std::min(config.max_positions, 2 * kDeep);
  const auto measure = [&] {
    out.formats = formats_of_slice(formats, config, slice);
    out.held = held_matrices(slice, numerics, out.formats);
    return out.held.all;
  };
  slice.first_dense_layers = std::min<int64_t>(config.first_dense_layers, config.layers);
  if (measure() <= kSliceBytes) return out;
  // Experts that a token does not choose are not read; a few of them make the choice change.
  const int64_t fewest = std::max(2 * config.moe.active, 2 * config.moe.groups);
  if (slice.moe.experts > fewest) slice.moe.experts = fewest;
  slice.first_dense_layers = std::min<int64_t>(config.first_dense_layers, 1);
  for (slice.layers = slice.first_dense_layers + 1;; ++slice.layers) {
    slice.vocab_size = std::clamp(config.vocab_size * slice.layers / config.layers,
                                  std::min(kSmallVocabulary, config.vocab_size), config.vocab_size);
    if (measure() >= kSliceBytes || slice.layers == config.layers) return out;
  }
}

// The median of several runs.
double median_of(const std::function<double()>& run) {
  double times[5];
  for (double& t : times) t = run();
  std::ranges::sort(times);
  return times[2];
}

// The median of several runs of about a tenth of a second, whose contexts end before `positions`.
double median_step(SpeedMeter& meter, int64_t depth, int64_t positions) {
  const double once = meter.decode_step(1, depth, 2);
  const int64_t most = std::clamp<int64_t>(positions - depth - 1, 2, 256);
  const int64_t steps = std::clamp(static_cast<int64_t>(0.1 / once), int64_t{2}, most);
  return median_of([&] { return meter.decode_step(1, depth, steps); });
}

// The median of several readings of `tokens` tokens of a prompt, or the faster one of two if one takes long.
double median_prompt(SpeedMeter& meter, int64_t depth, int64_t tokens) {
  constexpr double kLong = 0.4;
  const double once = meter.prefill(1, depth, tokens);
  if (once > kLong) return std::min(once, meter.prefill(1, depth, tokens));
  return median_of([&] { return meter.prefill(1, depth, tokens); });
}

// Returns the speed that the limits allow: every weight is read once per token, or every product is computed at
// the peak.
SpeedForecast limit_of(const ModelConfig& config, Numerics numerics, double bytes,
                       const MachineLimits& limits) {
  SpeedForecast out;
  out.token_s = bytes / limits.bytes_per_s;
  out.position_s =
      static_cast<double>(kv_bytes_per_token(config, row_of(numerics).cache)) / limits.bytes_per_s;
  out.layers_gb_s = limits.bytes_per_s * 1e-9;
  const ModelSizes sizes = model_sizes(config);
  const auto tokens = static_cast<double>(kForecastPrompt);
  const auto flops = [&](double depth) { return tokens * forward_flops(config, sizes, depth + tokens / 2); };
  if (limits.operations_per_s <= 0) return out;
  out.prompt_s = std::max(out.token_s, flops(0) / limits.operations_per_s);
  out.prompt_position_s = (flops(1) - flops(0)) / limits.operations_per_s;
  return out;
}

}  // namespace

SpeedForecast forecast_speed(const ModelConfig& config, Numerics numerics, const WeightFormats& formats,
                             ThreadPool& threads, const MachineLimits& limits, Memory& memory,
                             int64_t bytes) {
  const HeldMatrices held = held_matrices(config, numerics, formats);
  const double read_bytes = step_weight_bytes(config, held, 1);
  const Slice slice = slice_of(config, numerics, formats);
  if (2 * slice.held.all > bytes || slice.held.all > kLargestSlice)
    return limit_of(config, numerics, read_bytes, limits);
  SpeedForecast out;
  out.measured = true;
  const int64_t most = slice.config.max_positions;
  const int64_t prompt = std::min(kForecastPrompt, most / 2);
  const int64_t deep = std::min(kDeep, most - prompt);
  const Model model = Model::of_noise(slice.config, activation_dtype(numerics), &slice.formats, memory);
  SpeedMeter meter(model, threads, numerics, 1, std::min(most, deep + prompt));
  const int64_t positions = std::min(most, deep + prompt);
  meter.decode_step(1, 0, 2);  // fills the caches
  const double step = median_step(meter, 0, positions), deep_step = median_step(meter, deep - 1, positions);
  const double read = median_prompt(meter, 0, prompt), deep_read = median_prompt(meter, deep, prompt);
  const double slice_bytes = step_weight_bytes(slice.config, slice.held, 1);
  const double layers = static_cast<double>(config.layers) / static_cast<double>(slice.config.layers);
  out.layers_gb_s = slice_bytes / step * 1e-9;
  out.token_s = step * read_bytes / slice_bytes;
  out.position_s =
      std::max(0.0, deep_step - step) / static_cast<double>(std::max<int64_t>(deep - 1, 1)) * layers;
  // A prompt's tokens read experts that the slice lacks; the work of a token is the same.
  const double lacking = step_weight_bytes(config, held, kForecastPrompt) -
                         layers * step_weight_bytes(slice.config, slice.held, kForecastPrompt);
  const double longer = static_cast<double>(kForecastPrompt) / static_cast<double>(prompt);
  out.prompt_s = read * layers * longer + std::max(0.0, lacking) / limits.bytes_per_s;
  out.prompt_position_s =
      std::max(0.0, deep_read - read) / static_cast<double>(std::max<int64_t>(deep, 1)) * layers * longer;
  return out;
}

}  // namespace r1
