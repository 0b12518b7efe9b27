// bench/gpu_quant.cu: products with quantised matrices. Bytes are those of the tiles and of x and y; the matrices that
// follow each other are more than the second-level cache holds, so that the memory is what is measured.
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "bench/gpu_bench.cuh"
#include "ops/matmul/matmul.h"
#include "ops/matmul/quant_product_cuda.h"
#include "ops/matmul/quant_stream_cuda.h"
#include "ops/matmul/quant_tiles.h"
#include "tensor/context.h"
#include "tensor/device_graph.h"

namespace r1::bench {
namespace {

// A checkpoint's bytes: random codes, and scales of about 2^-10.
class RandomBlocks final : public StoredBytes {
 public:
  RandomBlocks(Format format, int64_t N, int64_t K) : bytes_(static_cast<size_t>(bytes_of(format, N * K))) {
    uint64_t state = 1;
    for (size_t at = 0; at < bytes_.size(); ++at) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      bytes_[at] = static_cast<std::byte>(state >> 56);
      if (format == Format::f8_e4m3) bytes_[at] &= std::byte{0xBF};  // no NaN
    }
    if (format == Format::f8_e4m3) return;
    const auto block = static_cast<size_t>(row_of(format).bytes);
    const size_t d = format == Format::q6_k   ? 208
                     : format == Format::q3_k ? 108
                     : format == Format::q2_k ? 80
                                              : 0;
    const uint16_t scales[2] = {0x1400, 0x1800};
    const bool minimum = format == Format::q4_k || format == Format::q5_k || format == Format::q2_k;
    for (size_t at = d; at < bytes_.size(); at += block)
      std::memcpy(bytes_.data() + at, scales, minimum ? sizeof(scales) : sizeof(scales[0]));
  }
  const std::string& path() const override { return path_; }
  void read(uint64_t begin, std::span<std::byte> to, std::string_view) const override {
    std::memcpy(to.data(), bytes_.data() + begin, to.size());
  }

 private:
  std::vector<std::byte> bytes_;
  std::string path_ = "random blocks";
};

class OneScale final : public StoredBytes {
 public:
  const std::string& path() const override { return path_; }
  void read(uint64_t, std::span<std::byte> to, std::string_view) const override {
    const float scale = 0x1p-10f;
    for (size_t at = 0; at < to.size(); at += sizeof(scale))
      std::memcpy(to.data() + at, &scale, sizeof(scale));
  }

