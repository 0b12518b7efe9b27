#include "tensor/tape.h"

#include <gtest/gtest.h>

#include "ops/elementwise/elementwise.h"
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

TEST(Tape, GradientsThatAreOnlyReadRoundedAreOfBf16) {
  test::OpRun r;
  const Tensor x = r.input({2, 3}, std::vector<float>(6)), other = r.input({2, 3}, std::vector<float>(6));
  r.tape.read_rounded(x);
  const GradSlot rounded = r.tape.slot_to_round(x);
  EXPECT_EQ(rounded.grad.dtype, DType::bf16);
  EXPECT_FALSE(rounded.accumulate);
  EXPECT_EQ(r.tape.rounded_grad(x).data, rounded.grad.data);
  EXPECT_THROW(r.tape.slot(x), BrokenInvariant);  // the sum would have been rounded twice
  EXPECT_EQ(r.tape.slot_to_round(other).grad.dtype, DType::f32);
  EXPECT_FALSE(r.tape.rounded_grad(other));

  const Tensor twice = r.input({2, 3}, std::vector<float>(6));
  r.tape.read_rounded(twice);
  EXPECT_FALSE(r.tape.slot(twice).accumulate);  // the op that reads it cannot round
  const GradSlot added = r.tape.slot_to_round(twice);
  EXPECT_EQ(added.grad.dtype, DType::f32);
  EXPECT_TRUE(added.accumulate);
}

TEST(Tape, ARoundedCopyOfASumsGradientGoesToTheTermThatReadsIt) {
  test::OpRun r;
  const Tensor x = r.input({4}, std::vector<float>(4)), term = r.input({4}, std::vector<float>(4));
  r.tape.read_rounded(term);
  Tensor of_x, of_term;
  r.tape.record([&](Context& c) {
    of_x = c.tape->rounded_grad(x);
    of_term = c.tape->rounded_grad(term);
  });
  const Tensor sum = add(r.ctx, x, term);
  r.seed(sum, std::vector<float>(4, 1.0f));
  const Tensor copy = r.tape.rounded_copy(sum);
  ASSERT_TRUE(copy);
  EXPECT_EQ(copy.dtype, DType::bf16);
  r.backward();
  EXPECT_FALSE(of_x);
  EXPECT_EQ(of_term.data, copy.data);
}

TEST(Tape, WhatIsAddedToAGradientVoidsItsRoundedCopy) {
  test::OpRun r;
  const Tensor x = r.input({4}, std::vector<float>(4)), term = r.input({4}, std::vector<float>(4));
  r.tape.read_rounded(term);
  const Tensor sum = add(r.ctx, x, term);
  r.seed(sum, std::vector<float>(4, 1.0f));
  ASSERT_TRUE(r.tape.rounded_copy(sum));
  EXPECT_TRUE(r.tape.slot(sum).accumulate);
  EXPECT_FALSE(r.tape.rounded_grad(sum));
}

}  // namespace
}  // namespace r1::tape_test
