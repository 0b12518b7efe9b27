// Any config.json gives a configuration or an Error of one line, never a crash. An accepted configuration can
// be written and read again, and its rotary frequencies are between 0 and 1.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "model/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const r1::ModelConfig config =
        r1::read_model_config(r1::parse_json({reinterpret_cast<const char*>(data), size}, "config.json"));
    const std::string text = r1::to_json(config).dump();
    const r1::ModelConfig again = r1::read_model_config(r1::parse_json(text, "written"));
    R1_CHECK(r1::to_json(again).dump() == text, text);
    R1_CHECK(again.rope == config.rope, text);
    // The width may have any value too, so it is limited to a small one.
    const auto rope = r1::rope_frequencies(config.rope, std::min<int64_t>(config.rope_width(), 256));
    for (const float f : rope.inverse) R1_CHECK(f >= 0.0f && f <= 1.001f, f, " ", text);
    R1_CHECK(rope.attention_factor > 0.0f && std::isfinite(rope.attention_factor), text);
    R1_CHECK(std::isfinite(r1::latent_score_factor(config.rope)), text);
  } catch (const r1::Error& e) {
    R1_CHECK(std::string_view(e.what()).find('\n') == std::string_view::npos, e.what());
  }
  return 0;
}
