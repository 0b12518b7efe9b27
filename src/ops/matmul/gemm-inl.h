// ops/matmul/gemm-inl.h: the micro-kernels and the loops around them, compiled once per instruction set.
//
// A tile of C, kRows x (kVecs vectors), stays in registers while k runs; A is broadcast, B is loaded. The
// limit is the FMA units: kRows * kVecs FMAs need kRows + kVecs loads, and at least latency (4) x units (2)
// accumulators.
//
//   AVX-512  12 x 32 = 24 accumulators of 32 registers
//   AVX2      6 x 16 = 12 of 16
//   NEON      6 x 16 = 24 of 32
//
// k is cut into blocks so that the kBlockK x 32 floats of B that every row tile reads (32 KiB) stay near.
// Between blocks C rests in memory, which does not round it: the chain of FMAs is the same.
#if defined(R1_OPS_MATMUL_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef R1_OPS_MATMUL_GEMM_INL_H_
#undef R1_OPS_MATMUL_GEMM_INL_H_
#else
#define R1_OPS_MATMUL_GEMM_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "ops/matmul/gemm.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {
namespace gemm_detail {

namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::CappedTag<float, 16>;
using Vec = hn::Vec<Tag>;

inline constexpr int kLanes = static_cast<int>(hn::MaxLanes(Tag()));
inline constexpr int kPanelVecs = static_cast<int>(kPanel) / kLanes;  // 2, 4 or 8
inline constexpr bool kSixteenRegisters = kLanes == 8;                // AVX2
inline constexpr int kMaxAcc = kSixteenRegisters ? 12 : 24;
inline constexpr int kMaxVecs = kPanelVecs == 2 || kSixteenRegisters ? 2 : 4;
inline constexpr int kMaxRows = kMaxAcc / kMaxVecs;
inline constexpr int64_t kBlockK = 256;
inline constexpr int64_t kTileRows = 192;            // the most rows of one tile
inline constexpr int64_t kCopiedRow = kBlockK + 16;  // one cache line more: rows start in different sets
// Block of k if B is copied: a panel's block of B and a row tile's block of A then fit the first-level cache.
inline constexpr int64_t kCopiedBlockK = 128;

// The type that B holds: f32, or pairs of 16 bits.
enum class Held : uint8_t { f32, bf16, f16 };

// The operands of a micro-kernel.
struct Operands {
  const float* a;  // A[m, k] is a[m * a_row + k], or (by columns) a[m + k * a_col]
  int64_t a_row;
  int64_t a_col;
  const float* b;
  int64_t b_panel;  // for kernels over several panels
  int64_t b_row;
  float* c;
  int64_t c_row;
  int64_t K;
  const float* ahead;  // in the next panel; prefetched as k runs
  int64_t ahead_step;
  int64_t tail;     // lanes of the last vector, if the kernel is masked
  bool accumulate;  // start from C in memory, or from +0
};

// Sanitizers skip the micro-kernels: instrumenting every access of dozens of fully unrolled loops takes a
// compiler many minutes. The memory that a tile reads and writes is checked before it runs (gemm_cpu.cc).
#define R1_UNCHECKED __attribute__((no_sanitize("address", "undefined")))
#define R1_INLINE HWY_INLINE R1_UNCHECKED

// Hides how these pointers are related: the compiler would keep one register per row and spill them.
#define R1_HIDE(pointer) asm("" : "+r"(pointer))

// C[kRows, kVecs * kLanes * kPanels] over K. kMasked: the last vector has `tail` lanes. kColumns: A is read
// by columns. kB: what B holds (gemm.h).
template <int kRows, int kVecs, int kPanels, bool kMasked, bool kColumns, Held kB>
struct Kernel {
  static constexpr bool kPairs = kB != Held::f32;
  static constexpr int kPerRow = kVecs * kPanels;
  static constexpr int kAcc = kRows * kPerRow;
  static constexpr int kBases =
      (kRows + 2) / 3;  // row i is base[i / 3] + (i % 3) * a_row: x86 addressing has it free

