// config.json from anybody: a configuration or one Error, never a crash; what is accepted can be written and
// read again.
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
  } catch (const r1::Error&) {
  }
  return 0;
}
