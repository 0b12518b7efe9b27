// ops/matmul/gemm.h: the kernel under every matrix product on the CPU.
//
//   C[m, n] = accumulate ? C[m, n] : +0
//   for k = 0 .. K-1 in order: C[m, n] = fma(A[m, k], B[k, n], C[m, n])
//
// Tiling, threads and instruction set never change a bit: each output is one chain of FMAs in k. Lanes run
// over n. A is read by broadcast through two strides, so a transposed A costs nothing. B is read by rows of
// consecutive n: panel p covers columns [32 p, 32 p + 32), and its row k starts at
// b + p * b_panel + k * b_row.
//
//   packed B              b_panel = K * 32   b_row = 32
//   row-major B [K, N]    b_panel = 32       b_row = N
//
// If N is not a multiple of 32, the last panel of a plain (row-major) B is read only up to N; a packed
// one is padded with zeros.
//
// Product::bf16 and Product::avx512bf16 read B in bf16, always packed: row i of a panel holds, for each of
// the 32 columns, the pair B[2i, n] (low half) and B[2i + 1, n] (high half); an odd K is padded with zeros.
//
//   bf16        the same chain as above, on the widened values of B. They may also be pairs of f16 (f16_pairs)
//   avx512bf16  VDPBF16PS (A's values must be bf16 values), for each pair in order:  C = fma(A[m, 2i + 1], B[2i + 1, n], C), then
//                                                   C = fma(A[m, 2i],     B[2i, n],     C);
//               denormals of A, B and C count as zero and become zero
#pragma once

#include <cstdint>
#include <span>

#include "base/threads.h"
#include "tensor/numerics.h"

namespace r1 {

// Columns of a panel. Kernels hold a row of a panel in registers: two vectors of AVX-512.
inline constexpr int64_t kPanel = 32;

struct Gemm {
  int64_t M = 0, N = 0, K = 0;
  const float* a = nullptr;
  int64_t a_row = 0;         // stride of m
  int64_t a_col = 1;         // stride of k
  const float* b = nullptr;  // or pairs of bf16, whose strides also count 32-bit units
  int64_t b_panel = 0;
  int64_t b_row = 0;
  float* c = nullptr;
  int64_t c_row = 0;  // stride of m; n is contiguous
  bool accumulate = false;
  Product product = Product::f32;
  bool f16_pairs = false;  // with Product::bf16: the pairs are f16 numbers
};

// One product, shared by all threads.
void gemm(ThreadPool& threads, const Gemm& g);
// Many independent products (heads, experts), shared by all threads. Outputs must not overlap.
void gemm_batch(ThreadPool& threads, std::span<const Gemm> list);
// One product on the calling thread, for use inside parallel regions (attention tiles).
void gemm_serial(const Gemm& g);

// ---- packing

constexpr int64_t pair_rows(int64_t K) {
  return (K + 1) / 2;
}
constexpr int64_t panels_floats(int64_t N, int64_t K) {
  return (N + kPanel - 1) / kPanel * kPanel * K;
}

// Packs w [N, K], with row stride w_row, as B[k, n] = w[n * w_row + k] into zero-padded panels
// [ceil(N / 32)][K][32].
void pack_transposed(ThreadPool& threads, const float* w, int64_t N, int64_t K, int64_t w_row, float* panels);

// Packs a row-major B [K, N] (row stride b_row) into the same panels, panels_floats(N, K) floats. This pays
// if many rows of A follow and B's rows are long, because long rows share cache sets and pages.
void pack_rows(ThreadPool& threads, const float* b, int64_t K, int64_t N, int64_t b_row, float* panels);
// Packs w [N, K] as pairs, [ceil(N / 32)][ceil(K / 2)][32] units of 32 bits: rounds f32, copies bf16.
void pack_pairs(ThreadPool& threads, const float* w, int64_t N, int64_t K, uint32_t* pairs);
void pack_pairs(ThreadPool& threads, const uint16_t* w, int64_t N, int64_t K, uint32_t* pairs);

// One panel, on the calling thread, of rows w [width, K] that follow each other, width <= 32.
void pack_one_panel(const float* w, int64_t width, int64_t K, float* panel);
void pack_one_panel(const float* w, int64_t width, int64_t K, uint32_t* pairs);
void pack_one_panel(const uint16_t* w, int64_t width, int64_t K, uint32_t* pairs);
// Packs a row-major B [K, N] as pairs, on the calling thread.
void pack_rows_as_pairs(const uint16_t* b, int64_t K, int64_t N, uint32_t* pairs);
// Copies row n of panels of a matrix with K columns back, in f32.
void unpack_row(const float* panels, int64_t n, int64_t K, float* to);
void unpack_row(const uint32_t* pairs, int64_t n, int64_t K, float* to);
void unpack_f16_row(const uint32_t* pairs, int64_t n, int64_t K, float* to);

}  // namespace r1
