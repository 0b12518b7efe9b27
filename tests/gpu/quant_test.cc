// tests/gpu/quant_test.cc: quantised matrices in cuda-bf16 have the bits of the same matrices in bf16: every format, few
// and many rows, look-ups, experts, and whole models in sampling, scoring and training.
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>

#include "engine/engine.h"
#include "model/scoring.h"
#include "ops/embed/embed.h"
#include "ops/matmul/matmul.h"
#include "ops/matmul/quant_stream_cuda.h"
#include "ops/matmul/quant_tiles.h"
#include "ops/moe/moe.h"
#include "ops/residual/residual.h"
#include "tensor/cuda.h"
#include "tests/gpu/device_run.h"
#include "tests/gpu/model_case.h"
#include "tests/model/quantised_models.h"

namespace r1::quant_test {
using namespace test;

class CudaQuant : public OnDevice {};

// A checkpoint's bytes in memory.
class QuantBytes final : public StoredBytes {
 public:
  explicit QuantBytes(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  const std::string& path() const override { return path_; }
  void read(uint64_t begin, std::span<std::byte> to, std::string_view) const override {
    R1_CHECK(begin + to.size() <= bytes_.size(), "beyond the end");
    std::memcpy(to.data(), bytes_.data() + begin, to.size());
  }

 private:
  std::vector<std::byte> bytes_;
  std::string path_ = "somewhere.gguf";
};

constexpr Format kTiled[] = {Format::q4_0, Format::q8_0, Format::q2_k, Format::q3_k,
                             Format::q4_k, Format::q5_k, Format::q6_k, Format::f8_e4m3};

// Every code of FP8 but NaN, and scales of many magnitudes.
Stored stored_fp8(int64_t N, int64_t K, uint64_t seed) {
  Random random(seed);
  std::vector<std::byte> codes(static_cast<size_t>(N * K));
  for (std::byte& c : codes) {
    const auto code = static_cast<uint8_t>(random.below(256));
    c = static_cast<std::byte>((code & 0x7F) == 0x7F ? code ^ 1 : code);
  }
  std::vector<float> scales(static_cast<size_t>(fp8_scale_count(N, K)));
  for (float& s : scales)
    s = static_cast<float>(std::exp2(random.normal() - 7) * (1 + random.below(1000) * 1e-3));
  std::vector<std::byte> scale_bytes(scales.size() * sizeof(float));
  std::memcpy(scale_bytes.data(), scales.data(), scale_bytes.size());
  const auto of = std::make_shared<Stored>();
  of->name = "w_scale_inv";
  of->shape = {(N + kFp8Block - 1) / kFp8Block, (K + kFp8Block - 1) / kFp8Block};
  of->owner = std::make_shared<QuantBytes>(std::move(scale_bytes));
  Stored out;
  out.owner = std::make_shared<QuantBytes>(std::move(codes));
  out.scales = of;
  return out;
}

// Blocks with scales like those of models: the last place of dmin is `apart` powers of two above that of d. Numbers are
// made by other instructions then than of other blocks (ops/matmul/quant_table_cuda.cuh).
std::vector<std::byte> model_blocks(Format format, int64_t elements, uint64_t seed, int apart) {
  std::vector<std::byte> out = random_blocks(format, elements, seed);
  Random random(seed, 1);
  const ScalePlaces places = scale_places(format);
  const auto size = static_cast<size_t>(row_of(format).bytes);
  for (size_t at = 0; at < out.size(); at += size) {
    const uint64_t kind =
        random.below(16);  // some blocks have no minimum, some no scale, some the largest of both
    const uint64_t d = kind == 0   ? 0
                       : kind == 1 ? 0xFFF
                                   : 0xC00 + random.below(0x400),
                   dmin = kind == 2   ? 0
                          : kind == 1 ? 0xFFF
                                      : 0xC00 + random.below(0x400);
    const uint16_t halves[2] = {
        static_cast<uint16_t>(d == 0 ? 0 : d | random.below(2) << 15),
        static_cast<uint16_t>(dmin == 0 ? 0 : (dmin + apart * 0x400) | random.below(2) << 15)};
    std::memcpy(out.data() + at + static_cast<size_t>(places.d), &halves[0], 2);
    if (places.dmin >= 0) std::memcpy(out.data() + at + static_cast<size_t>(places.dmin), &halves[1], 2);
  }
  return out;
}

// A quantised matrix, frozen, and the same numbers as a trained matrix. Its blocks have any scales, or those of
// model_blocks().
struct QuantCase {
  QuantCase(Format format, int64_t N, int64_t K, uint64_t seed, std::optional<int> apart = {}) {
    if (format == Format::f8_e4m3) {
      p.stored = stored_fp8(N, K, seed);
    } else {
      p.stored.owner = std::make_shared<QuantBytes>(apart ? model_blocks(format, N * K, seed, *apart)
                                                          : random_blocks(format, N * K, seed));
    }
    p.name = p.stored.name = std::string(name_of(format));
    p.value.shape = p.stored.shape = {N, K};
    p.value.dtype = DType::f32;
    p.stored.format = format;
    numbers.resize(static_cast<size_t>(N * K));
    p.stored.read(0, numbers);
    dense = std::make_unique<PlacedParameter>(cuda_memory(), Shape{N, K}, numbers, numbers);
  }
  Parameter p;
  std::vector<float> numbers;
  std::unique_ptr<PlacedParameter> dense;
};

struct Products {
  std::vector<float> y, narrow, dx;
};

// y of a product with `w`, in f32 and in bf16, and dx.
Products products_of(Parameter* w, Parameter* bias, const std::vector<float>& x, int64_t T) {
  DeviceRun run(true);
  run.ctx.numerics = Numerics::cuda_bf16;
  const int64_t N = w->value.dim(0), K = w->value.dim(1);
  const Weight weight(w, bias);
  Products out;
  const Tensor in = run.input({T, K}, x);
  run.want(in, &out.dx);
  run.poison(size_t{1} << 20);
  const Tensor y = matmul(run.ctx, in, weight, DType::f32);
  const Tensor narrow = matmul(run.ctx, in, weight, DType::bf16);
  std::vector<float> dy(static_cast<size_t>(T * N));
  for (size_t i = 0; i < dy.size(); ++i) dy[i] = static_cast<float>(static_cast<int>(i * 7 % 11) - 5) / 8;
  run.seed(y, dy);
  out.y = run.values(y);
  out.narrow.resize(static_cast<size_t>(T * N));
  read_values(cuda_memory(), narrow, 0, out.narrow, run.stream.get());
  run.backward();
  return out;
}

// The widths of shards that begin within a block, a half of a piece and a piece, for formats that allow them.
std::vector<int64_t> widths_of(Format format) {
  if (row_of(format).elements == 256) return {256, 512, 768, 1536, 2048, 3584, 4096};
  return {32, 64, 96, 160, 448, 896, 1536, 2048, 4096};
}

// N and T of products: one row, tiles of 8 and 16 rows and their edges, and many rows.
using Sizes = std::vector<std::pair<int64_t, int64_t>>;
const Sizes kAllSizes = {{1, 1},   {16, 8},  {41, 1},  {41, 2},  {41, 7},  {41, 9},  {41, 16},
                         {41, 17}, {41, 40}, {41, 64}, {41, 65}, {150, 1}, {150, 5}, {600, 130}};
const Sizes kSomeSizes = {{41, 1}, {150, 5}, {41, 16}, {150, 70}};

TEST_F(CudaQuant, ProductsHaveTheBitsOfTheMatrixInBf16) {
  uint64_t seed = 0;
  for (const Format format : kTiled) {
    for (const int64_t K : widths_of(format)) {
      ASSERT_TRUE(has_tiles(format, K));
      const bool all = K <= 256 || K == 1536 || K == 2048;
      for (const auto& [N, T] : all ? kAllSizes : kSomeSizes) {
        QuantCase c(format, N, K, ++seed);
        Random random(seed);
        const std::vector<float> biases = random_normal(random, N);
        PlacedParameter bias(cuda_memory(), {N}, biases, biases);
        const std::vector<float> x = random_normal(random, T * K);
        const Products want = products_of(&c.dense->p, &bias.p, x, T), got = products_of(&c.p, &bias.p, x, T);
        const std::string what =
            c.p.name + " T " + std::to_string(T) + " N " + std::to_string(N) + " K " + std::to_string(K);
        expect_cpu_bits(got.y, want.y, what);
        expect_cpu_bits(got.narrow, want.narrow, what + " in bf16");
        expect_cpu_bits(got.dx, want.dx, what + " dx");
        if (HasFailure()) return;
      }
    }
  }
}

// Numbers are made by a table of scales where it is exact. 14 powers of two and -1 are past what it is exact for.
TEST_F(CudaQuant, ProductsOfFewRowsHaveTheBitsWithScalesLikeThoseOfModels) {
  uint64_t seed = 1000;
  for (const Format format :
       {Format::q2_k, Format::q3_k, Format::q4_k, Format::q5_k, Format::q6_k, Format::q8_0}) {
    const bool minimum = tile_traits(format).minimum;
    for (const int apart : minimum ? std::vector<int>{-1, 0, 1, 3, 7, 8, 13, 14} : std::vector<int>{0}) {
      for (const int64_t K : {256, 2048, 4096, 5120}) {
        for (const auto& [N, T] : Sizes{{41, 1}, {2150, 1}, {150, 5}, {41, 8}}) {
          if (N > 2000 && (K > 256 || apart % 7 != 0)) continue;
          QuantCase c(format, N, K, ++seed, apart);
          Random random(seed);
          const std::vector<float> x = random_normal(random, T * K);
          const Products want = products_of(&c.dense->p, nullptr, x, T),
                         got = products_of(&c.p, nullptr, x, T);
          expect_cpu_bits(got.y, want.y,
                          c.p.name + " T " + std::to_string(T) + " N " + std::to_string(N) + " K " +
                              std::to_string(K) + ", " + std::to_string(apart) + " apart");
          if (HasFailure()) return;
        }
      }
    }
  }
}

// Norms in front of products, SwiGLU and sums behind them: in one launch for few rows, one by one for many.
TEST_F(CudaQuant, PartsOfABlockHaveTheBitsOfTheirOpsOneByOne) {
  uint64_t seed = 2000;
  struct Part {
    Format first, second;
    int64_t D, F;
  };
  for (const Part& of :
       {Part{Format::q8_0, Format::q8_0, 2048, 4160}, Part{Format::q4_k, Format::q6_k, 1536, 2304},
        Part{Format::q4_0, Format::q4_0, 96, 160}, Part{Format::q5_k, Format::q4_k, 4608, 512},
        Part{Format::q3_k, Format::q2_k, 256, 1024}}) {
    QuantCase q(of.first, of.D + 16, of.D, ++seed, 2), k(of.first, 40, of.D, ++seed, 2),
        v(of.second, 40, of.D, ++seed, 2), gate(of.first, of.F, of.D, ++seed, 2),
        up(of.first, of.F, of.D, ++seed, 2), down(of.second, of.D, of.F, ++seed, 2);
    Random random(seed);
    const auto placed = [&](int64_t n) {
      const std::vector<float> values = random_normal(random, n), none(static_cast<size_t>(n));
      return std::make_unique<PlacedParameter>(cuda_memory(), Shape{n}, values, none);
    };
    const auto norm = placed(of.D), next = placed(of.D), k_bias = placed(40), up_bias = placed(of.F),
               down_bias = placed(of.D);
    const Weight wq(&q.p), wk(&k.p, &k_bias->p), wv(&v.p), wg(&gate.p), wu(&up.p, &up_bias->p),
        wd(&down.p, &down_bias->p);
    const std::vector<float> x_all = random_normal(random, 40 * of.D);
    const auto run = [&](int64_t T) {
      DeviceRun r(false);
      r.ctx.numerics = Numerics::cuda_bf16;
      const Tensor x = r.input({T, of.D}, std::span(x_all).first(static_cast<size_t>(T * of.D)));
      r.poison(size_t{16} << 20);
      ResidualStream stream(r.ctx, x, {&norm->p, 1e-6f});
      std::vector<std::vector<float>> out;
      const auto keep = [&](const Tensor& t) {
        out.emplace_back(static_cast<size_t>(t.count()));
        read_values(cuda_memory(), t, 0, out.back(), r.stream.get());
      };
      for (const Tensor& t : stream.matmuls(r.ctx, {&wq, &wv, &wk})) keep(t);
      const Tensor gated = stream.gated(r.ctx, wg, wu);
      keep(gated);
      stream.add_matmul(r.ctx, gated, wd, {&next->p, 1e-5f});
      keep(stream.gated(r.ctx, wg, wu));
      keep(x);
      return out;
    };
    const auto many = run(40);
    for (const int64_t T : {1, 2, 8, 12}) {
      const auto few = run(T);
      ASSERT_EQ(few.size(), many.size());
      for (size_t i = 0; i < few.size(); ++i) {
        expect_cpu_bits(few[i], std::span(many[i]).first(few[i].size()),
                        q.p.name + ", " + std::to_string(T) + " rows, result " + std::to_string(i));
      }
    }
  }
}

// A kernel that is never chosen would pass the tests above.
TEST_F(CudaQuant, ShapesOfPublishedModelsAreStreamed) {
  if (!cuda::starts_early()) GTEST_SKIP() << "before sm_90";
  const DeviceInts words(64);
  const auto* x = reinterpret_cast<const float*>(words.data());
  const auto product = [&](Format format, int64_t T, int64_t N, int64_t K) {
    return cuda::QuantProductOnTiles{
        {format, N, K, reinterpret_cast<const std::byte*>(words.data())},
        cuda::forward_product({.x = reinterpret_cast<const uint16_t*>(words.data()),
                               .T = T,
                               .N = N,
                               .K = K,
                               .y_bf16 = true,
                               .most_shards = 8})};
  };
  for (const Format format : {Format::q4_0, Format::q8_0, Format::q4_k, Format::q5_k, Format::q6_k}) {
    for (const auto& [D, F] :
         std::vector<std::array<int64_t, 2>>{{1536, 8960}, {2048, 6144}, {4096, 14336}}) {
      const std::array<cuda::QuantProductOnTiles, 2> pair = {product(format, 1, F, D),
                                                             product(format, 1, F, D)};
      EXPECT_TRUE(cuda::quant_stream_fits(
          {.products = pair, .output = cuda::StreamOutput::gate, .x = x, .norm = x, .eps = 1}))
          << name_of(format) << " " << D;
      const cuda::QuantProductOnTiles down = product(format, 1, D, F), some = product(format, 8, F, D),
                                      too_many = product(format, 9, F, D);
      EXPECT_TRUE(cuda::quant_stream_fits({.products = {&down, 1}, .output = cuda::StreamOutput::add}))
          << name_of(format) << " " << D;
      EXPECT_TRUE(cuda::quant_stream_fits({.products = {&some, 1}})) << name_of(format) << " " << D;
      EXPECT_FALSE(cuda::quant_stream_fits({.products = {&too_many, 1}})) << name_of(format) << " " << D;
    }
  }
}

// A matrix that is dequantised piece by piece.
TEST_F(CudaQuant, LargeMatricesTimesManyRowsHaveTheBitsToo) {
  constexpr int64_t N = 1100, K = 16384, T = 70;
  QuantCase c(Format::q4_k, N, K, 6);
  Random random(7);
  const std::vector<float> biases = random_normal(random, N), x = random_normal(random, T * K);
  PlacedParameter bias(cuda_memory(), {N}, biases, biases);
  const Products want = products_of(&c.dense->p, &bias.p, x, T), got = products_of(&c.p, &bias.p, x, T);
  expect_cpu_bits(got.y, want.y, "y");
  expect_cpu_bits(got.narrow, want.narrow, "y in bf16");
}

TEST_F(CudaQuant, SeveralProductsOfOneInputHaveTheBitsOfEach) {
  constexpr int64_t K = 1024;
  QuantCase q(Format::q4_k, 96, K, 1), k(Format::q4_k, 40, K, 2), v(Format::q6_k, 40, K, 3),
      other(Format::q5_1, 33, K, 4);
  Random random(5);
  for (const int64_t T : {1, 5, 16, 50, 70}) {
    DeviceRun run(false);
    run.ctx.numerics = Numerics::cuda_bf16;
    const std::vector<float> numbers = random_normal(random, T * K);
    const Tensor x = run.ctx.output({T, K}, DType::bf16);
    write_values(cuda_memory(), x, 0, numbers, run.stream.get());
    const Weight weights[] = {Weight(&q.p), Weight(&k.p), Weight(&v.p), Weight(&other.p)};
    const std::vector<Tensor> got = matmuls(run.ctx, x, {&weights[0], &weights[1], &weights[2], &weights[3]});
    for (size_t i = 0; i < 4; ++i) {
      const Tensor want = matmul(run.ctx, x, weights[i]);
      std::vector<float> a(static_cast<size_t>(want.count())), b(a.size());
      read_values(cuda_memory(), got[i], 0, a, run.stream.get());
      read_values(cuda_memory(), want, 0, b, run.stream.get());
      expect_cpu_bits(a, b, "product " + std::to_string(i) + " of " + std::to_string(T) + " rows");
    }
  }
}

// All codes with many scales: the numbers are the definition's, rounded once to bf16, zeros with their signs.
TEST_F(CudaQuant, LookUpsAreTheDefinitionsNumbersRoundedToBf16) {
  for (const Format format : kTiled) {
    const int64_t K = row_of(format).elements == 256 ? 2560 : 1184, N = 300;
    QuantCase c(format, N, K, 77);
    Random random(9);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 200; ++i) tokens.push_back(static_cast<int32_t>(random.below(N)));
    tokens.push_back(static_cast<int32_t>(N - 1));
    DeviceRun run(false);
    run.ctx.numerics = Numerics::cuda_bf16;
    const Weight table(&c.p, nullptr, Weight::Layout::rows);
    run.poison(size_t{4} << 20);
    const Tensor y = embed(run.ctx, tokens, table);
    std::vector<float> want;
    for (const int32_t token : tokens)
      for (int64_t k = 0; k < K; ++k)
        want.push_back(f32_from_bf16(bf16_from_f32(c.numbers[static_cast<size_t>(token * K + k)])));
    expect_cpu_bits(run.guarded_values(y), want, c.p.name);
    // The whole matrix, as products of many rows read it.
    const Weight factor(&c.p);
    const OpScope scope(run.ctx);
    Tensor rows;
    rows.data = const_cast<uint16_t*>(factor.bf16_rows(run.ctx));
    rows.shape = {N, K};
    rows.dtype = DType::bf16;
    std::vector<float> got(c.numbers.size());
    read_values(cuda_memory(), rows, 0, got, run.stream.get());
    std::vector<float> all = c.numbers;
    for (float& v : all) v = f32_from_bf16(bf16_from_f32(v));
    expect_cpu_bits(got, all, c.p.name + " as rows");
    EXPECT_LE(table.held_bytes(), bytes_of(format, N * K) * 1.05 + 16 * bytes_of(format, K)) << c.p.name;
  }
}

TEST_F(CudaQuant, RefusesDamagedBlocks) {
  for (const Format format : {Format::q8_0, Format::q4_k, Format::f8_e4m3}) {
    QuantCase c(format, 20, 256, 3);
    std::vector<std::byte> bytes(static_cast<size_t>(bytes_of(format, 20 * 256)));
    c.p.stored.read_raw(0, bytes);
    const auto at = static_cast<size_t>(bytes_of(format, 3 * 256));
    const uint16_t nan = 0x7E00;
    if (format == Format::f8_e4m3) {
      bytes[at] = std::byte{0xFF};
    } else {
      std::memcpy(bytes.data() + at, &nan, sizeof(nan));
    }
    c.p.stored.owner = std::make_shared<QuantBytes>(bytes);
    DeviceRun run(false);
    run.ctx.numerics = Numerics::cuda_bf16;
    const Weight weight(&c.p);
    try {
      weight.prepare(run.ctx);
      ADD_FAILURE() << name_of(format) << " is not refused";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("NaN at [3, 0]: the weights are damaged"), std::string::npos)
          << error.what();
    }
  }
}

