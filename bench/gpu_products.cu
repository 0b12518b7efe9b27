// bench/gpu_products.cu: products of bf16 matrices in cuda-bf16, in the shapes of training and of decoding.
#include <array>
#include <numeric>

#include "bench/gpu_bench.cuh"
#include "ops/matmul/split_gradient_cuda.h"
#include "ops/matmul/tensor_product_cuda.h"
#include "tensor/context.h"
#include "tensor/token_steps.h"

namespace r1::bench {
namespace {

constexpr int64_t kShards = 8;

double flops_of(int64_t T, int64_t N, int64_t K) {
  return 2.0 * static_cast<double>(T) * static_cast<double>(N) * static_cast<double>(K);
}

// y in bf16, by the kernels that the op picks.
void bench_forward(Bench& bench, int64_t T, int64_t N, int64_t K) {
  const Bits x(T * K), w(N * K), y(T * N);
  const cuda::TensorProduct product = cuda::forward_product({.x = x.at(),
                                                             .T = T,
                                                             .w = w.at(),
                                                             .N = N,
                                                             .K = K,
                                                             .y = y.at(),
                                                             .y_bf16 = true,
                                                             .most_shards = kShards});
  const int64_t parts = cuda::split_parts(product);
  const Floats sums(parts > 1 ? parts * T * N : 1);
  bench.tensor_row(shape("bf16 y", T, N, K), flops_of(T, N, K),
                   static_cast<double>(x.bytes() + w.bytes() + y.bytes()), [&] {
                     if (parts > 1) return cuda::tensor_product_in_parts(product, sums.at(), bench.stream());
                     cuda::tensor_product(product, bench.stream());
                   });
}

// Products of one x, as of query, key and value, or of gate and up.
void bench_list(Bench& bench, int64_t T, std::initializer_list<int64_t> outputs, int64_t K) {
  const int64_t N = std::accumulate(outputs.begin(), outputs.end(), int64_t{0});
  const Bits x(T * K), w(N * K), y(T * N);
  std::vector<cuda::TensorProduct> list;
  int64_t first = 0;
  std::string name;
  for (const int64_t n : outputs) {
    list.push_back(cuda::forward_product({.x = x.at(),
                                          .T = T,
                                          .w = w.at() + first * K,
                                          .N = n,
                                          .K = K,
                                          .y = y.at() + first * T,
                                          .y_bf16 = true,
                                          .most_shards = kShards}));
    first += n;
    name += (name.empty() ? "" : "+") + std::to_string(n);
  }
  bench.tensor_row("bf16 y " + std::to_string(T) + " x " + name + " x " + std::to_string(K),
                   flops_of(T, N, K), static_cast<double>(x.bytes() + w.bytes() + y.bytes()),
                   [&] { cuda::tensor_products_of(list, bench.stream()); });
}

// Both gradients; that of the weight as one chain.
void bench_gradients(Bench& bench, int64_t T, int64_t N, int64_t K) {
  const Bits x(T * K), w(N * K), dy(T * N);
  const Floats dx(T * K), dw(N * K);
  const auto operands = static_cast<double>(x.bytes() + w.bytes() + dy.bytes());
  for (const bool added : {false, true}) {
    bench.tensor_row(shape(added ? "bf16 dx added" : "bf16 dx", T, N, K), flops_of(T, N, K),
                     operands + (added ? 2 : 1) * static_cast<double>(dx.bytes()), [&] {
                       cuda::tensor_product(
                           cuda::input_gradient_product(dy.at(), T, w.at(), N, K, kShards, added, dx.at()),
                           bench.stream());
                     });
  }
  bench.tensor_row(
      shape("bf16 dW", T, N, K), flops_of(T, N, K), operands + 2 * static_cast<double>(dw.bytes()), [&] {
        cuda::tensor_product(cuda::weight_gradient_product(x.at(), dy.at(), T, N, K, nullptr, 0, dw.at()),
                             bench.stream());
      });
}

// The gradient of a weight over rows of `row` tokens, as training computes it. The time includes the upload of its lists.
void bench_chains(Bench& bench, int64_t rows, int64_t row, int64_t N, int64_t K) {
  const int64_t T = rows * row;
  const Bits x(T * K), dy(T * N);
  const Floats dw(N * K);
  ThreadPool threads(1);
  Arena tensors(Arena::kDefaultLimit, cuda_memory()), host;
  Context ctx{.arena = tensors,
              .threads = threads,
              .device = Device::cuda,
              .numerics = Numerics::cuda_bf16,
              .host_arena = &host,
              .stream = bench.stream()};
  const std::vector<int64_t> families(static_cast<size_t>(rows), row);
  const std::vector<int32_t> list = token_step_rows(families);
  const TokenSteps steps{.families = families, .rows = list};
  ctx.steps = &steps;
  bench.tensor_row(shape("bf16 dW chains", T, N, K), flops_of(T, N, K),
                   static_cast<double>(x.bytes() + dy.bytes() + 2 * dw.bytes()),
                   [&] { cuda::split_weight_gradient(ctx, x.at(), dy.at(), N, K, dw.at()); });
}

}  // namespace

void bench_products(Bench& bench) {
  // T, N, K: one layer of 8 B, 1.54 B and SmolLM2-135M; the matrices of the 98 M model, and some of the 117 M one with experts.
  constexpr std::array<std::array<int64_t, 3>, 13> kTraining = {{{2048, 14336, 4096},
                                                                 {2048, 4096, 14336},
                                                                 {8192, 1536, 1536},
                                                                 {8192, 8960, 1536},
                                                                 {8192, 576, 1536},
                                                                 {32768, 768, 768},
                                                                 {32768, 2048, 768},
                                                                 {32768, 768, 2048},
                                                                 {16384, 160, 512},
                                                                 {16384, 256, 512},
                                                                 {16384, 512, 256},
                                                                 {16384, 512, 512},
                                                                 {16384, 768, 256}}};
  for (const auto& [T, N, K] : kTraining) {
    bench_forward(bench, T, N, K);
    bench_gradients(bench, T, N, K);
    bench_chains(bench, T / 1024, 1024, N, K);
  }
  for (const int64_t T : {32, 48, 64, 128, 256, 512}) bench_forward(bench, T, 14336, 4096);
  // Decoding: 1.54 B, then 0.6 B.
  for (const int64_t T : {64, 128, 256, 512}) {
    bench_list(bench, T, {1536, 256, 256}, 1536);
    bench_forward(bench, T, 1536, 1536);
    bench_list(bench, T, {8960, 8960}, 1536);
    bench_forward(bench, T, 1536, 8960);
    bench_forward(bench, T, 151936, 1536);
  }
  for (const int64_t T : {64, 256, 512}) {
    bench_list(bench, T, {2048, 1024, 1024}, 1024);
    bench_forward(bench, T, 1024, 2048);
    bench_list(bench, T, {3072, 3072}, 1024);
    bench_forward(bench, T, 1024, 3072);
  }
}

}  // namespace r1::bench
