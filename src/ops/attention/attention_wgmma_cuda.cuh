// ops/attention/attention_wgmma_cuda.cuh: what the kernels of attention for many rows share on Hopper GPUs: tiles of
// rows in shared memory, wgmma on them, and the warp that copies them.
//
// A tile lies in panels of 64 dimensions, whose lines are rows of 128 bytes, swizzled as in ops/matmul/wgmma_cuda.cuh.
// One tile serves as an operand by dimensions (scores) and as one by rows (sums of rows with weights).
#pragma once

#include "ops/attention/attention_tiles.h"
#include "ops/attention/tensor_attention_cuda.cuh"
#include "ops/matmul/wgmma_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {

inline constexpr int kPanelWidth = 64;       // dimensions of a panel
inline constexpr int kTileAlignment = 1024;  // of tiles in shared memory, in bytes

template <int kRows, int kWidth>
struct WgmmaTile {
  static_assert(kRows % 8 == 0 && kWidth % kPanelWidth == 0);
  static constexpr int kPanelBytes = kRows * kPanelLine, kBytes = kWidth / kPanelWidth * kPanelBytes;
  // Operands begin at tiles' places in shared memory, in units of 16 bytes: that, the distance of panels and what never
  // changes (eight lines are 1024 bytes, lines of 128 bytes, swizzled) are the words of a descriptor. Steps only add to
  // the first, so that it costs an instruction.
  static __device__ __forceinline__ uint64_t described(uint32_t first_word) {
    return uint64_t{(8 * kPanelLine >> 4) | 1u << 30} << 32 | first_word;
  }
  // Rows from `first` on (a multiple of 8), dimensions [16 step, 16 step + 16): an operand by k, and k are dimensions.
  static __device__ __forceinline__ uint64_t by_dimensions(uint32_t tile, int first, int step) {
    return described(
        (tile >> 4 | 1u << 16) +
        static_cast<uint32_t>((step / 4 * kPanelBytes + first * kPanelLine + step % 4 * 32) >> 4));
  }
  // Rows [16 step, 16 step + 16), all dimensions: an operand by rows, and k are rows.
  static __device__ __forceinline__ uint64_t by_rows(uint32_t tile, int step) {
    return described((tile >> 4 | static_cast<uint32_t>(kPanelBytes >> 4) << 16) +
                     static_cast<uint32_t>(step * 16 * kPanelLine >> 4));
  }
};

// d = A B or d += A B of a warpgroup: 64 rows, kN columns, one step of 16 k; d lies as in Wgmma.
template <int kN>
struct AttentionWgmma;

#define R1_D8(c, i) \
  c(d[i]), c(d[i + 1]), c(d[i + 2]), c(d[i + 3]), c(d[i + 4]), c(d[i + 5]), c(d[i + 6]), c(d[i + 7])
#define R1_D16(c, i) R1_D8(c, i), R1_D8(c, i + 8)
#define R1_D32(c, i) R1_D16(c, i), R1_D16(c, i + 16)
#define R1_D64(c, i) R1_D32(c, i), R1_D32(c, i + 32)
#define R1_REGISTERS16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define R1_REGISTERS32 R1_REGISTERS16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define R1_REGISTERS64                                                                   \
  R1_REGISTERS32                                                                         \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52" \
  ",%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define R1_SET(x) "=f"(x)