  template <bool kLast>
  static R1_INLINE Vec load(const float* p, size_t tail) {
    if constexpr (kLast && kMasked) {
      return load_some(Tag(), p, tail);
    } else {
      return hn::LoadU(Tag(), p);
    }
  }
  template <bool kLast>
  static R1_INLINE void store(Vec v, float* p, size_t tail) {
    if constexpr (kLast && kMasked) {
      store_some(v, Tag(), p, tail);
    } else {
      hn::StoreU(v, Tag(), p);
    }
  }

  template <size_t... J>
  static R1_INLINE void load_b(Vec* HWY_RESTRICT v, const float* b, int64_t b_panel, size_t tail,
                               std::index_sequence<J...>) {
    ((v[J] = load<J + 1 == kPerRow>(
          b + static_cast<int64_t>(J / kVecs) * b_panel + static_cast<int64_t>(J % kVecs) * kLanes, tail)),
     ...);
  }
  // Even k lie in the low halves of the pairs, odd k in the high ones; a shift or a mask turns them into f32.
  template <bool kOdd>
  static R1_INLINE Vec half_of_pair(Vec pair) {
    const hn::Rebind<uint32_t, Tag> bits;
    const auto both = hn::BitCast(bits, pair);
    if constexpr (kB == Held::f16) {
      // Sign, and exponent and fraction as those of f32, whose exponent's bias is 112 more. Exact for denormals,
      // too; infinities and NaN are refused when a matrix is packed.
      const auto half = kOdd ? hn::And(both, hn::Set(bits, 0xFFFF0000u)) : hn::ShiftLeft<16>(both);
      const auto sign = hn::And(half, hn::Set(bits, 0x80000000u));
      const auto rest = hn::ShiftRight<3>(hn::Xor(half, sign));
      const auto value = hn::Mul(hn::BitCast(Tag(), rest), hn::Set(Tag(), 0x1p112f));
      return hn::Or(value, hn::BitCast(Tag(), sign));
    } else if constexpr (kOdd) {
      return hn::BitCast(Tag(), hn::And(both, hn::Set(bits, 0xFFFF0000u)));
    } else {
      return hn::BitCast(Tag(), hn::ShiftLeft<16>(both));
    }
  }
  template <bool kOdd, size_t... J>
  static R1_INLINE void widen_pairs(Vec* HWY_RESTRICT v, std::index_sequence<J...>) {
    ((v[J] = half_of_pair<kOdd>(v[J])), ...);
  }
  template <size_t kRow, size_t... J>
  static R1_INLINE void multiply_row(Vec* HWY_RESTRICT acc, const Vec* HWY_RESTRICT v, float a,
                                     std::index_sequence<J...>) {
    const Vec broadcast = hn::Set(Tag(), a);
    ((acc[kRow * kPerRow + J] = hn::MulAdd(broadcast, v[J], acc[kRow * kPerRow + J])), ...);
  }
  template <size_t... I>
  static R1_INLINE void load_c(Vec* HWY_RESTRICT acc, const Operands& o, std::index_sequence<I...>) {
    ((acc[I] = load<I % kPerRow + 1 == kPerRow>(
          o.c + static_cast<int64_t>(I / kPerRow) * o.c_row + static_cast<int64_t>(I % kPerRow) * kLanes,
          static_cast<size_t>(o.tail))),
     ...);
  }
  template <size_t... I>
  static R1_INLINE void store_c(const Vec* HWY_RESTRICT acc, const Operands& o, std::index_sequence<I...>) {
    (store<I % kPerRow + 1 == kPerRow>(
         acc[I],
         o.c + static_cast<int64_t>(I / kPerRow) * o.c_row + static_cast<int64_t>(I % kPerRow) * kLanes,
         static_cast<size_t>(o.tail)),
     ...);
  }
  template <size_t... I>
  static R1_INLINE void zero_c(Vec* HWY_RESTRICT acc, std::index_sequence<I...>) {
    ((acc[I] = hn::Zero(Tag())), ...);
  }
  template <size_t... I>
  static R1_INLINE void set_bases(const float** base, const Operands& o, std::index_sequence<I...>) {
    ((base[I] = o.a + static_cast<int64_t>(3 * I) * o.a_row), ...);
  }
  template <size_t... I>
  static R1_INLINE void advance(const float** base, int64_t by, std::index_sequence<I...>) {
    ((base[I] += by), ...);
  }