TEST_F(CudaQuant, ExpertsHaveTheBitsOfExpertsInBf16) {
  constexpr int64_t E = 6, D = 256, F = 512;
  for (const Format format : kTiled) {
    std::vector<std::unique_ptr<QuantCase>> all;
    MoeWeights quantised, dense;
    for (MoeWeights* w : {&quantised, &dense}) {
      w->config.experts = E;
      w->config.active = 2;
    }
    Random random(8);
    const std::vector<float> router = random_normal(random, E * D, 0.1);
    PlacedParameter routed(cuda_memory(), {E, D}, router, router);
    quantised.router = Weight(&routed.p);
    dense.router = Weight(&routed.p);
    const auto next = [&](int64_t N, int64_t K) {
      all.push_back(std::make_unique<QuantCase>(format, N, K, 100 + all.size()));
      return all.back().get();
    };
    for (int64_t e = 0; e < E; ++e) {
      QuantCase *gate = next(F, D), *up = next(F, D), *down = next(D, F);
      quantised.experts.push_back({Weight(&gate->p), Weight(&up->p), Weight(&down->p)});
      dense.experts.push_back({Weight(&gate->dense->p), Weight(&up->dense->p), Weight(&down->dense->p)});
    }
    for (const int64_t T : {1, 3, 40, 400}) {
      const std::vector<float> x = random_normal(random, T * D);
      const auto forward = [&](const MoeWeights& w) {
        DeviceRun run(false);
        run.ctx.numerics = Numerics::cuda_bf16;
        const Tensor in = run.input({T, D}, x);
        std::vector<int32_t> offsets{0, static_cast<int32_t>(T)}, positions(static_cast<size_t>(T)), pages{0};
        const Batch batch{positions, positions, offsets, pages, 1};
        run.poison(size_t{8} << 20);
        return run.values(moe(run.ctx, batch, in, w, {}));
      };
      expect_cpu_bits(forward(quantised), forward(dense),
                      std::string(name_of(format)) + ", " + std::to_string(T) + " tokens");
    }
  }
}