#define R1_ADDED(x) "+f"(x)
#define R1_INSTRUCTION(columns) "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32.bf16.bf16 {"
// first, next: the first step and a further one of products of tiles, both by k. weighted: A lies in registers as an
// accumulator does, rounded, and B by rows.
#define R1_ATTENTION_WGMMA(columns, count, a0, a1, a2, a3, a4)                                               \
  template <>                                                                                                \
  struct AttentionWgmma<columns> {                                                                           \
    static __device__ __forceinline__ void first(float (&d)[count], uint64_t a, uint64_t b) {                \
      asm volatile("{.reg .pred p; setp.ne.b32 p, 0, 0; " R1_INSTRUCTION(columns) R1_REGISTERS##count        \
                   "}, " a0 ", " a1 ", p, 1, 1, 0, 0;}"                                                      \
                   : R1_D##count(R1_SET, 0)                                                                  \
                   : "l"(a), "l"(b));                                                                        \
    }                                                                                                        \
    static __device__ __forceinline__ void next(float (&d)[count], uint64_t a, uint64_t b) {                 \
      asm volatile("{.reg .pred p; setp.eq.b32 p, 0, 0; " R1_INSTRUCTION(columns) R1_REGISTERS##count        \
                   "}, " a0 ", " a1 ", p, 1, 1, 0, 0;}"                                                      \
                   : R1_D##count(R1_ADDED, 0)                                                                \
                   : "l"(a), "l"(b));                                                                        \
    }                                                                                                        \
    static __device__ __forceinline__ void weighted(float (&d)[count], const uint32_t (&a)[4], uint64_t b) { \
      asm volatile("{.reg .pred p; setp.eq.b32 p, 0, 0; " R1_INSTRUCTION(columns) R1_REGISTERS##count        \
                   "}, {" a0 "," a1 "," a2 "," a3 "}, " a4 ", p, 1, 1, 1;}"                                  \
                   : R1_D##count(R1_ADDED, 0)                                                                \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                    \
    }                                                                                                        \
  }

R1_ATTENTION_WGMMA(32, 16, "%16", "%17", "%18", "%19", "%20");
R1_ATTENTION_WGMMA(64, 32, "%32", "%33", "%34", "%35", "%36");
R1_ATTENTION_WGMMA(128, 64, "%64", "%65", "%66", "%67", "%68");

#undef R1_ATTENTION_WGMMA
#undef R1_INSTRUCTION
#undef R1_SET
#undef R1_ADDED
#undef R1_D8
#undef R1_D16
#undef R1_D32
#undef R1_D64
#undef R1_REGISTERS16
#undef R1_REGISTERS32
#undef R1_REGISTERS64

// d = the products of kN rows of `right` with this warpgroup's 64 rows of `left` from `first` on; not waited for.
template <int kN, int kWidth, int kLeftRows, int kRightRows>
__device__ __forceinline__ void begin_scores(float (&d)[kN / 2], uint32_t left, int first, uint32_t right) {
  using Left = WgmmaTile<kLeftRows, kWidth>;
  using Right = WgmmaTile<kRightRows, kWidth>;
  AttentionWgmma<kN>::first(d, Left::by_dimensions(left, first, 0), Right::by_dimensions(right, 0, 0));
#pragma unroll
  for (int step = 1; step < kWidth / 16; ++step)
    AttentionWgmma<kN>::next(d, Left::by_dimensions(left, first, step), Right::by_dimensions(right, 0, step));
  wgmma_commit();
}

// d += weights times the rows of `right`; not waited for.
template <int kWidth, int kRows>
__device__ __forceinline__ void begin_sums(float (&d)[kWidth / 2], const uint32_t (&weights)[kRows / 16][4],
                                           uint32_t right) {
#pragma unroll
  for (int step = 0; step < kRows / 16; ++step)
    AttentionWgmma<kWidth>::weighted(d, weights[step], WgmmaTile<kRows, kWidth>::by_rows(right, step));
  wgmma_commit();
}

inline constexpr int kCopyWarps = 4, kCopiers = 32 * kCopyWarps;

// Copies kRows lines of an array into a tile; warp `warp` of the copiers has rows [warp kRows / 4, ...), and its lane l
// says which line of memory row l of these is, -1: it becomes zeros. The width is a multiple of 8; what lies beyond
// becomes zeros.
template <int kRows, int kWidth>
__device__ __forceinline__ void copy_lines(uint32_t to, const uint16_t* from, int width, int warp,
                                           int32_t line) {
  constexpr int kVectors = kWidth / kVector, kAtOnce = 32 / kVectors, kEach = kRows / kCopyWarps;
  static_assert(kEach % 8 == 0 && kEach <= 32);
  const int lane = static_cast<int>(threadIdx.x) % 32, vector = lane % kVectors, first = lane / kVectors;
  const bool inside = vector * kVector < width;
  to += static_cast<uint32_t>(vector / 8 * WgmmaTile<kRows, kWidth>::kPanelBytes + warp * kEach * kPanelLine);
  const uint16_t* const column = from + vector * kVector;
#pragma unroll
  for (int turn = 0; turn < kEach / kAtOnce; ++turn) {
    const int row = turn * kAtOnce + first;
    const int32_t own = __shfl_sync(~0u, line, row);
    const bool there = own >= 0 && inside;
    copy_async(to + static_cast<uint32_t>(panel_place(row, vector % 8)),
               there ? column + int64_t{own} * width : from, there ? 16 : 0);
  }
}

// The barriers of a block whose copiers fill kStages stages, which `readers` warps read: full ones, empty ones, and one
// for what is copied once.
template <int kStages>
struct StageBarriers {
  static constexpr int kBytes = 8 * (2 * kStages + 1);
  uint32_t at;  // in shared memory
  __device__ __forceinline__ void init(int readers) const {
    if (threadIdx.x == 0) {
      for (int s = 0; s < kStages; ++s) {
        barrier_init(full(s), kCopiers);
        barrier_init(empty(s), readers);
      }
      barrier_init(once(), kCopiers);
    }
    __syncthreads();
  }
  // n counts the uses of stages from 0.
  static __device__ __forceinline__ int stage(int n) { return n % kStages; }
  static __device__ __forceinline__ int parity(int n) { return n / kStages % 2; }
  __device__ __forceinline__ uint32_t full(int n) const { return at + 8 * static_cast<uint32_t>(stage(n)); }
  __device__ __forceinline__ uint32_t empty(int n) const { return full(n) + 8 * kStages; }
  __device__ __forceinline__ uint32_t once() const { return at + 16 * kStages; }
  __device__ __forceinline__ void wait_full(int n) const { barrier_wait(full(n), parity(n)); }
  __device__ __forceinline__ void wait_empty(int n) const { barrier_wait(empty(n), parity(n) ^ 1); }
};

// The address of dynamic shared memory, which has to be aligned as tiles are.
__device__ __forceinline__ uint32_t tile_memory(const void* memory) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(memory));
  if (at % kTileAlignment != 0) __trap();
  return at;
}

