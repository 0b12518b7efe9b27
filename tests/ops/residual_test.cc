// The residual stream does what its ops do one by one, to the bit, and makes each norm when a part reads it.
#include "ops/residual/residual.h"

#include "ops/elementwise/elementwise.h"
#include "ops/matmul/matmul.h"
#include "ops/norm/norm.h"
#include "ops/swiglu/swiglu.h"
#include "tensor/transfer.h"
#include "tests/ops/test_util.h"

namespace r1::residual_test {
using namespace test;

constexpr float kResidualEps = 1e-5f;

TEST(ResidualStream, HasTheBitsOfItsOpsOneByOne) {
  constexpr int64_t T = 3, D = 40, F = 24;
  Random random(5);
  const auto x_values = random_normal(random, T * D), term_values = random_normal(random, T * D);
  OwnedParameter first({D}, random_normal(random, D)), second({D}, random_normal(random, D)),
      gate_value({F, D}, random_normal(random, F * D)), up_value({F, D}, random_normal(random, F * D)),
      down_value({D, F}, random_normal(random, D * F)), bias({D}, random_normal(random, D));
  const Weight gate(&gate_value.p), up(&up_value.p), down(&down_value.p, &bias.p);
  for (const Numerics numerics : {Numerics::cpu_f32, Numerics::cpu_bf16}) {
    OpRun by_ops(false), by_stream(false);
    by_ops.ctx.numerics = by_stream.ctx.numerics = numerics;

    const Tensor x = by_ops.input({T, D}, x_values);
    const Tensor normed = rms_norm(by_ops.ctx, x, first.p, kResidualEps);
    const Tensor hidden =
        swiglu(by_ops.ctx, matmul(by_ops.ctx, normed, gate), matmul(by_ops.ctx, normed, up));
    add_in_place(by_ops.ctx, x, matmul(by_ops.ctx, hidden, down, DType::f32));
    const Tensor between = rms_norm(by_ops.ctx, x, second.p, kResidualEps),
                 product = matmul(by_ops.ctx, between, up);
    add_in_place(by_ops.ctx, x, by_ops.input({T, D}, term_values));
    const Tensor last = rms_norm(by_ops.ctx, x, first.p, kResidualEps);

    const Tensor in = by_stream.input({T, D}, x_values);
    ResidualStream stream(by_stream.ctx, in, {&first.p, kResidualEps});
    stream.add_matmul(by_stream.ctx, stream.gated(by_stream.ctx, gate, up), down, {&second.p, kResidualEps});
    const auto products = stream.matmuls(by_stream.ctx, {&up});
    stream.add(by_stream.ctx, by_stream.input({T, D}, term_values), {&first.p, kResidualEps});

    const auto all = [](const Tensor& t) {
      std::vector<float> out(static_cast<size_t>(t.count()));
      read_values(host_memory(), t, 0, out);
      return out;
    };
    EXPECT_EQ(all(products[0]), all(product));
    EXPECT_EQ(all(stream.normed(by_stream.ctx)), all(last));
    EXPECT_EQ(all(in), all(x));
  }
}

}  // namespace r1::residual_test
