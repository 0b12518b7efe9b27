// bench/gpu_decode.cu: attention of a decoding step in recorded launches, as it runs there: each launch may begin before the
// one ahead has ended, and reads keys and values that no cache holds.
#include <cmath>
#include <memory>
#include <vector>

#include "bench/gpu_bench.cuh"
#include "ops/attention/tensor_decode_cuda.h"
#include "tensor/device_graph.h"
#include "tensor/device_lists.h"
#include "tensor/parameter.h"
#include "tensor/workspace.h"

namespace r1::bench {
namespace {

struct DecodeCase {
  int64_t rows, keys, H, G, K;
};

Tensor bits_tensor(const Bits& from, Shape shape) {
  Tensor t;
  t.data = from.at();
  t.shape = shape;
  t.dtype = DType::bf16;
  return t;
}

void bench_decode_case(Bench& bench, const DecodeCase& c) {
  const std::string name = "decode " + std::to_string(c.rows) + " x " + std::to_string(c.keys) + " keys, " +
                           std::to_string(c.H) + "/" + std::to_string(c.G) + " x " + std::to_string(c.K);
  if (!bench.measures(name)) return;
  constexpr size_t kUncached = size_t{512} << 20;  // far more than the second-level cache holds
  constexpr int64_t kLeastPages = 8;
  const int64_t pages = std::max(kLeastPages, (c.keys + kKeyTile - 1) / kKeyTile);
  KvPages shape{.data = nullptr, .dtype = DType::bf16, .G = c.G, .K = c.K, .V = c.K};
  std::vector<std::unique_ptr<Bits>> layers;
  for (size_t held = 0; held < kUncached || layers.size() < 4; held += layers.back()->bytes())
    layers.push_back(std::make_unique<Bits>(c.rows * pages * shape.page_elements()));
  ThreadPool threads(1);
  Workspace work(threads, Numerics::cuda_bf16, cuda_memory());
  Context& ctx = work.ctx;
  ctx.stream = bench.stream();
  std::vector<float> frequencies(static_cast<size_t>(c.K / 2));
  for (size_t i = 0; i < frequencies.size(); ++i)
    frequencies[i] = std::pow(1e6f, -2.0f * static_cast<float>(i) / static_cast<float>(c.K));
  const RopeTable table(frequencies, 1.0f, 8192);
  std::vector<int32_t> words(static_cast<size_t>(c.rows), static_cast<int32_t>(c.keys - 1));
  const std::vector<int32_t> positions = words;
  for (int64_t s = 0; s < c.rows; ++s)
    for (int64_t p = 0; p < pages; ++p) words.push_back(static_cast<int32_t>(p * c.rows + s));
  Memory& memory = cuda_memory();
  const size_t bytes = words.size() * sizeof(int32_t);
  auto* const lists = static_cast<int32_t*>(memory.allocate(bytes));
  memory.write(lists, words.data(), bytes);
  const Bits q(c.rows * c.H * c.K), k(c.rows * c.G * c.K), v(c.rows * c.G * c.K), out(c.rows * c.H * c.K);
  const Floats norm(c.K);
  Parameter weight;
  weight.value.data = norm.at(), weight.value.shape = Shape{c.K};
  const Rotary rotary{.positions = positions, .table = &table, .style = RopeStyle::half};
  const auto all = [&] {
    for (const auto& layer : layers) {
      shape.data = layer->at();
      cuda::tensor_decode(ctx,
                          {.pages = shape,
                           .q = bits_tensor(q, Shape{c.rows, c.H, c.K}),
                           .k = bits_tensor(k, Shape{c.rows, c.G, c.K}),
                           .v = bits_tensor(v, Shape{c.rows, c.G, c.K}),
                           .out = bits_tensor(out, Shape{c.rows, c.H, c.K}),
                           .q_norm = &weight,
                           .k_norm = &weight,
                           .eps = 1e-6f,
                           .rotary = &rotary,
                           .scale = 1.0f / std::sqrt(static_cast<float>(c.K))},
                          {.positions = lists, .table = lists + c.rows, .S = c.rows, .max_pages = pages});
    }
  };
  all();
  DeviceLists recorded;
  recorded.recording = true;
  ctx.lists = &recorded;
  const DeviceGraph graph(bench.stream(), all);
  ctx.lists = nullptr;
  bench.row_per(name, static_cast<double>(c.rows * c.keys * c.G * c.K * 4), std::ssize(layers),
                [&] { graph.launch(bench.stream()); });
  memory.free(lists, bytes);
}

}  // namespace

void bench_decode(Bench& bench) {
  // Heads of qwen3 0.6b, qwen2 1.5b, qwen3 8b and smollm2 135m.
  for (const DecodeCase& c :
       {DecodeCase{1, 161, 16, 8, 128}, DecodeCase{8, 161, 16, 8, 128}, DecodeCase{32, 161, 16, 8, 128},
        DecodeCase{64, 97, 16, 8, 128}, DecodeCase{64, 161, 16, 8, 128}, DecodeCase{64, 1000, 16, 8, 128},
        DecodeCase{128, 161, 16, 8, 128}, DecodeCase{512, 97, 16, 8, 128}, DecodeCase{512, 161, 16, 8, 128},
        DecodeCase{512, 1000, 16, 8, 128}, DecodeCase{256, 161, 12, 2, 128}, DecodeCase{128, 161, 32, 8, 128},
        DecodeCase{2048, 161, 9, 3, 64}})
    bench_decode_case(bench, c);
}

}  // namespace r1::bench
