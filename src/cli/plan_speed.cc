#include "cli/plan_speed.h"

#include <algorithm>

#include "engine/speed.h"
#include "model/plan.h"

namespace r1 {
namespace {

constexpr int64_t kSliceBytes = int64_t{640} << 20;  // many times what caches hold
constexpr int64_t kLargestSlice = int64_t{3} << 30;  // of a shape whose single layers are large
constexpr int64_t kSmallVocabulary = 256, kDeep = 2048;

int bits_of_weights(Numerics numerics) {
  return activation_dtype(numerics) == DType::f32 ? 32 : 16;
}

ModelConfig slice_of(const ModelConfig& config, int bits) {
  ModelConfig slice = config;
  slice.vocab_size = std::min(config.vocab_size, kSmallVocabulary);
  slice.max_positions = std::min(config.max_positions, 2 * kDeep);
  // Experts that a token does not choose are not read; a few of them make the choice change.
  const int64_t fewest = std::max(2 * config.moe.active, 2 * config.moe.groups);
  if (slice.moe.experts > fewest) slice.moe.experts = fewest;
  const auto bytes = [&] { return file_bytes(model_sizes(slice), bits); };
  slice.first_dense_layers = std::min<int64_t>(config.first_dense_layers, 1);
  slice.layers = slice.first_dense_layers + 1;
  while (slice.layers < config.layers && bytes() < kSliceBytes) ++slice.layers;
  return slice;
}

// The median of several runs of about a seventh of a second, whose contexts end before `positions`.
double median_step(SpeedMeter& meter, int64_t depth, int64_t positions) {
  const double once = meter.decode_step(1, depth, 2);
  const int64_t most = std::clamp<int64_t>(positions - depth - 1, 2, 256);
  const int64_t steps = std::clamp(static_cast<int64_t>(0.15 / once), int64_t{2}, most);
  double times[7];
  for (double& t : times) t = meter.decode_step(1, depth, steps);
  std::ranges::sort(times);
  return times[3];
}

}  // namespace

SpeedForecast forecast_decoding(const ModelConfig& config, Numerics numerics, ThreadPool& threads,
                                double limit_gb_s, int64_t memory) {
  SpeedForecast out;
  out.limit_gb_s = limit_gb_s;
  const int bits = bits_of_weights(numerics);
  const ModelSizes sizes = model_sizes(config);
  const double bytes = step_weight_bytes(config, sizes, bits, 1);
  const double kv = static_cast<double>(kv_bytes_per_token(config, row_of(numerics).cache));
  const bool whole = file_bytes(sizes, bits) <= kSliceBytes;
  ModelConfig slice = whole ? config : slice_of(config, bits);
  const ModelSizes slice_sizes = model_sizes(slice);
  if (2 * file_bytes(slice_sizes, bits) > memory || file_bytes(slice_sizes, bits) > kLargestSlice) {
    out.token_s = bytes / (limit_gb_s * 1e9);
    out.position_s = kv / (limit_gb_s * 1e9);
    out.layers_gb_s = limit_gb_s;
    return out;
  }
  out.measured = true;
  const int64_t deep = std::min(kDeep, slice.max_positions / 2);
  const Model model = Model::of_noise(slice, activation_dtype(numerics));
  const int64_t positions = std::min(slice.max_positions, deep + 512);
  SpeedMeter meter(model, threads, numerics, 1, positions);
  median_step(meter, 0, positions);  // fills the caches
  const double step = median_step(meter, 0, positions), deep_step = median_step(meter, deep, positions);
  const double slice_bytes = step_weight_bytes(slice, slice_sizes, bits, 1);
  out.layers_gb_s = slice_bytes / step * 1e-9;
  out.token_s = step * bytes / slice_bytes;
  out.position_s = std::max(0.0, deep_step - step) / static_cast<double>(deep) *
                   static_cast<double>(config.layers) / static_cast<double>(slice.layers);
  return out;
}

}  // namespace r1
