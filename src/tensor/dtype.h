// tensor/dtype.h: element types and the numerics names of DESIGN.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace r1 {

enum class DType : uint8_t { f32, bf16, f16, i32 };

constexpr size_t size_of(DType dtype) {
  return dtype == DType::f32 || dtype == DType::i32 ? 4 : 2;
}
std::string_view name_of(DType dtype);  // "f32"

// bf16 and f16 <-> f32; to narrower: round to nearest even, NaN stays NaN.
float f32_from_bf16(uint16_t bits);
float f32_from_f16(uint16_t bits);
uint16_t bf16_from_f32(float value);
uint16_t f16_from_f32(float value);

// A numerics fixes reduction order, rounding points, activation and KV dtype: a token's log-prob is a pure
// function of (weights, prefix, numerics). It is written into samples and checkpoints; resuming under another
// is refused.
enum class Numerics : uint8_t { cpu_f32 };
std::string_view name_of(Numerics numerics);         // "cpu-f32"
Numerics numerics_from_name(std::string_view name);  // throws Error that lists the known names

enum class Device : uint8_t { cpu };

}  // namespace r1
