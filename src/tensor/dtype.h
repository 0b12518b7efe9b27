// tensor/dtype.h: element types, and devices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace r1 {

// q8: int8 numbers and their scales, of pages of keys and values alone (ops/attention/attention.h says how they
// lie there); what a tensor of it counts are bytes.
enum class DType : uint8_t { f32, bf16, f16, i32, q8 };

constexpr size_t size_of(DType dtype) {
  return dtype == DType::f32 || dtype == DType::i32 ? 4 : dtype == DType::q8 ? 1 : 2;
}
std::string_view name_of(DType dtype);  // "f32"

// Conversions of bf16 and f16 from and to f32. Narrowing rounds to nearest even; NaN stays NaN.
float f32_from_bf16(uint16_t bits);
float f32_from_f16(uint16_t bits);
uint16_t bf16_from_f32(float value);
uint16_t f16_from_f32(float value);

// `cuda` exists in builds with CUDA only.
enum class Device : uint8_t { cpu, cuda };
std::string_view name_of(Device device);  // "cpu"

}  // namespace r1
