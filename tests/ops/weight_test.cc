// A frozen weight is held once and gives the bits of one whose values are in memory: products, gradients of
// inputs, look-ups, in every storage format. A file that cannot be read is an Error.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "ops/embed/embed.h"
#include "ops/matmul/matmul.h"
#include "ops/mla/latent_weight.h"
#include "tests/ops/test_util.h"

namespace r1::weight_test {
namespace {

using test::expect_same_bits;
using test::OpRun;
using test::random_normal;
using test::to_vector;

// Bytes in memory that can be cut, as a file can.
class OwnedBytes final : public StoredBytes {
 public:
  const std::string& path() const override { return path_; }
  void read(uint64_t begin, std::span<std::byte> to, std::string_view tensor) const override {
    if (begin + to.size() > bytes.size())
      throw Error(path_ + ": tensor " + std::string(tensor) + ": was cut");
    std::copy_n(bytes.begin() + static_cast<int64_t>(begin), to.size(), to.begin());
  }
  std::vector<std::byte> bytes;

 private:
  std::string path_ = "memory";
};

constexpr Format kFormats[] = {Format::f64, Format::f32, Format::bf16, Format::f16};

// A matrix of random values that `format` can hold, stored and as f32.
struct StoredMatrix {
  StoredMatrix(Format format, int64_t n, int64_t k, uint64_t seed) : owner(std::make_shared<OwnedBytes>()) {
    Random random(seed);
    values = random_normal(random, n * k);
    const auto put = [this](const auto& v) {
      const auto bytes = std::as_bytes(std::span(&v, 1));
      owner->bytes.insert(owner->bytes.end(), bytes.begin(), bytes.end());
    };
    put(int64_t{0});  // the matrix does not begin where its owner does
    for (float& v : values) {
      if (format == Format::bf16) {
        put(bf16_from_f32(v));
        v = f32_from_bf16(bf16_from_f32(v));
      } else if (format == Format::f16) {
        put(f16_from_f32(v));
        v = f32_from_f16(f16_from_f32(v));
      } else if (format == Format::f64) {
        put(double{v});
      } else {
        put(v);
      }
    }
    stored = {.name = "w", .format = format, .shape = {n, k}, .begin = 8, .owner = owner, .scales = nullptr};
  }
  // A parameter of this matrix, rounded to `type`, with its values in memory or without.
  Parameter parameter(DType type, bool frozen, Buffer* memory) const {
    Parameter p;
    p.name = "w";
    if (frozen) {
      p.value.shape = stored.shape;
      p.value.dtype = type;
      p.stored = stored;
      return p;
    }
    *memory = Buffer(stored.shape, type);
    p.value = memory->tensor();
    for (size_t i = 0; i < values.size(); ++i) {
      if (type == DType::f32) {
        p.value.f32()[i] = values[i];
      } else {
        p.value.bf16()[i] = bf16_from_f32(values[i]);
      }
    }
    return p;
  }

  std::shared_ptr<OwnedBytes> owner;
  std::vector<float> values;
  Stored stored;
};

std::vector<float> rounded(Random& random, int64_t n) {
  std::vector<float> out = random_normal(random, n);
  for (float& v : out) v = f32_from_bf16(bf16_from_f32(v));
  return out;
}

// Calls body(format, type of the model's matrices, numerics) for every combination.
template <class Body>
void for_all(const Body& body) {
  for (const Format format : kFormats) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (const Numerics numerics : kAllNumerics) {
        if (!machine_has(numerics)) continue;
        SCOPED_TRACE(testing::Message() << "format " << static_cast<int>(format) << ", " << name_of(type)
                                        << ", " << name_of(numerics));
        body(format, type, numerics);
      }
    }
  }
}

// y, the gradient of x, rows and look-ups of a weight, with its bias.
std::vector<float> everything(const StoredMatrix& m, DType type, Numerics numerics, bool frozen,
                              int threads) {
  constexpr int64_t T = 5;
  const int64_t N = m.stored.shape[0], K = m.stored.shape[1];
  Buffer memory;
  Parameter p = m.parameter(type, frozen, &memory);
  Random random(3);
  test::OwnedParameter bias({N}, random_normal(random, N), false);
  const Weight w(&p, &bias.p);
  OpRun run(true, threads);
  run.ctx.numerics = numerics;
  const bool wide = run.ctx.activations() == DType::f32;
  const std::vector<float> x = wide ? random_normal(random, T * K) : rounded(random, T * K);
  const std::vector<float> dy = random_normal(random, T * N);
  Tensor input = run.ctx.output({T, K}, run.ctx.activations());
  for (size_t i = 0; i < x.size(); ++i) {
    if (input.dtype == DType::f32) {
      input.f32()[i] = x[i];
    } else {
      input.bf16()[i] = bf16_from_f32(x[i]);
    }
  }
  std::vector<float> out, dx;
  run.want(input, &dx);
  const Tensor y = matmul(run.ctx, input, w, DType::f32);
  test::append(out, to_vector(y));
  run.seed(y, dy);
  run.backward();
  test::append(out, dx);
  std::vector<float> rows(static_cast<size_t>(3 * K));
  w.dequantise(run.ctx, N - 3, 3, rows.data());
  test::append(out, rows);
  {
    const OpScope scope(run.ctx);
    const float* all = w.rows(run.ctx);
    test::append(out, std::span(all, static_cast<size_t>(N * K)));
  }
  const std::vector<int32_t> tokens = {static_cast<int32_t>(N - 1), 0, 2, 0};
  OpRun inference(false, threads);
  inference.ctx.numerics = numerics;
  test::append(out, to_vector(embed(inference.ctx, tokens, w)));  // a tied head
  const Weight table(&p, nullptr, Weight::Layout::rows);
  test::append(out, to_vector(embed(inference.ctx, tokens, table)));
  return out;
}

