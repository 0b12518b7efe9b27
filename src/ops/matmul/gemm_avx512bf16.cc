// ops/matmul/gemm_avx512bf16.cc: products by VDPBF16PS, two products and two sums per lane and instruction.
//
// A tile of 12 rows x 32 columns of C stays in registers. A is copied as pairs, whose 32 bits are
// broadcast from memory; B's pairs are loaded. With few rows, several panels side by side hide the
// instruction's latency. k is cut into blocks so that A's copy fits; between blocks C rests in memory,
// and the chain is the same.
#include "ops/matmul/gemm_avx512bf16.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/error.h"

#if defined(__x86_64__)
#include <immintrin.h>

// The attribute goes on each function. Compiler flags would also reach inline functions of the headers above,
// of which the linker keeps one copy for the whole program.
#define R1_AVX512BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

namespace r1 {
namespace {

constexpr int64_t kTileRows = 192, kBlockPairs = 256, kCopiedRow = kBlockPairs + 16;
constexpr int kMaxRows = 12, kWideRows = 3, kWidePanels = 4;

struct Operands {
  const uint32_t* a;  // rows of kCopiedRow pairs
  const uint32_t* b;
  int64_t b_panel;
  float* c;
  int64_t c_row;
  int64_t pairs;
  __mmask16 masks[2];  // columns of the last panel
  bool accumulate;
};

// sum += the products of each lane's pair. The intrinsic would crash clang 16 in these templates.
R1_AVX512BF16 inline __attribute__((always_inline)) void add_pairs(__m512& sum, __m512i a, __m512i b) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
}

template <int kRows, int kPanels>
R1_AVX512BF16 void run(const Operands& o) {
  constexpr int kVectors = 2 * kPanels;
  __m512 acc[kRows][kVectors];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const __mmask16 mask = v / 2 == kPanels - 1 ? o.masks[v % 2] : static_cast<__mmask16>(0xFFFF);
      acc[r][v] =
          o.accumulate ? _mm512_maskz_loadu_ps(mask, o.c + r * o.c_row + v * 16) : _mm512_setzero_ps();
    }
  }
  const uint32_t* a = o.a;
  const uint32_t* b = o.b;
  for (int64_t i = 0; i < o.pairs; ++i, ++a, b += kPanel) {
    __m512i column[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      column[v] = _mm512_loadu_si512(b + v / 2 * o.b_panel + v % 2 * 16);
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const __m512i row = _mm512_set1_epi32(static_cast<int>(a[r * kCopiedRow]));
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) add_pairs(acc[r][v], row, column[v]);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const __mmask16 mask = v / 2 == kPanels - 1 ? o.masks[v % 2] : static_cast<__mmask16>(0xFFFF);
      _mm512_mask_storeu_ps(o.c + r * o.c_row + v * 16, mask, acc[r][v]);
    }
  }
}

using Run = void (*)(const Operands&);
template <int kPanels, size_t... I>
constexpr std::array<Run, sizeof...(I)> kernels(std::index_sequence<I...>) {
  return {&run<static_cast<int>(I) + 1, kPanels>...};
}
constexpr auto kNarrow = kernels<1>(std::make_index_sequence<kMaxRows>());
constexpr auto kWide = kernels<kWidePanels>(std::make_index_sequence<kWideRows>());

// Copies values that are already bf16: their upper halves. The last pair of an odd K gets a zero.
R1_AVX512BF16 void copy_pairs(const float* from, int64_t k, uint32_t* to) {
  int64_t i = 0;
  for (; i + 16 <= k / 2; i += 16) {
    const __m512i low = _mm512_loadu_si512(from + 2 * i), high = _mm512_loadu_si512(from + 2 * i + 16);
    const __m512i words = _mm512_permutex2var_epi16(
        low,
        _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27, 25, 23,
                         21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1),
        high);
    _mm512_storeu_si512(to + i, words);
  }
  for (; 2 * i < k; ++i) {
    uint32_t even = 0, odd = 0;
    std::memcpy(&even, from + 2 * i, sizeof(even));
    if (2 * i + 1 < k) std::memcpy(&odd, from + 2 * i + 1, sizeof(odd));
    to[i] = even >> 16 | (odd & 0xFFFF0000u);
  }
}

__mmask16 mask_of(int64_t columns) {
  return static_cast<__mmask16>(columns >= 16 ? 0xFFFF : columns <= 0 ? 0 : (1 << columns) - 1);
}

}  // namespace

R1_AVX512BF16 void gemm_tile_avx512bf16(const Gemm& g, int64_t m0, int64_t m1, int64_t p0, int64_t p1) {
  const int64_t M = m1 - m0, tiles = (M + kMaxRows - 1) / kMaxRows;
  R1_CHECK(M <= kTileRows && g.a_col == 1 && g.b_row == kPanel, "M ", M, " a_col ", g.a_col, " b_row ",
           g.b_row);
  alignas(64) uint32_t copies[kTileRows * kCopiedRow];
  const uint32_t* b = reinterpret_cast<const uint32_t*>(g.b);
  int64_t k0 = 0;
  do {
    const int64_t k = std::min(2 * kBlockPairs, g.K - k0);
    for (int64_t m = 0; m < M; ++m) copy_pairs(g.a + (m0 + m) * g.a_row + k0, k, copies + m * kCopiedRow);
    Operands o{.a = nullptr,
               .b = nullptr,
               .b_panel = g.b_panel,
               .c = nullptr,
               .c_row = g.c_row,
               .pairs = pair_rows(k),
               .masks = {},
               .accumulate = g.accumulate || k0 > 0};
    for (int64_t p = p0; p < p1;) {
      const bool wide = M <= kWideRows && p + kWidePanels <= p1;
      const int64_t panels = wide ? kWidePanels : 1, left = g.N - (p + panels - 1) * kPanel;
      o.masks[0] = mask_of(left);
      o.masks[1] = mask_of(left - 16);
      o.b = b + p * g.b_panel + k0 / 2 * kPanel;
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t begin = M * i / tiles, rows = M * (i + 1) / tiles - begin;
        o.a = copies + begin * kCopiedRow;
        o.c = g.c + (m0 + begin) * g.c_row + p * kPanel;
        (wide ? kWide[static_cast<size_t>(rows - 1)] : kNarrow[static_cast<size_t>(rows - 1)])(o);
      }
      p += panels;
    }
    k0 += 2 * kBlockPairs;
  } while (k0 < g.K);
}

}  // namespace r1

#else

namespace r1 {

void gemm_tile_avx512bf16(const Gemm&, int64_t, int64_t, int64_t, int64_t) {
  R1_CHECK(false, "this build has no AVX512-BF16 kernels");
}

}  // namespace r1
#endif
