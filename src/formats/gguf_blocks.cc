#include "formats/gguf_blocks.h"

#include "base/error.h"
#include "tensor/blocks.h"

namespace r1 {

std::optional<Format> format_of(GgufType type) {
  switch (type) {
    case GgufType::f32:
      return Format::f32;
    case GgufType::f16:
      return Format::f16;
    case GgufType::bf16:
      return Format::bf16;
    case GgufType::f64:
      return Format::f64;
    case GgufType::q4_0:
      return Format::q4_0;
    case GgufType::q4_1:
      return Format::q4_1;
    case GgufType::q5_0:
      return Format::q5_0;
    case GgufType::q5_1:
      return Format::q5_1;
    case GgufType::q8_0:
      return Format::q8_0;
    case GgufType::q2_k:
      return Format::q2_k;
    case GgufType::q3_k:
      return Format::q3_k;
    case GgufType::q4_k:
      return Format::q4_k;
    case GgufType::q5_k:
      return Format::q5_k;
    case GgufType::q6_k:
      return Format::q6_k;
    case GgufType::iq2_xxs:
      return Format::iq2_xxs;
    case GgufType::iq2_xs:
      return Format::iq2_xs;
    case GgufType::iq2_s:
      return Format::iq2_s;
    case GgufType::iq3_xxs:
      return Format::iq3_xxs;
    case GgufType::iq3_s:
      return Format::iq3_s;
    case GgufType::iq4_nl:
      return Format::iq4_nl;
    case GgufType::iq4_xs:
      return Format::iq4_xs;
    default:
      return std::nullopt;
  }
}

bool can_dequantize(GgufType type) {
  return format_of(type).has_value();
}

void dequantize(GgufType type, std::span<const std::byte> blocks, std::span<float> out) {
  const std::optional<Format> format = format_of(type);
  R1_CHECK(format.has_value(), name_of(type), " has no values");
  if (is_blocks(*format)) return dequantise_blocks(*format, blocks, out);
  R1_CHECK(blocks.size() == out.size() * size_of(*format), blocks.size(), " bytes of ", name_of(type),
           " for ", out.size(), " elements");
  widen_stored(*format, blocks, out);
}

}  // namespace r1
