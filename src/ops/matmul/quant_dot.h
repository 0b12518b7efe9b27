// ops/matmul/quant_dot.h: the kernels of products with blocks, one file for each instruction set. Private to
// this folder.
//
// A kernel computes one panel of outputs for some rows, over the blocks of one chunk. All give the same bits.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "ops/matmul/quant_unpack.h"

namespace r1 {

struct QuantTile {
  QuantTraits traits;
  QuantChunk w;
  int64_t blocks = 0;  // of the chunk
  // Rows of activations; all pointers are at the chunk's first block.
  const int8_t* q = nullptr;
  const float* d = nullptr;
  const int32_t* start = nullptr;
  const int32_t* sums = nullptr;  // pairs of int16, or f32
  int64_t row = 0;                // bytes between rows, for all four
  int64_t rows = 0;
  float* acc = nullptr;  // [rows][16], continued; 64-byte aligned
  // Bytes that the caller needs next. The kernel asks for them while it computes: processors do not foresee
  // that a stream goes on in another page, nor that it has as many parts as a panel.
  const std::byte* next = nullptr;
  int64_t next_bytes = 0;
};

struct QuantKernel {
  std::string_view name;  // "AVX-512 VNNI"
  bool usable = false;    // this machine has it
  void (*run)(const QuantTile& tile) = nullptr;
};

// All kernels of this build, best first; the last one runs anywhere.
std::span<const QuantKernel> quant_kernels();
// The first usable one, unless a test has chosen another.
const QuantKernel& quant_kernel();

// While it is alive, products run on this kernel. For checks only: no other thread may compute meanwhile.
class WithQuantKernel {
 public:
  explicit WithQuantKernel(const QuantKernel& kernel);
  ~WithQuantKernel();
  WithQuantKernel(const WithQuantKernel&) = delete;
  WithQuantKernel& operator=(const WithQuantKernel&) = delete;
};

namespace quant_dot {
void avx512vnni(const QuantTile& tile);
void avxvnni(const QuantTile& tile);
void avx2(const QuantTile& tile);
void neon_dot(const QuantTile& tile);
void neon_i8mm(const QuantTile& tile);
void portable(const QuantTile& tile);
}  // namespace quant_dot

}  // namespace r1
