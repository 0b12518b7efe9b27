// bench/gpu_quant.cu: products with quantised matrices. Bytes are those of the tiles and of x and y; the matrices that
// follow each other are more than the second-level cache holds, so that the memory is what is measured.
#include <cstring>
#include <memory>

#include "bench/gpu_bench.cuh"
#include "ops/matmul/matmul.h"
#include "ops/matmul/quant_product_cuda.h"
#include "ops/matmul/quant_tiles.h"
#include "tensor/context.h"

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
    const std::string name = std::string(name_of(format)) + " y " + std::to_string(T) + " x " +
                             std::to_string(N) + " x " + std::to_string(K);
    bench.tensor_row(name, 2.0 * static_cast<double>(T) * static_cast<double>(N) * static_cast<double>(K),
                     static_cast<double>(bytes) + static_cast<double>(x.bytes() + y.bytes()), [&] {
                       const OpScope scope(ctx);
                       matmul(ctx, in, *copies[at++ % copies.size()], DType::bf16);
                     });
  }
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
}

}  // namespace r1::bench
