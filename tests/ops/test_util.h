// tests/ops/test_util.h: shared by the op tests: random data, an op's surroundings, comparisons that print
// the worst element, central differences of a double reference, and switching AVX-512 off.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/threads.h"
#include "hwy/highway.h"
#include "hwy/targets.h"
#include "tensor/arena.h"
#include "tensor/context.h"
#include "tensor/parameter.h"
#include "tensor/tape.h"

namespace r1::test {

inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
inline constexpr double kEps = 0x1p-24;  // half an ulp of f32, relative

inline std::vector<float> random_normal(Random& random, int64_t n, double scale = 1.0) {
  std::vector<float> out(static_cast<size_t>(n));
  for (float& v : out) v = static_cast<float>(random.normal() * scale);
  return out;
}

// Arena, threads, tape and context of one run of an op. Without a tape it is inference.
struct OpRun {
  explicit OpRun(bool with_tape = true, int thread_count = 2)
      : threads(thread_count), tape(arena), ctx{arena, threads, with_tape ? &tape : nullptr} {}

  // An input: a copy in the arena, named on the tape if there is one.
  Tensor input(Shape shape, std::span<const float> values) {
    Tensor t = ctx.output(shape);
    R1_CHECK(t.count() == static_cast<int64_t>(values.size()), t.shape.str(), " from ", values.size());
    if (!values.empty()) std::memcpy(t.data, values.data(), values.size_bytes());
    return t;
  }
  // Seeds d(loss)/dy; call before backward().
  void seed(const Tensor& y, std::span<const float> dy) {
    const GradSlot s = tape.slot(y);
    R1_CHECK(s.grad.count() == static_cast<int64_t>(dy.size()), "seed");
    if (!dy.empty()) std::memcpy(s.grad.data, dy.data(), dy.size_bytes());
  }
  void backward() { tape.backward(ctx); }  // forgets all nodes: gradients are read through want()
  // Copies the gradient of input x to *out at the end of backward(). Call it before the op that uses x is
  // recorded (the tape runs last to first). *out stays empty if no gradient reached x.
  void want(const Tensor& x, std::vector<float>* out) {
    tape.record([x, out](Context& c) {
      const Tensor g = c.tape->grad(x);
      out->clear();
      if (g) out->assign(g.f32(), g.f32() + g.count());
    });
  }

  Arena arena;
  ThreadPool threads;
  Tape tape;
  Context ctx;
};

inline std::vector<float> to_vector(const Tensor& t) {
  return {t.f32(), t.f32() + t.count()};
}

// A parameter with its own storage. grad is filled with `grad_fill`, or absent if it is not trainable.
struct OwnedParameter {
  OwnedParameter(Shape shape, std::span<const float> values, bool trainable = true, float grad_fill = 0.0f)
      : value(shape, DType::f32), grad(trainable ? Buffer(shape, DType::f32) : Buffer()) {
    p.name = "test";
    p.value = value.tensor();
    if (!values.empty()) std::memcpy(p.value.data, values.data(), values.size_bytes());
    if (trainable) {
      p.grad = grad.tensor();
      for (float& g : p.grad.values()) g = grad_fill;
    }
    p.trainable = trainable;
  }
  OwnedParameter(const OwnedParameter&) = delete;
  OwnedParameter& operator=(const OwnedParameter&) = delete;