TEST(FrozenWeight, HasTheBitsOfAValueInMemory) {
  for (const auto& [N, K] : {std::array<int64_t, 2>{70, 33}, {32, 64}, {5, 128}}) {
    for_all([&, N = N, K = K](Format format, DType type, Numerics numerics) {
      const StoredMatrix m(format, N, K, 11);
      const std::vector<float> want = everything(m, type, numerics, false, 1);
      expect_same_bits(everything(m, type, numerics, true, 1), want, "one thread");
      expect_same_bits(everything(m, type, numerics, true, 3), want, "three threads");
    });
  }
}

// The input's gradient walks n in order through tiles of the unpacked matrix.
TEST(FrozenWeight, TilesOfTheMatrixChangeNoBitOfTheGradient) {
  constexpr int64_t N = 4500, K = 1024, T = 2;  // more than one tile
  const StoredMatrix m(Format::bf16, N, K, 5);
  Random random(6);
  const std::vector<float> dy = random_normal(random, T * N);
  const auto gradient = [&](bool frozen, bool accumulate) {
    Buffer memory;
    Parameter p = m.parameter(DType::f32, frozen, &memory);
    const Weight w(&p);
    OpRun run(false);
    std::vector<float> dx(T * K, accumulate ? 0.5f : test::kNaN);
    w.times_transposed(run.ctx, dy.data(), T, dx.data(), accumulate);
    return dx;
  };
  for (const bool accumulate : {false, true})
    expect_same_bits(gradient(true, accumulate), gradient(false, accumulate), "dx");
}

TEST(FrozenWeight, IsHeldOnce) {
  constexpr int64_t N = 70, K = 33, kPanels = 3;
  for_all([&](Format format, DType type, Numerics numerics) {
    const StoredMatrix m(format, N, K, 2);
    Parameter p = m.parameter(type, true, nullptr);
    OpRun run(false);
    run.ctx.numerics = numerics;
    const Weight w(&p), table(&p, nullptr, Weight::Layout::rows);
    EXPECT_EQ(w.held_bytes() + table.held_bytes(), 0);
    w.prepare(run.ctx);
    table.prepare(run.ctx);
    const auto in_lines = [](int64_t bytes) { return (bytes + 63) / 64 * 64; };
    // Values that are stored in 16 bits, or rounded to them, take two bytes each in every numerics.
    const bool pairs = run.ctx.activations() == DType::bf16 || type == DType::bf16 ||
                       format == Format::bf16 || format == Format::f16;
    EXPECT_EQ(w.held_bytes(), in_lines(4 * kPanels * kPanel * (pairs ? pair_rows(K) : K)));
    const bool wide = type == DType::f32 && (format == Format::f32 || format == Format::f64);
    EXPECT_EQ(table.held_bytes(), in_lines(N * K * (wide ? 4 : 2)));
    EXPECT_FALSE(p.value);  // nothing beside it
  });
}

std::vector<float> latent_products(const StoredMatrix& m, DType type, Numerics numerics, bool frozen,
                                   int64_t heads, int64_t nope, int64_t value) {
  constexpr int64_t T = 4;
  const int64_t R = m.stored.shape[1];
  Buffer memory;
  Parameter p = m.parameter(type, frozen, &memory);
  const LatentWeight w(&p, heads, nope, value);
  OpRun run(false);
  run.ctx.numerics = numerics;
  Random random(8);
  const std::vector<float> q = rounded(random, T * nope), o = rounded(random, T * R);
  std::vector<float> out;
  for (int64_t h = 0; h < heads; ++h) {
    std::vector<float> keys(static_cast<size_t>(T * R)), values(static_cast<size_t>(T * value));
    Gemm g{.M = T, .N = R, .K = nope, .a = q.data(), .a_row = nope, .c = keys.data(), .c_row = R};
    w.fill_key_b(run.ctx, h, g);
    gemm(run.threads, g);
    Gemm v{.M = T, .N = value, .K = R, .a = o.data(), .a_row = R, .c = values.data(), .c_row = value};
    w.fill_value_b(run.ctx, h, v);
    gemm(run.threads, v);
    test::append(out, keys);
    test::append(out, values);
  }
  test::append(out, std::span(w.rows(run.ctx), m.values.size()));
  return out;
}

