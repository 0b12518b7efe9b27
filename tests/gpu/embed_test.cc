// tests/gpu/embed_test.cc: token embedding on the device has cpu-f32's bits, forward and backward.
#include "ops/embed/embed.h"

#include "ops/elementwise/elementwise_cuda.h"
#include "ops/embed/embed_cuda.h"
#include "tests/gpu/device_run.h"
#include "tests/ops/test_util.h"

namespace r1 {
namespace {
using namespace test;

class CudaEmbed : public OnDevice {};

// `common`: half of the tokens are this one.
void compare_embed(int64_t T, int64_t V, int64_t D, int64_t shift, int64_t common = -1) {
  const std::string what = "T " + std::to_string(T) + " V " + std::to_string(V) + " D " + std::to_string(D);
  Random random(static_cast<uint64_t>(T * 1009 + V * 31 + D));
  const std::vector<float> table = mixed_numbers(random, V * D), dy = mixed_numbers(random, T * D);
  const std::vector<float> held = mixed_numbers(random, V * D);
  std::vector<int32_t> tokens;
  for (int64_t t = 0; t < T; ++t) {
    const bool is_common = common >= 0 && random.below(2) == 0;
    tokens.push_back(static_cast<int32_t>(is_common ? common : random.below(V)));
  }

  OwnedParameter parameter({V, D}, table);
  std::copy(held.begin(), held.end(), parameter.p.grad.f32());
  OpRun r;
  const Weight weight(&parameter.p);
  const Tensor y = embed(r.ctx, tokens, weight);
  const std::vector<float> want = to_vector(y);
  r.seed(y, dy);
  r.backward();

  const cuda::Stream stream;
  const DeviceFloats device_table(table, shift), device_dy(dy, shift), gradient(held, shift),
      out(T * D, shift);
  const DeviceInts device_tokens(tokens);
  cuda::gather_rows_f32(device_table.data(), device_tokens.data(), T, D, out.data(), stream.get());
  std::vector<int32_t> lists(static_cast<size_t>(3 * T + 1)), counts(static_cast<size_t>(V));
  cuda::TokenPlaces places{lists.data(), lists.data() + T, lists.data() + 2 * T};
  cuda::gather_places(tokens, counts, places);
  const DeviceInts device_lists(lists);
  places = {device_lists.data(), device_lists.data() + T, device_lists.data() + 2 * T, places.count};
  cuda::embed_add_rows(device_dy.data(), places, D, gradient.data(), stream.get());
  expect_cpu_bits(out.values(stream), want, what + " y");
  expect_cpu_bits(gradient.values(stream), to_vector(parameter.p.grad), what + " gradient");
}

TEST_F(CudaEmbed, HasTheBitsOfTheCpu) {
  for (const int64_t T : {1, 3, 17, 100, 1000}) {
    for (const int64_t D : {1, 7, 16, 100, 128, 1000, 1024, 1025, 2052}) {
      compare_embed(T, 11, D, 0);
      compare_embed(T, 700, D, 1);
    }
  }
}

TEST_F(CudaEmbed, AddsACommonTokenInTheOrderOfTime) {
  compare_embed(6000, 50, 130, 0, 7);
}

TEST_F(CudaEmbed, OpPicksTheDevice) {
  Random random(9);
  const int64_t T = 60, V = 17, D = 36;
  const auto table = mixed_numbers(random, V * D), held = mixed_numbers(random, V * D);
  const auto dy = mixed_numbers(random, T * D);
  std::vector<int32_t> tokens;
  for (int64_t t = 0; t < T; ++t) tokens.push_back(static_cast<int32_t>(random.below(V)));
  expect_both_agree(
      [&](auto& r) -> std::vector<std::vector<float>> {
        PlacedParameter parameter(r.ctx.memory(), {V, D}, table, held);
        const Weight weight(&parameter.p);
        const Tensor y = embed(r.ctx, tokens, weight);
        const std::vector<float> out = values(r, y);
        r.seed(y, dy);
        r.backward();
        return {out, parameter.gradient()};
      },
      "embed");
}

}  // namespace
}  // namespace r1
