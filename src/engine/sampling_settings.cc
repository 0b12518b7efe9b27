#include "engine/sampling_settings.h"

#include <fmt/format.h>

#include <charconv>

namespace r1 {

EngineOptions SamplingSettings::engine() const {
  return {.max_batch = batch, .prefill_chunk = prefill_chunk, .kv_bytes = kv_bytes, .reserve = reserve};
}

Request SamplingSettings::request(const RandomKey& key) const {
  Request request;
  request.samples = samples;
  request.max_tokens = max_tokens;
  request.sampling = params;
  request.key = key;
  return request;
}

double shortest_number(float value) {
  const std::string text = fmt::format("{}", value);
  double out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

SamplingSettings read_sampling_settings(ConfigFile& file, const std::string& table,
                                        const SamplingSettings& fallback, const SamplingKeys& keys) {
  constexpr int64_t kMostSamples = 1024, kMostSequences = 1 << 20;
  constexpr double kLeastShare = 0.01;  // a training's log-probs are those before the cut
  const auto key = [&](std::string_view name) { return fmt::format("{}.{}", table, name); };
  const auto number = [&](std::string_view name, float value, double low, double high) {
    return static_cast<float>(file.number_or(key(name), shortest_number(value), low, high));
  };
  SamplingSettings s = fallback;
  s.samples = file.integer_or(key(keys.samples), s.samples, keys.fewest, kMostSamples);
  s.max_tokens = file.integer_or(key("max_tokens"), s.max_tokens, 1, kMostAnswerTokens);
  s.params.temperature = number("temperature", s.params.temperature, keys.coldest, kTemperatureBounds.high);
  if (keys.top_p) s.params.top_p = number("top_p", s.params.top_p, kLeastShare, kShareBounds.high);
  if (keys.batch) s.batch = file.integer_or(key("batch"), s.batch, 1, kMostSequences);
  return s;
}

}  // namespace r1