// The number that lane 0 has, which the compiler then knows to be one for the whole warp.
__device__ __forceinline__ int for_warp(int value) {
  return __shfl_sync(~0u, value, 0);
}

// The position of query row i of a tile, which is the last key that it sees. Rows behind the last one count as it.
__device__ __forceinline__ int last_key(const TileOfQueries& t, const Quotient& by_heads, int i) {
  return t.prefix + by_heads.of(t.row + min(i, t.rows - 1));
}
// The line [T, H] of query row i; -1: it is not there.
__device__ __forceinline__ int32_t query_line(const TileOfQueries& t, const Quotient& by_heads, int heads,
                                              int H, int i) {
  const int row = t.row + i, token = by_heads.of(row);
  return i < t.rows ? (t.first + token) * H + t.g * heads + row - token * heads : -1;
}
// The batch's token that is the key at this position.
__device__ __forceinline__ int32_t token_of(const TileOfQueries& t, int key) {
  return key < t.prefix ? t.prefix_first + key : t.first + key - t.prefix;
}

// Blocks of this kernel have so many bytes of dynamic shared memory, and share a multiprocessor.
template <class Kernel>
void allow_shared_bytes(Kernel kernel, int bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "cudaFuncSetAttribute");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "cudaFuncSetAttribute");
}
// True if this build has code for wgmma and this GPU runs it.
inline bool has_wgmma() {
#ifdef R1_SM90A
  static const bool hopper = device_facts().major == 9;
  return hopper;
#else
  return false;
#endif
}
// True if the heads [T, heads, width] can be copied in vectors.
inline bool lies_in_vectors(const Tensor& heads) {
  return rows_have_vectors(heads.data, heads.dim(2));
}

}  // namespace r1::cuda