TEST(FrozenLatentWeight, HasTheBitsOfAValueInMemory) {
  struct Size {
    int64_t heads, nope, value, latent;
  };
  for (const Size& s : {Size{3, 16, 24, 40}, {2, 7, 33, 65}, {1, 64, 32, 32}}) {
    for_all([&](Format format, DType type, Numerics numerics) {
      const StoredMatrix m(format, s.heads * (s.nope + s.value), s.latent, 4);
      expect_same_bits(latent_products(m, type, numerics, true, s.heads, s.nope, s.value),
                       latent_products(m, type, numerics, false, s.heads, s.nope, s.value), "products");
    });
  }
}

// Denormals, the largest and the smallest numbers of f16 are widened exactly by products.
TEST(FrozenWeight, EveryFiniteF16NumberIsExactInAProduct) {
  constexpr int64_t K = 2, N = 0x8000;  // row i: the numbers of bits i, and of bits i with a sign
  StoredMatrix m(Format::f16, N, K, 3);
  for (int64_t i = 0; i < N; ++i) {
    const uint16_t finite = static_cast<uint16_t>((i & 0x7C00) == 0x7C00 ? i & 0x3FF : i);
    for (int64_t k = 0; k < K; ++k) {
      const auto bits = static_cast<uint16_t>(finite | (k << 15));
      std::memcpy(m.owner->bytes.data() + 8 + (i * K + k) * 2, &bits, 2);
      m.values[static_cast<size_t>(i * K + k)] = f32_from_f16(bits);
    }
  }
  Parameter p = m.parameter(DType::f32, true, nullptr);
  const Weight w(&p);
  for (const int64_t T : {1, 13}) {
    OpRun run(false);
    std::vector<float> x(static_cast<size_t>(T * K), 0.0f), y(static_cast<size_t>(T * N));
    for (int64_t t = 0; t < T; ++t) x[static_cast<size_t>(t * K + t % K)] = 1;
    w.times(run.ctx, x.data(), T, y.data());
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t n = 0; n < N; ++n)
        ASSERT_EQ(y[static_cast<size_t>(t * N + n)], m.values[static_cast<size_t>(n * K + t % K)]) << n;
    }
  }
}

TEST(FrozenWeight, AnInfiniteF16NumberIsRefusedWhenItIsPacked) {
  StoredMatrix m(Format::f16, 40, 6, 3);
  const uint16_t infinity = 0x7C00;
  std::memcpy(m.owner->bytes.data() + 8 + (33 * 6 + 2) * 2, &infinity, 2);
  Parameter p = m.parameter(DType::f32, true, nullptr);
  OpRun run(false);
  try {
    Weight(&p).prepare(run.ctx);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("[33, 2]"), std::string::npos) << e.what();
  }
}

TEST(FrozenWeight, BytesThatAreGoneAreAnErrorWithThreadsToo) {
  for (const int threads : {1, 3}) {
    const StoredMatrix m(Format::f32, 96, 40, 7);
    Parameter p = m.parameter(DType::f32, true, nullptr);
    const Weight w(&p), table(&p, nullptr, Weight::Layout::rows);
    const LatentWeight latent(&p, 3, 16, 16);
    const std::vector<std::byte> whole = m.owner->bytes;
    m.owner->bytes.resize(whole.size() - 4);
    OpRun run(false, threads);
    EXPECT_THROW(w.prepare(run.ctx), Error);
    EXPECT_THROW(table.prepare(run.ctx), Error);
    EXPECT_THROW(latent.prepare(run.ctx), Error);
    m.owner->bytes = whole;  // a failed try leaves nothing behind that looks finished
    std::vector<float> row(40);
    const int32_t last = 95;
    w.copy_rows(run.ctx, {&last, 1}, row.data());
    expect_same_bits(row, std::span(m.values).last(40), "the last row, from panels");
    table.copy_rows(run.ctx, {&last, 1}, row.data());
    expect_same_bits(row, std::span(m.values).last(40), "the last row, from rows");
    latent.prepare(run.ctx);
    expect_same_bits(std::span(latent.rows(run.ctx), m.values.size()), m.values, "kv_b");
  }
}

TEST(FrozenWeight, ATableThatIsNoFactorIsRefusedAsOne) {
  const StoredMatrix m(Format::f32, 8, 8, 7);
  Parameter p = m.parameter(DType::f32, true, nullptr);
  OpRun run(false);
  Gemm g;
  EXPECT_THROW(Weight(&p, nullptr, Weight::Layout::rows).fill_b(run.ctx, g), BrokenInvariant);
}

}  // namespace
}  // namespace r1::weight_test
