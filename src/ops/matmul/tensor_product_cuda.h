// ops/matmul/tensor_product_cuda.h: products of bf16 matrices on the tensor cores of a GPU (sm_80 and up), in
// one order of sums. Private to this folder, to ops that multiply, and to their tests.
//
//   D[i, j] = sum over k of P[i, k] Q[j, k],  products exact, sums in f32
//
//   for every shard of k in order (TensorShards):
//     chain = first shard and accumulate ? D[i, j] : +0
//     for every step of 16 k of the shard in order: chain = mma(chain, the step's products)
//     total = first shard ? chain : total + chain
//   D[i, j] = total + bias[i], rounded to D's type; or the gradient that follows from it (LogitGradient)
//
// mma is one tensor-core instruction: mma.sync m16n8k16, or a wgmma of any width, whose results agree in
// every bit (tests/gpu/matmul_bits_test.cu). How the hardware adds the sixteen products and the chain is not
// published: it aligns them to the largest and cuts off what lies below, with errors of 2^-16.9 of the sum of
// magnitudes at most in those tests. What a step past the end of K would add is zeros.
//
// Bits: D[i, j] is a function of row i of P, row j of Q, K and the most shards alone. Neither the number of
// rows nor the kernel that is picked changes it. In the forward, P is the weight and Q the tokens.
//
// Pointers are the device's. Work is queued on `stream` (a cudaStream_t) and nothing is allocated. Throws
// Error if a launch is refused. D may not overlap P or Q.
#pragma once

#include <cstdint>
#include <span>

namespace r1::cuda {

inline constexpr int64_t kTensorStep = 16;  // k of one instruction

// The cut of K: `count` shards of `steps` steps each. The last step of the last shard may be short.
struct TensorShards {
  int64_t count = 1, steps = 0;
};
// The most shards, at most `most` (a power of two), that K divides into whole steps, of at least four steps
// each.
constexpr TensorShards tensor_shards(int64_t K, int64_t most) {
  constexpr int64_t kLeastSteps = 4;
  int64_t count = most;
  while (count > 1 && (K % (kTensorStep * count) != 0 || K < kTensorStep * kLeastSteps * count)) count /= 2;
  return {count, (K + kTensorStep * count - 1) / (kTensorStep * count)};
}

// A matrix of bf16 bits whose elements lie row by row, `row` elements apart. `by_k`: a row of memory holds
// consecutive k. Otherwise it holds consecutive i (or j), as dy and x in dW = dy^T x. Q can be otherwise only
// if P is.
struct TensorOperand {
  const uint16_t* data = nullptr;
  int64_t row = 0;
  bool by_k = true;
};

// Turns a logit of a token into the gradient of the token's log-prob (ops/loss), as soon as it is summed, so
// that no logit is stored: 2^(logit * exponent - most) * factor, and `own` more for the target.
struct LogitGradient {
  float most = 0, factor = 0, own = 0;
  int32_t target = -1;
};

struct TensorProduct {
  int64_t I = 0, J = 0, K = 0;
  TensorOperand p, q;
  void* d = nullptr;         // f32, or bf16 if d_bf16
  int64_t d_i = 0, d_j = 0;  // elements between neighbours in i and in j
  bool d_bf16 = false;       // not together with accumulate
  bool accumulate = false;
  const float* bias = nullptr;  // [I], added last; or null
  bool round_bias = false;      // to bf16, before it is added
  int64_t most_shards = 1;
  const LogitGradient* gradients = nullptr;  // [J], with D in bf16; or null: D is the product
  float exponent = 0;
  // [K], of operands that are not by k: the row of memory that holds k; -1: zeros. Null: row k.
  const int32_t* k_rows = nullptr;
  bool early =
      false;  // P was ready before the kernel ahead was launched: it may be read before that has ended
};
void tensor_product(const TensorProduct& product, void* stream);

// A block of the kernel for few rows reads as many bytes of Q as of P for every 16 x 16 outputs, from the second-level
// cache; a block of tiles takes 0.6 us per 64 k, however few there are. Measured on an H200.
inline constexpr int64_t kFewOutputs = 160000;

// The shards of a product that are to be computed side by side in scratch because each block would otherwise walk a long K
// alone; 1: none. A function of the shapes and the GPU: Hopper's need no scratch.
int64_t split_parts(const TensorProduct& product);
// Computes a product of several shards side by side. Their sums lie in `sums` [shards, J, I], the device's. The bits are
// those of tensor_product().
void tensor_product_in_parts(const TensorProduct& product, float* sums, void* stream);

// Tokens `first` to first + count - 1 of a product over tokens (split_gradient_cuda.h).
struct TokenChain {
  int32_t first = 0, count = 0;
};

// `count` products of one shape in one launch. Either their operands and outputs lie these many elements apart
// (the heads of latent attention), or they are experts whose rows of Q and D are sorted by expert: expert e owns
// rows [starts[e], starts[e + 1]), and its P begins at matrices[e]. The arrays are the device's, so the host
// need not know the rows: product.J is the most that an expert can have, `typical` about how many they have.
struct TensorGroups {
  int64_t count = 1;
  int64_t p = 0, q = 0, d = 0;
  const int64_t* starts = nullptr;            // [count + 1]
  const uint16_t* const* matrices = nullptr;  // [count], all aligned to 16 bytes if `aligned`
  bool aligned = false;
  int64_t typical = 0;
};
void tensor_products(const TensorProduct& product, const TensorGroups& groups, void* stream);

// Products of one Q and one K: in one launch if there are few rows of Q, else one after the other.
inline constexpr size_t kMostProducts = 4;
void tensor_products_of(std::span<const TensorProduct> products, void* stream);

// The kernels that tensor_product() picks from, for tests and benchmarks, which show that they agree.
enum class TensorKernel { streamed, few_rows, small_tiles, large_tiles, wgmma, wgmma_wide, wgmma_shards };
// True if the kernel can compute it on this GPU.
bool tensor_kernel_fits(const TensorProduct& product, TensorKernel kernel);
void tensor_product(const TensorProduct& product, TensorKernel kernel, void* stream);
void tensor_products(const TensorProduct& product, const TensorGroups& groups, TensorKernel kernel,
                     void* stream);

// y [T, N] = x [T, K] W^T (+ bias), W row-major [N, K]; y is f32 or bf16.
struct TensorForward {
  const uint16_t* x = nullptr;
  int64_t T = 0;
  const uint16_t* w = nullptr;
  int64_t N = 0, K = 0;
  const float* bias = nullptr;
  void* y = nullptr;
  bool y_bf16 = false;
  int64_t most_shards = 1;
  bool early = false;
};
TensorProduct forward_product(const TensorForward& f);
// dx [T, K] = or += dy [T, N] W. N is cut into shards as the forward's K.
TensorProduct input_gradient_product(const uint16_t* dy, int64_t T, const uint16_t* w, int64_t N, int64_t K,
                                     int64_t most_shards, bool accumulate, float* dx);
// dw [N, K] continues from what it held with dy^T x, in one chain over steps of tokens: rows [steps] as
// TokenSteps has them, or null: tokens 0 to T - 1 in order.
TensorProduct weight_gradient_product(const uint16_t* x, const uint16_t* dy, int64_t T, int64_t N, int64_t K,
                                      const int32_t* rows, int64_t steps, float* dw);

}  // namespace r1::cuda