 private:
  std::string path_ = "one scale";
};

Parameter random_parameter(Format format, int64_t N, int64_t K) {
  Parameter p;
  p.name = p.stored.name = std::string(name_of(format));
  p.value.shape = p.stored.shape = {N, K};
  p.value.dtype = DType::bf16;
  p.stored.format = format;
  p.stored.owner = std::make_shared<RandomBlocks>(format, N, K);
  if (format == Format::f8_e4m3) {
    const auto scales = std::make_shared<Stored>();
    scales->shape = {(N + kFp8Block - 1) / kFp8Block, (K + kFp8Block - 1) / kFp8Block};
    scales->owner = std::make_shared<OneScale>();
    p.stored.scales = scales;
  }
  return p;
}

// Products of the op, for each number of rows.
void bench_quant_shape(Bench& bench, Format format, int64_t N, int64_t K, const std::vector<int64_t>& rows) {
  const auto name_for = [&](int64_t T) {
    return std::string(name_of(format)) + " y " + std::to_string(T) + " x " + std::to_string(N) + " x " +
           std::to_string(K);
  };
  if (std::ranges::none_of(rows, [&](int64_t T) { return bench.measures(name_for(T)); })) return;
  constexpr int64_t kBeyondTheCache = int64_t{200} << 20;
  Arena tensors(Arena::kDefaultLimit, cuda_memory()), host;
  ThreadPool threads(1);
  Context ctx{.arena = tensors,
              .threads = threads,
              .device = Device::cuda,
              .numerics = Numerics::cuda_bf16,
              .host_arena = &host,
              .stream = bench.stream()};
  Parameter p = random_parameter(format, N, K);
  const int64_t bytes = tiled_matrix_bytes(format, N, K);
  std::vector<std::unique_ptr<Weight>> copies;
  for (int64_t held = 0; held < kBeyondTheCache; held += bytes) {
    copies.push_back(std::make_unique<Weight>(&p));
    copies.back()->prepare(ctx);
  }
  for (const int64_t T : rows) {
    const Bits x(T * K), y(T * N);
    Tensor in;
    in.data = x.at();
    in.shape = {T, K};
    in.dtype = DType::bf16;
    size_t at = 0;
    bench.tensor_row(name_for(T),
                     2.0 * static_cast<double>(T) * static_cast<double>(N) * static_cast<double>(K),
                     static_cast<double>(bytes) + static_cast<double>(x.bytes() + y.bytes()), [&] {
                       const OpScope scope(ctx);
                       matmul(ctx, in, *copies[at++ % copies.size()], DType::bf16);
                     });
  }
}

// A product of decoding in a recorded step, as it runs there: each launch may begin before the one ahead has ended, and
// reads a weight that no cache holds.
struct QuantRow {
  int64_t N, K;
  cuda::StreamOutput output;
  bool normed;
};

void bench_quant_rows(Bench& bench, Format format, int64_t T, const QuantRow& c) {
  const bool gate = c.output == cuda::StreamOutput::gate;
  const std::string name = std::string(name_of(format)) + (c.normed ? " norm," : "") + " rows " +
                           std::to_string(T) + " x " + std::to_string(c.N) + " x " + std::to_string(c.K) +
                           (gate                                  ? ", gated"
                            : c.output == cuda::StreamOutput::add ? ", added"
                                                                  : "");
  if (!bench.measures(name)) return;
  constexpr int64_t kUncached = int64_t{512} << 20;  // far more than the second-level cache holds
  Arena tensors(Arena::kDefaultLimit, cuda_memory()), host;
  ThreadPool threads(1);
  Context ctx{.arena = tensors,
              .threads = threads,
              .device = Device::cuda,
              .numerics = Numerics::cuda_bf16,
              .host_arena = &host,
              .stream = bench.stream()};
  Parameter p = random_parameter(format, c.N, c.K);
  const int64_t bytes = tiled_matrix_bytes(format, c.N, c.K), matrices = gate ? 2 : 1;
  std::vector<std::unique_ptr<Weight>> weights;
  for (int64_t held = 0; held < kUncached; held += bytes) {
    weights.push_back(std::make_unique<Weight>(&p));
    weights.back()->prepare(ctx);
  }
  const int64_t launches = std::ssize(weights) / matrices;
  const Bits q(T * c.K);
  const Floats x(T * c.K), norm(c.K), y(T * c.N);
  bool fits = true;
  const auto launch = [&](int64_t at, bool run) {
    std::array<cuda::QuantProductOnTiles, 2> products;
    for (int64_t n = 0; n < matrices; ++n)
      products[static_cast<size_t>(n)] = {
          {format, c.N, c.K, weights[static_cast<size_t>(at * matrices + n)]->tiles(ctx)},
          cuda::forward_product({.x = q.at(),
                                 .T = T,
                                 .w = nullptr,
                                 .N = c.N,
                                 .K = c.K,
                                 .y = y.at(),
                                 .y_bf16 = c.output != cuda::StreamOutput::add,
                                 .most_shards = 8,
                                 .early = true})};
    cuda::QuantStreamCall call{.products = std::span(products).first(static_cast<size_t>(matrices)),
                               .output = c.output};
    if (c.normed) call.x = x.at(), call.norm = norm.at(), call.eps = 1e-6f;
    fits = cuda::quant_stream_fits(call);
    if (!run) return;
    if (fits) return cuda::quant_stream(call, bench.stream());
    cuda::quant_products_of(call.products, bench.stream());
  };
  launch(0, false);
  if (!fits) std::printf("%s: the product alone\n", name.c_str());
  const auto all = [&] {
    for (int64_t at = 0; at < launches; ++at) launch(at, true);
  };
  all();
  const DeviceGraph graph(bench.stream(), all);
  bench.row_per(name, static_cast<double>(matrices * bytes), launches, [&] { graph.launch(bench.stream()); });
}

}  // namespace

void bench_quant(Bench& bench) {
  const std::vector<int64_t> many{1, 4, 16, 64, 2048}, one{1};
  for (const Format format : {Format::q8_0, Format::q4_k}) {
    bench_quant_shape(bench, format, 14336, 4096, many);
    bench_quant_shape(bench, format, 4096, 14336, many);
    bench_quant_shape(bench, format, 4096, 4096, many);
  }
  for (const Format format : {Format::q6_k, Format::f8_e4m3})
    bench_quant_shape(bench, format, 14336, 4096, many);
  for (const Format format : {Format::q4_0, Format::q5_k, Format::q3_k, Format::q2_k})
    bench_quant_shape(bench, format, 14336, 4096, one);
  // llama 8b: q, k and v, attention's output, gate and up, down, the head.
  using enum cuda::StreamOutput;
  for (const Format format : {Format::q8_0, Format::q4_k, Format::q6_k, Format::q4_0}) {
    for (const QuantRow& c : {QuantRow{6144, 4096, store, true}, QuantRow{6144, 4096, store, false},
                              QuantRow{4096, 4096, add, false}, QuantRow{14336, 4096, gate, true},
                              QuantRow{14336, 4096, gate, false}, QuantRow{4096, 14336, add, false},
                              QuantRow{128256, 4096, store, false}})
      bench_quant_rows(bench, format, 1, c);
    for (const QuantRow& c : {QuantRow{14336, 4096, gate, false}, QuantRow{4096, 4096, add, false}})
      bench_quant_rows(bench, format, 4, c);
  }
}

}  // namespace r1::bench
