// tests/gpu/norm_test.cc: RMSNorm on the device has cpu-f32's bits, forward and backward.
#include "ops/norm/norm.h"

#include "ops/norm/norm_cuda.h"
#include "tests/gpu/device.h"
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

// The op itself, as the model calls it, with a context of the device.
TEST_F(CudaNorm, OpPicksTheDevice) {
  const NormCase c(50, 200);
  const cuda::Stream stream;
  Arena tensors(Arena::kDefaultLimit, cuda_memory()), host;
  ThreadPool threads(1);
  Tape tape(tensors, host);
  Context ctx{.arena = tensors,
              .threads = threads,
              .tape = &tape,
              .device = Device::cuda,
              .host_arena = &host,
              .stream = stream.get()};
  Memory& memory = cuda_memory();
  const Buffer value({c.D}, DType::f32, memory), grad({c.D}, DType::f32, memory);
  memory.write(value.tensor().data, c.w.data(), value.tensor().bytes());
  memory.write(grad.tensor().data, c.dw_held.data(), grad.tensor().bytes());
  Parameter w{.name = "w", .value = value.tensor(), .grad = grad.tensor()};
  const Tensor x = ctx.output({c.T, c.D});
  memory.write(x.data, c.x.data(), x.bytes(), stream.get());
  std::vector<float> dx(c.x.size());
  std::vector<float>* const dx_at = &dx;
  tape.record([x, dx_at](Context& k) {
    const Tensor g = k.tape->grad(x);
    k.memory().read(dx_at->data(), g.data, g.bytes(), k.stream);
  });
  const Tensor y = rms_norm(ctx, x, w, kNormEps);
  std::vector<float> got(c.x.size()), dw(c.w.size());
  memory.read(got.data(), y.data, y.bytes(), stream.get());
  memory.write(tape.slot(y).grad.data, c.dy.data(), y.bytes(), stream.get());
  tape.backward(ctx);
  memory.read(dw.data(), grad.tensor().data, grad.tensor().bytes(), stream.get());
  const NormResult cpu = on_cpu(c, false);
  expect_cpu_bits(got, cpu.y, "y");
  expect_cpu_bits(dx, cpu.dx, "dx");
  expect_cpu_bits(dw, cpu.dw, "dw");
}

}  // namespace
}  // namespace r1
