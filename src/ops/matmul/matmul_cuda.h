// ops/matmul/matmul_cuda.h: matrix products in f32 on a CUDA device, with cpu-f32's bits (gemm.h, matmul.h).
// Private to this folder, to ops that multiply, and to their tests.
//
//   C[m, n] = accumulate ? C[m, n] : +0
//   for k = 0 .. K-1 in order: C[m, n] = fma(A[m, k], B[k, n], C[m, n])
//   C[m, n] += bias[n]
//
// Pointers are the device's. Work is queued on `stream` (a cudaStream_t) and nothing is allocated. Throws
// Error if a launch is refused. C may not overlap A or B.
#pragma once

#include <cstdint>

namespace r1::cuda {

// A matrix operand whose elements lie row by row, `row` floats apart. `by_k`: a row holds consecutive k, as x
// and W in y = x W^T. Otherwise a row holds consecutive m (or n), as dy and x in dW = dy^T x. B can be by k
// only if A is.
struct Operand {
  const float* data = nullptr;
  int64_t row = 0;
  bool by_k = true;
};

struct ProductF32 {
  int64_t M = 0, N = 0, K = 0;
  Operand a, b;
  float* c = nullptr;
  int64_t c_row = 0;
  bool accumulate = false;
  const float* bias = nullptr;  // [N], added last; or null
};
void product_f32(const ProductF32& p, void* stream);

// `count` products of one shape, whose operands and outputs lie these many floats apart (the heads of MLA).
struct Apart {
  int64_t count = 1;
  int64_t a = 0, b = 0, c = 0;
};
void products_f32(const ProductF32& p, const Apart& apart, void* stream);

// Products of `count` experts over rows that are sorted by expert: expert e owns rows [starts[e],
// starts[e + 1]). All arrays are the device's, so the host need not know the rows. They are either the M of
// the product (of A and C; B is `weights[e]`), or, with `rows_are_k`, its K (of A and B; C is `gradients[e]`,
// and experts whose gradient is null are skipped). p.M or p.K is the most rows that an expert can have;
// `typical` is about how many they have, for speed alone.
struct ByExpert {
  int64_t count = 0;
  int64_t typical = 0;
  const int64_t* starts = nullptr;        // [count + 1]
  const float* const* weights = nullptr;  // [count], each aligned to 16 bytes if `aligned`
  float* const* gradients = nullptr;      // [count]
  bool rows_are_k = false;
  bool aligned = false;
};
void products_f32(const ProductF32& p, const ByExpert& experts, void* stream);

// y [T, N] = x [T, K] W^T (+ bias), W row-major [N, K].
void matmul_f32(const float* x, int64_t T, const float* w, int64_t N, int64_t K, const float* bias, float* y,
                void* stream);
// dx [T, K] = or += dy [T, N] W: n in order.
void matmul_dx_f32(const float* dy, int64_t T, const float* w, int64_t N, int64_t K, bool accumulate,
                   float* dx, void* stream);
// dw [N, K] continues from what it held with dy^T x: t in order.
void matmul_dw_f32(const float* x, const float* dy, int64_t T, int64_t N, int64_t K, float* dw, void* stream);
// dbias [N] continues from what it held: t in order.
void matmul_dbias_f32(const float* dy, int64_t T, int64_t N, float* dbias, void* stream);

}  // namespace r1::cuda
