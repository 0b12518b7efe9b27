// tests/gpu/optim_test.cc: AdamW, the gradient norm and conversions on the device have the CPU's bits.
#include "ops/optim/optim.h"

#include "ops/convert/convert.h"
#include "tensor/transfer.h"
#include "tests/gpu/device_run.h"

namespace r1 {
namespace {
using namespace test;

class CudaOptim : public OnDevice {};

TEST_F(CudaOptim, StepsHaveTheBitsOfTheCpu) {
  for (const int64_t n : {1, 17, 4096, 100003}) {
    Random random(static_cast<uint64_t>(n));
    const auto w = mixed_numbers(random, n);
    std::vector<std::vector<float>> gradients;
    for (int i = 0; i < 5; ++i) gradients.push_back(mixed_numbers(random, n));
    for (const float decay : {0.0f, 0.1f}) {
      expect_both_agree(
          [&](auto& r) -> std::vector<std::vector<float>> {
            Memory& memory = r.ctx.memory();
            PlacedParameter p(memory, {n}, w, gradients[0]);
            const Buffer m({n}, DType::f32, memory), v({n}, DType::f32, memory);
            for (size_t i = 0; i < gradients.size(); ++i) {
              memory.write(p.p.grad.data, gradients[i].data(), p.p.grad.bytes(), r.ctx.stream);
              adamw_update(r.ctx, p.p, m.tensor(), v.tensor(),
                           {.lr = 3e-3f,
                            .beta1 = 0.9f,
                            .beta2 = 0.95f,
                            .eps = 1e-8f,
                            .weight_decay = decay,
                            .step = static_cast<int64_t>(i) + 1},
                           0.37f);
            }
            return {values(r, p.p.value), values(r, m.tensor()), values(r, v.tensor())};
          },
          "n " + std::to_string(n));
    }
  }
}

TEST_F(CudaOptim, NormHasTheBitsOfTheCpu) {
  Random random(2);
  std::vector<std::vector<float>> gradients;
  for (const int64_t n : {1, 15, 16, 17, 4095, 4096, 4097, 70000, 5000001}) {
    gradients.push_back(random_normal(random, n, n % 3 == 0 ? 1e-3 : 2.0));
  }
  const auto norm = [&](auto& r) {
    std::vector<std::unique_ptr<PlacedParameter>> own;
    std::vector<Parameter*> list;
    for (const auto& g : gradients) {
      own.push_back(std::make_unique<PlacedParameter>(r.ctx.memory(), Shape{std::ssize(g)}, g, g));
      list.push_back(&own.back()->p);
    }
    const double found = gradient_norm(r.ctx, list);
    zero_gradients(r.ctx, list);
    for (const auto& p : own) EXPECT_EQ(p->gradient(), std::vector<float>(p->gradient().size(), 0.0f));
    EXPECT_EQ(gradient_norm(r.ctx, list), 0.0);
    EXPECT_EQ(gradient_norm(r.ctx, {}), 0.0);
    return found;
  };
  OpRun cpu(false);
  DeviceRun device(false);
  EXPECT_EQ(norm(device), norm(cpu));
}

TEST_F(CudaOptim, Bf16ValuesWidenAsOnTheCpu) {
  Random random(3);
  for (const int64_t n : {1, 31, 70000}) {
    const auto from = mixed_numbers(random, n);
    expect_both_agree(
        [&](auto& r) -> std::vector<std::vector<float>> {
          const Buffer narrow({n}, DType::bf16, r.ctx.memory());
          write_values(r.ctx.memory(), narrow.tensor(), 0, from);
          poison(r);
          const Tensor wide = as_f32_tensor(r.ctx, narrow.tensor());
          return {guarded_values(r, wide)};
        },
        "n " + std::to_string(n));
  }
}

TEST_F(CudaOptim, Bf16OutputsRoundAsOnTheCpu) {
  Random random(4);
  auto from = mixed_numbers(random, 70001);
  from[5] = kNaN;
  from[6] = std::numeric_limits<float>::infinity();
  from[7] = 3.4e38f;
  expect_both_agree(
      [&](auto& r) -> std::vector<std::vector<float>> {
        const Tensor y = r.ctx.arena.tensor({std::ssize(from)}, DType::bf16);
        const OpScope scope(r.ctx);
        const F32Output out(r.ctx, y);
        r.ctx.memory().write(out.data(), from.data(), from.size() * sizeof(float), r.ctx.stream);
        out.store(r.ctx);
        std::vector<float> back(from.size());
        read_values(r.ctx.memory(), y, 0, back, r.ctx.stream);
        return {back};
      },
      "rounded");
}

}  // namespace
}  // namespace r1