  template <size_t... I>
  static R1_INLINE void hide(const float** base, std::index_sequence<I...>) {
    (hide_one(base[I]), ...);
  }
  static R1_INLINE void hide_one(const float*& pointer) { R1_HIDE(pointer); }

  // One step of k, kOffset rows ahead of the bases.
  template <int64_t kOffset, size_t... I>
  static R1_INLINE void step(Vec* HWY_RESTRICT acc, const float** base, const Operands& o, const float*& b,
                             size_t tail, std::index_sequence<I...>) {
    constexpr auto kColumnSequence = std::make_index_sequence<kPerRow>();
    Vec v[kPerRow];
    load_b(v, b, o.b_panel, tail, kColumnSequence);
    if constexpr (kPairs) widen_pairs<kOffset == 1>(v, kColumnSequence);
    if constexpr (kColumns) {
      (multiply_row<I>(acc, v, base[0][I], kColumnSequence), ...);
      base[0] += o.a_col;
      hide_one(base[0]);
    } else {
      (multiply_row<I>(acc, v, base[I / 3][kOffset + static_cast<int64_t>(I % 3) * o.a_row], kColumnSequence),
       ...);
    }
    if constexpr (!kPairs || kOffset == 1) b += o.b_row;
    hide_one(b);
  }

  static R1_UNCHECKED HWY_NOINLINE void run(const Operands& operands) {
    constexpr auto kAccs = std::make_index_sequence<kAcc>();
    constexpr auto kRowSequence = std::make_index_sequence<kRows>();
    constexpr auto kBaseSequence = std::make_index_sequence < kColumns ? 1 : kBases > ();
    const Operands o = operands;
    Vec acc[kAcc];
    if (o.accumulate) {
      load_c(acc, o, kAccs);
    } else {
      zero_c(acc, kAccs);
    }
    const size_t tail = static_cast<size_t>(o.tail);
    const float* b = o.b;
    const float* base[kBases];
    set_bases(base, o, kBaseSequence);
    hide(base, kBaseSequence);
    int64_t left = o.K;
    [[maybe_unused]] const float* ahead = o.ahead;
    for (; left >= 2; left -= 2) {
      step<0>(acc, base, o, b, tail, kRowSequence);
      step<1>(acc, base, o, b, tail, kRowSequence);
      if constexpr (!kColumns) {
        advance(base, 2, kBaseSequence);
        hide(base, kBaseSequence);
      }
      if constexpr (kPanels == 1) {
        hwy::Prefetch(ahead);
        ahead += o.ahead_step;
      }
    }
    if (left > 0) step<0>(acc, base, o, b, tail, kRowSequence);
    store_c(acc, o, kAccs);
  }
};

#undef R1_HIDE
#undef R1_INLINE
#undef R1_UNCHECKED

using Run = void (*)(const Operands&);

// Kernels for one panel or part of one: [A by columns][rows - 1]. With pairs, A is read by rows only.
template <Held kB, bool kColumns, bool kMasked, int kVecs, size_t... I>
constexpr std::array<Run, kMaxRows> row_kernels(std::index_sequence<I...>) {
  return {&Kernel<static_cast<int>(I) + 1, kVecs, 1, kMasked, kColumns, kB>::run...};
}
template <Held kB>
using RowKernels = std::array<std::array<Run, kMaxRows>, kB != Held::f32 ? 1 : 2>;
template <Held kB, bool kMasked, int kVecs>
constexpr RowKernels<kB> both_kernels() {
  constexpr auto kRowSequence = std::make_index_sequence<kMaxRows>();
  if constexpr (kB != Held::f32) {
    return {row_kernels<kB, false, kMasked, kVecs>(kRowSequence)};
  } else {
    return {row_kernels<kB, false, kMasked, kVecs>(kRowSequence),
            row_kernels<kB, true, kMasked, kVecs>(kRowSequence)};
  }
}
template <Held kB>
inline constexpr RowKernels<kB> kWhole = both_kernels<kB, false, kMaxVecs>();
// [vectors - 1]: kernels for the right edge of C; the last vector may be whole.
template <Held kB, size_t... J>
constexpr std::array<RowKernels<kB>, kMaxVecs> edge_kernels(std::index_sequence<J...>) {
  return {both_kernels<kB, true, static_cast<int>(J) + 1>()...};
}
template <Held kB>
inline constexpr auto kEdge = edge_kernels<kB>(std::make_index_sequence<kMaxVecs>());

// Kernels for few rows, [rows - 1][panels - 1], A by rows. Whole panels side by side hide the FMA latency,
// which the accumulators of one panel would not.
inline constexpr int kWideRows = kPanelVecs == 2 ? 4 : 3;
inline constexpr int kWidePanels = 4;
constexpr int wide_panels(int rows) {
  return std::clamp(kMaxAcc / (rows * kPanelVecs), 1, kWidePanels);
}
template <Held kB, int kRows, size_t... I>
constexpr std::array<Run, kWidePanels> wide_row(std::index_sequence<I...>) {
  return {&Kernel<kRows, kPanelVecs, std::min(static_cast<int>(I) + 1, wide_panels(kRows)), false, false,
                  kB>::run...};
}
template <Held kB, size_t... I>
constexpr std::array<std::array<Run, kWidePanels>, kWideRows> wide_kernels(std::index_sequence<I...>) {
  return {wide_row<kB, static_cast<int>(I) + 1>(std::make_index_sequence<kWidePanels>())...};
}
template <Held kB>
inline constexpr auto kWide = wide_kernels<kB>(std::make_index_sequence<kWideRows>());

// Row tiles of (nearly) equal height: 16 rows are 8 + 8, not 12 + 4. Tile i is rows [begin(i), begin(i + 1)).
// The one division is of 32 bits; a 64-bit one often takes a tenth of a micro-kernel's time.
struct RowTiling {
  explicit RowTiling(int64_t rows)
      : M(rows),
        tiles((rows + kMaxRows - 1) / kMaxRows),
        height(static_cast<int32_t>(rows) / static_cast<int32_t>(tiles)),
        low(tiles - (rows - height * tiles)) {}
  int64_t M, tiles;
  int64_t height;  // of the first `low` tiles; the others have one row more
  int64_t low;
  int64_t begin(int64_t i) const { return i * height + std::max<int64_t>(0, i - low); }
  // Where tile i's copy [k][rows] starts. A vector may run over the end of each copy.
  int64_t copy(int64_t i) const { return begin(i) * kBlockK + i * kLanes; }
};

// Copies A[M, K] of any strides into [k][rows] for each row tile. The loop over k is outside, so that an A
// stored by columns is read from end to end, which suits prefetchers.
inline void copy_columns(const float* a, int64_t a_row, int64_t a_col, const RowTiling& tiling, int64_t K,
                         float* to) {
  const Tag d;
  struct {
    int64_t m, rows;
    float* at;
  } tiles[kTileRows];
  for (int64_t i = 0; i < tiling.tiles; ++i)
    tiles[i] = {tiling.begin(i), tiling.begin(i + 1) - tiling.begin(i), to + tiling.copy(i)};
  for (int64_t k = 0; k < K; ++k, a += a_col) {
    for (int64_t i = 0; i < tiling.tiles; ++i) {
      auto& [m, rows, at] = tiles[i];
      if (a_row == 1 && m + kLanes <= tiling.M && rows <= kLanes) {
        hn::StoreU(hn::LoadU(d, a + m), d, at);
      } else {
        for (int64_t r = 0; r < rows; ++r) at[r] = a[(m + r) * a_row];
      }
      at += rows;
    }
  }
}

// Copies A[rows, K] row by row into rows of kCopiedRow floats.
inline void copy_rows(const float* a, int64_t a_row, int64_t rows, int64_t K, float* to) {
  const Tag d;
  for (int64_t m = 0; m < rows; ++m, a += a_row, to += kCopiedRow) {
    int64_t k = 0;
    for (; k + kLanes <= K; k += kLanes) hn::StoreU(hn::LoadU(d, a + k), d, to + k);
    for (; k < K; ++k) to[k] = a[k];
  }
}

// Copies rows [0, K) of one panel of a plain B, from b, into [k][32]. Nothing after B's last column is read.
inline void copy_panel(const float* b, int64_t b_row, int64_t width, int64_t K, float* to) {
  const Tag d;
  for (int64_t k = 0; k < K; ++k, b += b_row, to += kPanel) {
    if (width == kPanel) {
      for (int64_t n = 0; n < kPanel; n += kLanes) hn::StoreU(hn::LoadU(d, b + n), d, to + n);
    } else {
      for (int64_t n = 0; n < width; ++n) to[n] = b[n];
    }
  }
}

// How a tile reads its part of A: in place, or from a copy made by this thread.
enum class ReadA { rows, columns, copied_rows, copied_columns };

inline ReadA plan_a(const Gemm& g, int64_t panels) {
  if (g.a_col == 1) {
    // Rows 2 KiB (or a multiple) apart share the cache's sets, and there are more rows than ways.
    return g.a_row % 512 == 0 && panels > 1 ? ReadA::copied_rows : ReadA::rows;
  }
  // If only a few panels read A, or its columns lie near each other, a copy costs more than it saves.
  constexpr int64_t kNearColumns = 192;
  return g.a_row == 1 && (panels <= 2 || g.a_col <= kNearColumns) ? ReadA::columns : ReadA::copied_columns;
}

// Rows of a plain B that are a power of two apart share a few of the cache's sets. A copy of the current
// block pays once three row tiles read it.
inline bool copies_b(const Gemm& g, int64_t row_tiles) {
  return g.b_row != kPanel && g.b_panel == kPanel && row_tiles >= 3;
}

// Memory that is prefetched while one micro-kernel runs: every `step` floats, from `at` on.
struct Ahead {
  const float* at;
  int64_t step;
};

// For A by columns and B by rows: micro-kernel `call` of this block of k fetches one line of every other row
// of the next block.
inline Ahead ahead_of_rows(const Gemm& g, int64_t m0, int64_t M, int64_t p0, int64_t p1, int64_t k_next,
                           int64_t call) {
  const int64_t k = k_next + call % 2, a_lines = (M + 15) / 16, line = call / 2;
  if (line < a_lines) return {g.a + m0 + line * 16 + k * g.a_col, 2 * g.a_col};
  const int64_t b_lines = (std::min(p1 * kPanel, g.N) - p0 * kPanel + 15) / 16;
  return {g.b + p0 * kPanel + std::min(line - a_lines, b_lines - 1) * 16 + k * g.b_row, 2 * g.b_row};
}

// A few rows, without copies and without blocks of k. Returns the first panel that is not done.
template <Held kB>
int64_t tile_wide(const Gemm& g, int64_t m0, int64_t M, int64_t p0, int64_t p1) {
  Operands o{.a = g.a + m0 * g.a_row,
             .a_row = g.a_row,
             .a_col = 1,
             .b = nullptr,
             .b_panel = g.b_panel,
             .b_row = g.b_row,
             .c = nullptr,
             .c_row = g.c_row,
             .K = g.K,
             .ahead = nullptr,
             .ahead_step = 0,
             .tail = kLanes,
             .accumulate = g.accumulate};
  const int64_t end = std::min(p1, g.N / kPanel);
  const int64_t most = wide_panels(static_cast<int>(M));
  while (p0 < end) {
    const int64_t panels = std::min(most, end - p0);
    o.b = o.ahead = g.b + p0 * g.b_panel;
    o.c = g.c + m0 * g.c_row + p0 * kPanel;
    kWide<kB>[static_cast<size_t>(M - 1)][static_cast<size_t>(panels - 1)](o);
    p0 += panels;
  }
  return p0;
}

// Rows [m0, m1) (at most kTileRows, at least one), panels [p0, p1) of C, all of K.
template <Held kB>
void tile(const Gemm& g, int64_t m0, int64_t m1, int64_t p0, int64_t p1) {
  constexpr bool kPairs = kB != Held::f32;
  constexpr int64_t kPerRow = kPairs ? 2 : 1;  // k in a row of B
  const int64_t M = m1 - m0;
  if (M <= kWideRows && g.a_col == 1) {
    p0 = tile_wide<kB>(g, m0, M, p0, p1);
    if (p0 >= p1) return;
  }
  alignas(64) float copies[kTileRows * kCopiedRow + kLanes];
  alignas(64) float panel[kPairs ? 1 : kCopiedBlockK * kPanel];
  const RowTiling tiling(M);
  const bool columns = !kPairs && g.a_col != 1;
  const bool copy_b = !kPairs && copies_b(g, tiling.tiles);
  const ReadA read_a = plan_a(g, p1 - p0);
  const int64_t block_k = copy_b ? kCopiedBlockK : kBlockK;
  Operands o{.a = nullptr,
             .a_row = read_a == ReadA::copied_rows ? kCopiedRow : g.a_row,
             .a_col = g.a_col,
             .b = nullptr,
             .b_panel = 0,
             .b_row = copy_b ? kPanel : g.b_row,
             .c = nullptr,
             .c_row = g.c_row,
             .K = 0,
             .ahead = nullptr,
             .ahead_step = 16,
             .tail = 0,
             .accumulate = g.accumulate};
  int64_t k0 = 0;
  do {
    o.K = std::min(block_k, g.K - k0);
    for (int64_t p = p0; p < p1; ++p) {
      const int64_t width = std::min(kPanel, g.N - p * kPanel);
      const float* b = g.b + p * g.b_panel + k0 / kPerRow * g.b_row;
      if (copy_b) {
        copy_panel(b, g.b_row, width, o.K, panel);
        b = panel;
      }
      // The next block after that of a packed panel is b_panel further on, or, after the last panel, kBlockK
      // rows after the first panel's block.
      const float* next =
          p + 1 < p1 ? b + g.b_panel : g.b + p0 * g.b_panel + (k0 + kBlockK) / kPerRow * kPanel;
      const bool has_next_block = k0 + block_k < g.K;
      const bool packed_ahead = g.b_row == kPanel && o.K > 0 && (p + 1 < p1 || has_next_block);
      const bool rows_ahead = g.a_row == 1 && g.b_row != kPanel && g.b_panel == kPanel && has_next_block;
      if (p == p0 && read_a == ReadA::copied_columns)
        copy_columns(g.a + m0 * g.a_row + k0 * g.a_col, g.a_row, g.a_col, tiling, o.K, copies);
      for (int64_t i = 0; i < tiling.tiles; ++i) {
        Ahead ahead{b, 0};
        if (packed_ahead) ahead = {next + i % (4 / kPerRow) * (o.K / 2) * 16, 16};
        if (rows_ahead) ahead = ahead_of_rows(g, m0, M, p0, p1, k0 + block_k, (p - p0) * tiling.tiles + i);
        o.ahead = ahead.at;
        o.ahead_step = ahead.step;
        const int64_t m = tiling.begin(i), rows = tiling.begin(i + 1) - m;
        o.a = g.a + (m0 + m) * g.a_row + k0 * g.a_col;
        if (read_a == ReadA::copied_rows) {
          float* copy = copies + m * kCopiedRow;
          if (p == p0) copy_rows(o.a, g.a_row, rows, o.K, copy);
          o.a = copy;
        } else if (read_a == ReadA::copied_columns) {
          o.a = copies + tiling.copy(i);
          o.a_col = rows;
        }
        constexpr int64_t kAcross = kMaxVecs * kLanes;
        o.b = b;
        o.c = g.c + (m0 + m) * g.c_row + p * kPanel;
        int64_t n = 0;
        for (; n + kAcross <= width; n += kAcross, o.b += kAcross, o.c += kAcross)
          kWhole<kB>[columns][static_cast<size_t>(rows - 1)](o);
        if (n < width) {
          const int64_t vecs = (width - n + kLanes - 1) / kLanes;
          o.tail = width - n - (vecs - 1) * kLanes;
          kEdge<kB>[static_cast<size_t>(vecs - 1)][columns][static_cast<size_t>(rows - 1)](o);
        }
      }
    }
    k0 += block_k;
    o.accumulate = true;
  } while (k0 < g.K);
}

}  // namespace gemm_detail
}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();
#endif
