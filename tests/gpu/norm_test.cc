// tests/gpu/norm_test.cc: RMSNorm on the device has cpu-f32's bits, forward and backward.
#include "ops/norm/norm.h"

#include "ops/norm/norm_cuda.h"
#include "tests/gpu/device_run.h"
#include "tests/ops/test_util.h"

namespace r1 {
namespace {
using namespace test;

constexpr float kNormEps = 1e-6f;

struct NormCase {
  NormCase(int64_t t, int64_t d) : T(t), D(d) {
    Random random(static_cast<uint64_t>(t * 100003 + d));
    x = mixed_numbers(random, T * D);
    dy = mixed_numbers(random, T * D);
    w = random_normal(random, D);
    dx_held = mixed_numbers(random, T * D);
    dw_held = random_normal(random, D);
  }
  std::string name() const { return "T " + std::to_string(T) + " D " + std::to_string(D); }
  int64_t T, D;
  std::vector<float> x, dy, w, dx_held, dw_held;
};

struct NormResult {
  std::vector<float> y, dx, dw;
};

// dx is added to dx_held if `accumulate`.
NormResult on_cpu(const NormCase& c, bool accumulate) {
  OwnedParameter w({c.D}, c.w);
  std::copy(c.dw_held.begin(), c.dw_held.end(), w.p.grad.f32());
  OpRun r;
  const Tensor x = r.input({c.T, c.D}, c.x);
  NormResult out;
  r.want(x, &out.dx);
  const Tensor y = rms_norm(r.ctx, x, w.p, kNormEps);
  out.y = to_vector(y);
  r.seed(y, c.dy);
  if (accumulate) r.seed(x, c.dx_held);
  r.backward();
  out.dw = to_vector(w.p.grad);
  return out;
}

NormResult on_device(const NormCase& c, bool accumulate, int64_t shift) {
  const cuda::Stream stream;
  const DeviceFloats x(c.x, shift), w(c.w, shift), dy(c.dy, shift), dw(c.dw_held, shift);
  const DeviceFloats y(c.T * c.D, shift), rstd(c.T, shift), inference(c.T * c.D);
  DeviceFloats dx(c.T * c.D, shift);
  if (accumulate) cuda_memory().write(dx.data(), c.dx_held.data(), c.dx_held.size() * sizeof(float));
  cuda::rms_norm(x.data(), w.data(), c.T, c.D, kNormEps, y.data(), rstd.data(), stream.get());
  cuda::rms_norm(x.data(), w.data(), c.T, c.D, kNormEps, inference.data(), nullptr, stream.get());
  const cuda::NormRows rows{x.data(), dy.data(), rstd.data(), c.T, c.D};
  cuda::rms_norm_dx(rows, w.data(), accumulate, dx.data(), stream.get());
  cuda::rms_norm_dw(rows, dw.data(), stream.get());
  NormResult out{y.values(stream), dx.values(stream), dw.values(stream)};
  rstd.values(stream);
  expect_cpu_bits(inference.values(stream), out.y, c.name() + " without rstd");
  return out;
}

class CudaNorm : public OnDevice {};

TEST_F(CudaNorm, HasTheBitsOfTheCpu) {
  for (const int64_t T : {1, 3, 17, 100, 1000}) {
    for (const int64_t D :
         {1, 5, 16, 37, 128, 255, 256, 257, 1000, 1536, 4095, 4096, 4097, 8191, 8192, 9001}) {
      if (T * D > 2'000'000) continue;
      const NormCase c(T, D);
      for (const bool accumulate : {false, true}) {
        const std::string what = c.name() + (accumulate ? " added" : "");
        const NormResult cpu = on_cpu(c, accumulate), device = on_device(c, accumulate, T % 3);
        expect_cpu_bits(device.y, cpu.y, what + " y");
        expect_cpu_bits(device.dx, cpu.dx, what + " dx");
        expect_cpu_bits(device.dw, cpu.dw, what + " dw");
      }
    }
  }
}

TEST_F(CudaNorm, HasTheBitsOfTheCpuOnAWideMatrix) {
  const NormCase c(40, 132 * 32 + 5);  // enough columns for the wide blocks of dw
  const NormResult cpu = on_cpu(c, false), device = on_device(c, false, 0);
  expect_cpu_bits(device.y, cpu.y, "y");
  expect_cpu_bits(device.dx, cpu.dx, "dx");
  expect_cpu_bits(device.dw, cpu.dw, "dw");
}

TEST_F(CudaNorm, KeepsNaNAndInfinityInTheirRows) {
  for (const int64_t D : {33, 300}) {
    NormCase c(20, D);
    c.x[static_cast<size_t>(3 * D + 7)] = kNaN;
    c.x[static_cast<size_t>(11 * D + 1)] = std::numeric_limits<float>::infinity();
    const NormResult cpu = on_cpu(c, false), device = on_device(c, false, 0);
    expect_cpu_bits(device.y, cpu.y, "y");
    expect_cpu_bits(device.dx, cpu.dx, "dx");
    expect_cpu_bits(device.dw, cpu.dw, "dw");
    EXPECT_TRUE(std::isnan(device.y[static_cast<size_t>(3 * D)]));
    EXPECT_FALSE(std::isnan(device.y[static_cast<size_t>(4 * D)]));
  }
}

TEST_F(CudaNorm, OpPicksTheDevice) {
  const NormCase c(50, 200);
  expect_both_agree(
      [&](auto& r) -> std::vector<std::vector<float>> {
        PlacedParameter w(r.ctx.memory(), {c.D}, c.w, c.dw_held);
        const Tensor x = r.input({c.T, c.D}, c.x);
        std::vector<float> dx;
        r.want(x, &dx);
        const Tensor y = rms_norm(r.ctx, x, w.p, kNormEps);
        const std::vector<float> out = values(r, y);
        r.seed(y, c.dy);
        r.backward();
        return {out, dx, w.gradient()};
      },
      c.name());
}

}  // namespace
}  // namespace r1
