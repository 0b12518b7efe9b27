// tests/gpu/matmul_test.cc: f32 products on the device have the bits of the CPU's gemm: one chain of FMAs per
// output, in the order of k, in every layout and with every kernel.
#include "ops/matmul/matmul.h"

#include "base/threads.h"
#include "ops/matmul/gemm.h"
#include "ops/matmul/matmul_cuda.h"
#include "tests/gpu/device_run.h"
#include "tests/ops/test_util.h"

namespace r1 {
namespace {
using namespace test;

std::vector<float> transposed(std::span<const float> m, int64_t rows, int64_t columns) {
  std::vector<float> out(m.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      out[static_cast<size_t>(c * rows + r)] = m[static_cast<size_t>(r * columns + c)];
  return out;
}

// x [T, K], w [N, K], bias [N], dy [T, N], and what the gradients held.
struct MatmulCase {
  MatmulCase(int64_t t, int64_t n, int64_t k) : T(t), N(n), K(k) {
    Random random(static_cast<uint64_t>(t * 1000003 + n * 1009 + k));
    x = mixed_numbers(random, T * K);
    w = mixed_numbers(random, N * K);
    bias = mixed_numbers(random, N);
    dy = mixed_numbers(random, T * N);
    dx = mixed_numbers(random, T * K);
    dw = mixed_numbers(random, N * K);
    dbias = mixed_numbers(random, N);
  }
  std::string name() const {
    return "T " + std::to_string(T) + " N " + std::to_string(N) + " K " + std::to_string(K);
  }
  int64_t T, N, K;
  std::vector<float> x, w, bias, dy, dx, dw, dbias;
};

struct MatmulResult {
  std::vector<float> y, y_biased, dx, dx_added, dw, dbias;
};

// Computes the op as matmul.h defines it, by the CPU's gemm.
MatmulResult on_cpu(const MatmulCase& c) {
  ThreadPool threads(2);
  const auto product = [&](Gemm g, const std::vector<float>& b, std::vector<float> out) {
    g.b = b.data();
    g.b_panel = 32;
    g.b_row = g.N;
    g.c = out.data();
    g.c_row = g.N;
    gemm(threads, g);
    return out;
  };
  const auto fresh = [](int64_t n) { return std::vector<float>(static_cast<size_t>(n)); };
  const std::vector<float> columns = transposed(c.w, c.N, c.K);
  const Gemm input_gradient{.M = c.T, .N = c.K, .K = c.N, .a = c.dy.data(), .a_row = c.N};
  Gemm added = input_gradient;
  added.accumulate = true;
  MatmulResult out;
  out.y = product({.M = c.T, .N = c.N, .K = c.K, .a = c.x.data(), .a_row = c.K}, columns, fresh(c.T * c.N));
  out.y_biased = out.y;
  for (int64_t i = 0; i < c.T * c.N; ++i)
    out.y_biased[static_cast<size_t>(i)] += c.bias[static_cast<size_t>(i % c.N)];
  out.dx = product(input_gradient, c.w, fresh(c.T * c.K));
  out.dx_added = product(added, c.w, c.dx);
  out.dw =
      product({.M = c.N, .N = c.K, .K = c.T, .a = c.dy.data(), .a_row = 1, .a_col = c.N, .accumulate = true},
              c.x, c.dw);
  out.dbias = c.dbias;
  for (int64_t i = 0; i < c.T * c.N; ++i)
    out.dbias[static_cast<size_t>(i % c.N)] += c.dy[static_cast<size_t>(i)];
  return out;
}

MatmulResult on_device(const MatmulCase& c, int64_t shift) {
  const cuda::Stream stream;
  void* const s = stream.get();
  const DeviceFloats x(c.x, shift), w(c.w, shift), bias(c.bias), dy(c.dy, shift);
  const DeviceFloats y(c.T * c.N), y_biased(c.T * c.N), dx(c.T * c.K), dx_added(c.dx), dw(c.dw),
      dbias(c.dbias);
  cuda::matmul_f32(x.data(), c.T, w.data(), c.N, c.K, nullptr, y.data(), s);
  cuda::matmul_f32(x.data(), c.T, w.data(), c.N, c.K, bias.data(), y_biased.data(), s);
  cuda::matmul_dx_f32(dy.data(), c.T, w.data(), c.N, c.K, false, dx.data(), s);
  cuda::matmul_dx_f32(dy.data(), c.T, w.data(), c.N, c.K, true, dx_added.data(), s);
  cuda::matmul_dw_f32(x.data(), dy.data(), c.T, c.N, c.K, dw.data(), s);
  cuda::matmul_dbias_f32(dy.data(), c.T, c.N, dbias.data(), s);
  return {y.values(stream),        y_biased.values(stream), dx.values(stream),
          dx_added.values(stream), dw.values(stream),       dbias.values(stream)};
}

void compare_matmul(const MatmulCase& c, int64_t shift = 0) {
  const MatmulResult cpu = on_cpu(c), device = on_device(c, shift);
  expect_cpu_bits(device.y, cpu.y, c.name() + " y");
  expect_cpu_bits(device.y_biased, cpu.y_biased, c.name() + " y with bias");
  expect_cpu_bits(device.dx, cpu.dx, c.name() + " dx");
  expect_cpu_bits(device.dx_added, cpu.dx_added, c.name() + " dx added");
  expect_cpu_bits(device.dw, cpu.dw, c.name() + " dw");
  expect_cpu_bits(device.dbias, cpu.dbias, c.name() + " dbias");
}

class CudaMatmul : public OnDevice {};

TEST_F(CudaMatmul, HasTheBitsOfTheCpuOnRaggedShapes) {
  Random random(7);
  const auto pick = [&](std::initializer_list<int64_t> from) {
    return from.begin()[random.below(static_cast<int64_t>(from.size()))];
  };
  for (int i = 0; i < 120; ++i) {
    const int64_t T = pick({1, 2, 3, 4, 5, 8, 13, 16, 17, 33, 64, 100, 129, 300});
    const int64_t N = pick({1, 5, 31, 32, 33, 64, 100, 129, 260, 515});
    const int64_t K = pick({1, 3, 15, 16, 17, 63, 64, 65, 128, 333, 576});
    compare_matmul(MatmulCase(T, N, K), i % 3);
  }
}

TEST_F(CudaMatmul, HasTheBitsOfTheCpuForEveryBatchOfDecoding) {
  for (int64_t T = 1; T <= 20; ++T) compare_matmul(MatmulCase(T, 200, 1000 + T % 4));
}

TEST_F(CudaMatmul, HasTheBitsOfTheCpuInLargeTiles) {
  compare_matmul(MatmulCase(1000, 2300, 260));
  compare_matmul(MatmulCase(1537, 1540, 130));
  compare_matmul(MatmulCase(260, 2048, 2048));
}

TEST_F(CudaMatmul, OneRowAloneEqualsItselfInAnyBatch) {
  const MatmulCase all(257, 300, 520);
  const std::vector<float> together = on_device(all, 0).y;
  for (const int64_t T : {1, 2, 7, 16, 17, 100}) {
    const cuda::Stream stream;
    const DeviceFloats x(std::span<const float>(all.x).last(static_cast<size_t>(T * all.K))), w(all.w);
    const DeviceFloats y(T * all.N);
    cuda::matmul_f32(x.data(), T, w.data(), all.N, all.K, nullptr, y.data(), stream.get());
    expect_cpu_bits(y.values(stream), std::span<const float>(together).last(static_cast<size_t>(T * all.N)),
                    "the last " + std::to_string(T) + " rows");
  }
}

TEST_F(CudaMatmul, NaNAndInfinityStayInTheirRowsAndColumns) {
  for (const int64_t T : {3, 40}) {
    MatmulCase c(T, 70, 90);
    c.x[static_cast<size_t>(1 * c.K + 5)] = kNaN;
    c.w[static_cast<size_t>(20 * c.K + 89)] = std::numeric_limits<float>::infinity();
    c.dy[static_cast<size_t>(2 * c.N + 3)] = kNaN;
    compare_matmul(c);
  }
}

TEST_F(CudaMatmul, OpPicksTheDevice) {
  for (const int64_t T : {1, 9, 70}) {
    const MatmulCase c(T, 65, 44);
    expect_both_agree(
        [&](auto& r) -> std::vector<std::vector<float>> {
          PlacedParameter w(r.ctx.memory(), {c.N, c.K}, c.w, c.dw);
          PlacedParameter bias(r.ctx.memory(), {c.N}, c.bias, c.dbias);
          const Weight weight(&w.p, &bias.p);
          const Tensor x = r.input({c.T, c.K}, c.x);
          std::vector<float> dx;
          r.want(x, &dx);
          const Tensor y = matmul(r.ctx, x, weight);
          r.seed(y, c.dy);
          r.seed(matmul(r.ctx, x, weight), c.dy);  // dx has two parts
          const std::vector<float> out = values(r, y);
          r.backward();
          return {out, dx, w.gradient(), bias.gradient()};
        },
        c.name());
  }
}

// A checkpoint's bytes in memory.
class Bytes final : public StoredBytes {
 public:
  explicit Bytes(std::span<const std::byte> bytes) : bytes_(bytes.begin(), bytes.end()) {}
  const std::string& path() const override { return path_; }
  void read(uint64_t begin, std::span<std::byte> to, std::string_view) const override {
    std::memcpy(to.data(), bytes_.data() + begin, to.size());
  }

 private:
  std::vector<std::byte> bytes_;
  std::string path_ = "memory";
};

TEST_F(CudaMatmul, FrozenMatricesAreReadFromTheirFiles) {
  const MatmulCase c(21, 70, 50);
  std::vector<uint16_t> narrow;
  for (const float v : c.w) narrow.push_back(bf16_from_f32(v));
  for (const Format format : {Format::f32, Format::bf16}) {
    const auto bytes =
        format == Format::f32 ? std::as_bytes(std::span(c.w)) : std::as_bytes(std::span(narrow));
    for (const DType type : {DType::f32, DType::bf16}) {
      Parameter p;
      p.name = p.stored.name = "w";
      p.value.shape = p.stored.shape = {c.N, c.K};
      p.value.dtype = type;
      p.stored.format = format;
      p.stored.owner = std::make_shared<Bytes>(bytes);
      expect_both_agree(
          [&](auto& r) -> std::vector<std::vector<float>> {
            const Weight factor(&p), table(&p, nullptr, Weight::Layout::rows);
            const Tensor x = r.input({c.T, c.K}, c.x);
            std::vector<float> dx;
            r.want(x, &dx);
            const Tensor y = matmul(r.ctx, x, factor);
            const Tensor rows = r.ctx.output({3, c.K});
            table.copy_rows(r.ctx, std::vector<int32_t>{7, 69, 7}, rows.f32());
            r.seed(y, c.dy);
            const std::vector<float> out = values(r, y), copied = values(r, rows);
            r.backward();
            return {out, copied, dx};
          },
          "frozen");
    }
  }
}

TEST_F(CudaMatmul, TakesNothing) {
  compare_matmul(MatmulCase(0, 5, 7));
  compare_matmul(MatmulCase(5, 7, 0));
  compare_matmul(MatmulCase(33, 70, 0));
}

}  // namespace
}  // namespace r1