  Buffer value, grad;
  Parameter p;
};

// Expects |got - want| <= tolerance(i) and prints the worst element, in units of its tolerance.
template <class Tolerance>
void expect_near_by(std::span<const float> got, std::span<const double> want, const Tolerance& tolerance,
                    const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double worst = -1;
  size_t where = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::fabs(static_cast<double>(got[i]) - want[i]);
    const double units = error == 0 || got[i] == want[i] ? 0 : error / tolerance(i);
    if (!(units <= worst)) {  // NaN counts as worst
      worst = std::isnan(units) ? std::numeric_limits<double>::infinity() : units;
      where = i;
    }
  }
  if (worst > 1) {
    ADD_FAILURE() << what << ": element " << where << " of " << got.size() << ": got " << got[where]
                  << " want " << want[where] << ", " << worst << " times the tolerance " << tolerance(where);
  }
}
inline void expect_near(std::span<const float> got, std::span<const double> want, double tolerance,
                        const std::string& what) {
  expect_near_by(
      got, want, [tolerance](size_t) { return tolerance; }, what);
}
// Compares two vectors of doubles (reference gradients and finite differences).
inline void expect_near_double(std::span<const double> got, std::span<const double> want, double absolute,
                               double relative, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double worst = -1;
  size_t where = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double units = std::fabs(got[i] - want[i]) / (absolute + relative * std::fabs(want[i]));
    if (!(units <= worst)) {
      worst = std::isnan(units) ? std::numeric_limits<double>::infinity() : units;
      where = i;
    }
  }
  if (worst > 1) {
    ADD_FAILURE() << what << ": element " << where << " of " << got.size() << ": got " << got[where]
                  << " want " << want[where] << ", " << worst << " times the tolerance";
  }
}

// Expects equality to the bit (NaN == NaN, 0 != -0). Prints the first difference and how many there are.
inline void expect_same_bits(std::span<const float> got, std::span<const float> want,
                             const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  size_t different = 0, first = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::bit_cast<uint32_t>(got[i]) == std::bit_cast<uint32_t>(want[i])) continue;
    if (different++ == 0) first = i;
  }
  if (different > 0) {
    ADD_FAILURE() << what << ": " << different << " of " << got.size() << " elements differ; first at "
                  << first << ": got " << std::hexfloat << got[first] << " want " << want[first];
  }
}

// d loss / d x[i] by central differences. `loss` takes the whole (f32) vector and returns a double. Steps are
// exact in f32, so that only the truncation error (step^2) is left.
template <class Loss>
std::vector<double> central_differences(std::vector<float> x, const Loss& loss, double step = 0x1p-9) {
  std::vector<double> out(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const float at = x[i];
    const float up = static_cast<float>(at + step), down = static_cast<float>(at - step);
    x[i] = up;
    const double high = loss(x);
    x[i] = down;
    const double low = loss(x);
    x[i] = at;
    out[i] = (high - low) / (static_cast<double>(up) - static_cast<double>(down));
  }
  return out;
}

inline double dot(std::span<const double> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * static_cast<double>(b[i]);
  return sum;
}

// While it is alive, dynamic dispatch takes the best target below AVX-512.
class WithoutAvx512 {
 public:
  static bool machine_has_it() { return (hwy::SupportedTargets() & kAvx512) != 0; }
  WithoutAvx512() { set(kAvx512); }
  ~WithoutAvx512() { set(0); }
  WithoutAvx512(const WithoutAvx512&) = delete;
  WithoutAvx512& operator=(const WithoutAvx512&) = delete;

 private:
  static constexpr int64_t kAvx512 = HWY_AVX3 | HWY_AVX3_DL;
  static void set(int64_t disabled) {
    hwy::DisableTargets(disabled);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

// Runs `compute` (takes a thread count, returns vector<float>) under 1, 2 and 3 threads and without AVX-512,
// and expects the same bits every time.
template <class Compute>
void expect_one_answer(const Compute& compute, const std::string& what) {
  const std::vector<float> want = compute(1);
  for (const int threads : {2, 3}) {
    expect_same_bits(compute(threads), want, what + ", " + std::to_string(threads) + " threads");
  }
  if (WithoutAvx512::machine_has_it()) {
    const WithoutAvx512 guard;
    expect_same_bits(compute(2), want, what + ", AVX2 against AVX-512");
  } else {
    static const bool told = [] {
      std::printf("NOTE: no AVX-512 here: AVX2 against AVX-512 is not tested\n");
      return true;
    }();
    (void)told;
  }
}

inline void append(std::vector<float>& to, std::span<const float> from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace r1::test
