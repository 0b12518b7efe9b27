// tests/gpu/device_run.h: an op's surroundings on the device, with the interface of tests/ops/test_util.h's
// OpRun: a test writes an op once and runs it on both.
#pragma once

#include "tensor/context.h"
#include "tests/gpu/device.h"
#include "tests/ops/test_util.h"

namespace r1::test {

struct DeviceRun {
  explicit DeviceRun(bool with_tape = true)
      : tensors(Arena::kDefaultLimit, cuda_memory()),
        threads(1),
        tape(tensors, host),
        ctx{.arena = tensors,
            .threads = threads,
            .tape = with_tape ? &tape : nullptr,
            .device = Device::cuda,
            .host_arena = &host,
            .stream = stream.get()} {}

  Tensor input(Shape shape, std::span<const float> values) {
    const Tensor t = ctx.output(shape);
    cuda_memory().write(t.data, values.data(), values.size_bytes(), stream.get());
    return t;
  }
  void seed(const Tensor& y, std::span<const float> dy) {
    const GradSlot s = tape.slot(y);
    cuda_memory().write(s.grad.data, dy.data(), dy.size_bytes(), stream.get());
  }
  void backward() { tape.backward(ctx); }
  void want(const Tensor& x, std::vector<float>* out) {
    tape.record([x, out](Context& c) {
      const Tensor g = c.tape->grad(x);
      out->resize(g ? static_cast<size_t>(g.count()) : 0);
      if (g) c.memory().read(out->data(), g.data, g.bytes(), c.stream);
    });
  }
  std::vector<float> values(const Tensor& t) {
    std::vector<float> out(static_cast<size_t>(t.count()));
    cuda_memory().read(out.data(), t.f32(), t.bytes(), stream.get());
    return out;
  }

  // Fills the device memory that ops take next, gaps between tensors included, with NaN.
  void poison(size_t bytes) {
    const ArenaScope scope(tensors);
    const std::vector<unsigned char> pattern(bytes, 0xFF);
    cuda_memory().write(tensors.take(bytes), pattern.data(), bytes, stream.get());
  }
  // The values of an output that lies in poisoned memory: what follows it there must be as it was.
  std::vector<float> guarded_values(const Tensor& t) {
    constexpr size_t kLine = 64;  // tensors are padded to it, and such a gap follows
    const size_t after = (t.bytes() + kLine - 1) / kLine * kLine + kLine - t.bytes();
    std::vector<unsigned char> gap(after);
    cuda_memory().read(gap.data(), static_cast<const char*>(t.data) + t.bytes(), after, stream.get());
    const auto written = std::ranges::find_if(gap, [](unsigned char c) { return c != 0xFF; });
    EXPECT_EQ(written, gap.end()) << "byte " << written - gap.begin() << " after a tensor " << t.shape.str()
                                  << " was written";
    return values(t);
  }

  cuda::Stream stream;
  Arena tensors, host;
  ThreadPool threads;
  Tape tape;
  Context ctx;
};

inline void poison(OpRun&, size_t = 0) {}
inline void poison(DeviceRun& r, size_t bytes = size_t{4} << 20) {
  r.poison(bytes);
}
inline std::vector<float> guarded_values(OpRun&, const Tensor& t) {
  return to_vector(t);
}
inline std::vector<float> guarded_values(DeviceRun& r, const Tensor& t) {
  return r.guarded_values(t);
}
inline std::vector<float> values(OpRun&, const Tensor& t) {
  return to_vector(t);
}
inline std::vector<float> values(DeviceRun& r, const Tensor& t) {
  return r.values(t);
}

// A parameter with values and gradient in `memory`.
struct PlacedParameter {
  PlacedParameter(Memory& place, Shape shape, std::span<const float> values, std::span<const float> gradient)
      : memory(place), value(shape, DType::f32, place), grad(shape, DType::f32, place) {
    memory.write(value.tensor().data, values.data(), values.size_bytes());
    memory.write(grad.tensor().data, gradient.data(), gradient.size_bytes());
    p.name = "test";
    p.value = value.tensor();
    p.grad = grad.tensor();
  }
  PlacedParameter(const PlacedParameter&) = delete;
  PlacedParameter& operator=(const PlacedParameter&) = delete;
  std::vector<float> gradient() const {
    std::vector<float> out(static_cast<size_t>(p.grad.count()));
    memory.read(out.data(), p.grad.data, p.grad.bytes());
    return out;
  }

  Memory& memory;
  Buffer value, grad;
  Parameter p;
};

// Runs op(run) on both and compares all the vectors that it returns, in order.
template <class Op>
void expect_both_agree(const Op& op, const std::string& what) {
  OpRun cpu;
  DeviceRun device;
  const std::vector<std::vector<float>> want = op(cpu), got = op(device);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i)
    expect_cpu_bits(got[i], want[i], what + ", result " + std::to_string(i));
}

}  // namespace r1::test
