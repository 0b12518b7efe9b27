// tensor/dtype.h: element types and the numerics names of DESIGN.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace r1 {

enum class DType : uint8_t { f32, bf16, f16, i32 };

constexpr size_t size_of(DType dtype) {
  return dtype == DType::f32 || dtype == DType::i32 ? 4 : 2;
}
std::string_view name_of(DType dtype);  // "f32"

// Conversions of bf16 and f16 from and to f32. Narrowing rounds to nearest even; NaN stays NaN.
float f32_from_bf16(uint16_t bits);
float f32_from_f16(uint16_t bits);
uint16_t bf16_from_f32(float value);
uint16_t f16_from_f32(float value);

// A numerics fixes the reduction order, the rounding points and the types of activations, keys and values: a
// token's log-prob is a pure function of (weights, prefix, numerics). Samples and checkpoints record it;
// resuming under another one is refused.
//
//   cpu-f32         weights, activations, keys and values in f32
//   cpu-bf16        weights, activations between ops, keys and values in bf16; every op computes as in
//                   cpu-f32 and rounds once, at its end. The residual stream, what is added to it, the logits
//                   and all gradients stay f32; in training the weights' master copy does, too
//   cpu-avx512bf16  the same, but products with a Weight are summed by VDPBF16PS (ops/matmul/gemm.h)
enum class Numerics : uint8_t { cpu_f32, cpu_bf16, cpu_avx512bf16 };
inline constexpr std::array kAllNumerics = {Numerics::cpu_f32, Numerics::cpu_bf16, Numerics::cpu_avx512bf16};
std::string_view name_of(Numerics numerics);  // "cpu-f32"
// Throws an Error that lists the known names, or that says what this machine lacks.
Numerics numerics_from_name(std::string_view name);
bool machine_has(Numerics numerics);
constexpr DType activation_dtype(Numerics numerics) {
  return numerics == Numerics::cpu_f32 ? DType::f32 : DType::bf16;
}

enum class Device : uint8_t { cpu };

}  // namespace r1
