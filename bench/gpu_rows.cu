// bench/gpu_rows.cu: the products of decoding in recorded steps, as they run there: each launch may begin before the one
// ahead has ended, and reads a weight that no cache holds.
#include <array>
#include <memory>
#include <vector>

#include "bench/gpu_bench.cuh"
#include "ops/matmul/tensor_stream_cuda.h"
#include "tensor/device_graph.h"

namespace r1::bench {
namespace {

constexpr size_t kUncached = size_t{512} << 20;  // far more than the second-level cache holds

struct RowsCase {
  int64_t N, K;
  cuda::StreamOutput output;
  bool normed;
};

void bench_rows(Bench& bench, int64_t T, const RowsCase& c) {
  const bool gate = c.output == cuda::StreamOutput::gate;
  const std::string name = std::string(c.normed ? "norm, " : "") + "rows " + std::to_string(T) + " x " +
                           std::to_string(c.N) + " x " + std::to_string(c.K) +
                           (gate                                  ? ", gated"
                            : c.output == cuda::StreamOutput::add ? ", added"
                                                                  : "");
  if (!bench.measures(name)) return;
  const int64_t rows = gate ? 2 * c.N : c.N;
  const size_t bytes = static_cast<size_t>(rows * c.K) * 2;
  std::vector<std::unique_ptr<Bits>> weights;
  for (size_t held = 0; held < kUncached; held += bytes)
    weights.push_back(std::make_unique<Bits>(rows * c.K));
  const Bits q(T * c.K);
  const Floats x(T * c.K), norm(c.K), y(T * c.N);
  bool fits = true;
  const auto launch = [&](const Bits& w, bool run) {
    std::array<cuda::TensorProduct, 2> products;
    for (size_t n = 0; n < 2; ++n)
      products[n] = cuda::forward_product({.x = q.at(),
                                           .T = T,
                                           .w = w.at() + static_cast<int64_t>(n) * c.N * c.K,
                                           .N = c.N,
                                           .K = c.K,
                                           .y = y.at(),
                                           .y_bf16 = c.output != cuda::StreamOutput::add,
                                           .most_shards = 8,
                                           .early = true});
    cuda::StreamCall call{.products = {products.data(), gate ? 2u : 1u}, .output = c.output};
    if (c.normed) call.x = x.at(), call.norm = norm.at(), call.eps = 1e-6f;
    fits = cuda::stream_fits(call);
    if (!run) return;
    if (fits) return cuda::stream_products(call, bench.stream());
    cuda::tensor_product(products[0], bench.stream());
  };
  launch(*weights.front(), false);
  if (!fits && (c.normed || c.output != cuda::StreamOutput::store)) return;
  const auto all = [&] {
    for (const auto& w : weights) launch(*w, true);
  };
  all();
  const DeviceGraph graph(bench.stream(), all);
  bench.row_per(name, static_cast<double>(bytes), std::ssize(weights), [&] { graph.launch(bench.stream()); });
}

}  // namespace

void bench_few_rows(Bench& bench) {
  using enum cuda::StreamOutput;
  // qwen2 1.5b, qwen3 0.6b, qwen3 8b: qkv, attention's output, gate and up, down; the head of the first.
  for (const int64_t T : {1, 4, 16, 32}) {
    for (const RowsCase& c : {RowsCase{2048, 1536, store, true}, RowsCase{2048, 1536, store, false},
                              RowsCase{1536, 1536, add, false}, RowsCase{8960, 1536, gate, true},
                              RowsCase{8960, 1536, gate, false}, RowsCase{1536, 8960, add, false},
                              RowsCase{151936, 1536, store, false}, RowsCase{4096, 1024, store, true},
                              RowsCase{1024, 2048, add, false}, RowsCase{3072, 1024, gate, true},
                              RowsCase{1024, 3072, add, false}, RowsCase{6144, 4096, store, true},
                              RowsCase{12288, 4096, gate, true}, RowsCase{4096, 12288, add, false}})
      bench_rows(bench, T, c);
  }
}

}  // namespace r1::bench
