// Any sampling settings are in range or give an Error of one line. Accepted settings can be used to draw.
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "engine/sampling_config.h"
#include "ops/sample/history.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int64_t kVocab = 16;
  r1::SamplingParams params;
  try {
    r1::read_sampling(r1::parse_json({reinterpret_cast<const char*>(data), size}, "row"), kVocab, params);
  } catch (const r1::Error& e) {
    R1_CHECK(std::string_view(e.what()).find('\n') == std::string_view::npos, e.what());
    return 0;
  }
  const std::array<int32_t, 3> prompt = {1, 2, 1}, stops = {0, 3, 15};
  r1::TokenHistory history(prompt);
  for (int step = 0; step < 8; ++step) {
    std::array<float, kVocab> logits;
    for (size_t i = 0; i < logits.size(); ++i) logits[i] = std::sin(static_cast<float>(i * 7 + size)) * 5;
    const r1::Sampled got =
        r1::sample_token(logits.data(), kVocab, params, history, stops, static_cast<float>(step) / 8);
    if (got.token == r1::kNothingLeft) return 0;
    R1_CHECK(got.token >= 0 && got.token < kVocab && std::isfinite(got.logprob), got.token, " ", got.logprob);
    history.add(got.token);
  }
  return 0;
}
