#include "tensor/tape.h"

#include <gtest/gtest.h>

#include "ops/norm/norm.h"
#include "tests/ops/test_util.h"

namespace r1::tape_test {
namespace {

// A gradient's memory is reused once its op has read it, so a chain of any length needs only two.
TEST(Tape, GradientsTakeTurnsInMemory) {
  constexpr int64_t T = 16, D = 64;
  const auto peak = [](int length) {
    test::OpRun r;
    Buffer weight({D}, DType::f32);
    std::ranges::fill(weight.tensor().values(), 1.0f);
    Parameter w{.name = "w", .value = weight.tensor(), .grad = {}};
    Tensor x = r.input({T, D}, std::vector<float>(T * D, 0.5f));
    for (int i = 0; i < length; ++i) x = rms_norm(r.ctx, x, w, 1e-6f);
    r.seed(x, std::vector<float>(T * D, 1.0f));
    const size_t before = r.arena.mark();
    r.backward();
    return r.arena.mark() - before;
  };
  EXPECT_GT(peak(1), size_t{T * D * 4});
  EXPECT_EQ(peak(30), peak(2));
}

}  // namespace
}  // namespace r1::tape_test