// ---- whole models

struct ModelFiles {
  ModelFiles()
      : path(std::filesystem::temp_directory_path() / ("r1-quant-test-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path);
  }
  ~ModelFiles() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

std::vector<Request> some_requests(const ModelConfig& config) {
  Random random(4);
  std::vector<Request> list;
  for (uint32_t i = 0; i < 7; ++i) {
    Request& r = list.emplace_back();
    for (int64_t n = random.between(1, 40); n > 0; --n)
      r.prompt.push_back(static_cast<int32_t>(random.between(0, config.vocab_size - 1)));
    r.samples = random.between(1, 3);
    r.max_tokens = random.between(1, 20);
    r.sampling = {.temperature = 1.0f};
    r.key = {.seed = 9, .step = 2, .prompt = i};
  }
  return list;
}

TEST_F(CudaQuant, ModelsSampleAndScoreAsTheSameWeightsInBf16) {
  const ModelFiles files;
  const std::filesystem::path llama = files.path / "llama.gguf", deepseek = files.path / "deepseek.gguf";
  write_quantised_llama(llama);
  write_quantised_deepseek(deepseek);
  for (const auto& file : {llama, deepseek}) {
    const Model quantised = Model::load(file, DType::bf16, WeightUse::inference, cuda_memory());
    const Model dense = Model::load(file, DType::f32, WeightUse::training, cuda_memory());
    const std::vector<Request> requests = some_requests(quantised.config());
    const auto sampled = [&](const Model& model, int64_t batch) {
      Arena tensors(Arena::kDefaultLimit, cuda_memory()), host;
      ThreadPool pool(1);
      const cuda::Stream stream;
      Context ctx{.arena = tensors,
                  .threads = pool,
                  .device = Device::cuda,
                  .numerics = Numerics::cuda_bf16,
                  .host_arena = &host,
                  .stream = stream.get()};
      return Engine(model, ctx, {.max_batch = batch, .prefill_chunk = 9, .kv_bytes = 0}).run(requests);
    };
    const auto want = sampled(dense, 16), got = sampled(quantised, 16), alone = sampled(quantised, 1);
    ASSERT_EQ(got.size(), want.size());
    std::vector<std::vector<int32_t>> tokens;
    std::vector<ScoredRow> rows;
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].tokens, want[i].tokens) << file << " sample " << i;
      EXPECT_EQ(got[i].logprobs, want[i].logprobs) << file << " sample " << i;
      EXPECT_EQ(got[i].logprobs, alone[i].logprobs) << file << " alone, sample " << i;
      tokens.push_back(requests[static_cast<size_t>(got[i].request)].prompt);
      append_tokens(tokens.back(), got[i].tokens);
    }
    for (size_t i = 0; i < got.size(); ++i)
      rows.emplace_back(tokens[i], std::ssize(tokens[i]) - std::ssize(got[i].tokens));
    ThreadPool threads(1);
    Lanes lanes(threads, Numerics::cuda_bf16, Arena::kDefaultLimit, cuda_memory());
    const auto scored = score(quantised, lanes, rows, {.temperature = 1.0f, .micro_tokens = 60});
    for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(scored[i], got[i].logprobs) << file << " sample " << i;
    EXPECT_LT(quantised.held_bytes(), dense.held_bytes());
  }
}

}  // namespace r1::quant_test
