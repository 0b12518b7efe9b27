// tests/gpu/rope_test.cc: rotary embedding on the device has cpu-f32's bits, both ways and both styles.
#include "ops/rope/rope.h"

#include "base/math.h"
#include "ops/rope/rope_cuda.h"
#include "tests/gpu/device_run.h"
#include "tests/ops/test_util.h"

namespace r1 {
namespace {
using namespace test;

constexpr int64_t kPositions = 1500;

std::vector<float> frequencies_of(int64_t P) {
  std::vector<float> out;
  for (int64_t i = 0; i < P / 2; ++i)
    out.push_back(static_cast<float>(exact_pow(1e4, -2.0 * static_cast<double>(i) / static_cast<double>(P))));
  return out;
}

// The whole of a RopeTable, as it lies in the CPU's memory.
std::vector<float> whole_table(const RopeTable& table) {
  std::vector<float> out;
  const int64_t block = cuda::kRopeBlock * table.width();  // cosines and sines of a block
  for (int64_t p = 0; p < table.max_positions(); p += cuda::kRopeBlock)
    out.insert(out.end(), table.cosines(p), table.cosines(p) + block);
  return out;
}

class CudaRope : public OnDevice {};

void compare_rope(int64_t T, int64_t H, int64_t P, int64_t still, RopeStyle style) {
  const int64_t K = P + still;
  const std::string what = "T " + std::to_string(T) + " H " + std::to_string(H) + " P " + std::to_string(P) +
                           " still " + std::to_string(still) + (style == RopeStyle::half ? " half" : "");
  Random random(static_cast<uint64_t>(T * 7919 + H * 131 + P * 7 + still));
  const std::vector<float> x_values = mixed_numbers(random, T * H * K), dy = mixed_numbers(random, T * H * K);
  const std::vector<float> held = mixed_numbers(random, T * H * K);
  std::vector<int32_t> positions;
  for (int64_t t = 0; t < T; ++t) positions.push_back(static_cast<int32_t>(random.below(kPositions)));
  const RopeTable table(frequencies_of(P), 1.25f, kPositions);

  const cuda::Stream stream;
  const DeviceFloats x(x_values), device_dy(dy), device_table(whole_table(table)), y(T * H * K);
  const DeviceInts device_positions(positions);
  cuda::RopeRows rows{.x = x.data(),
                      .x_head = K,
                      .y = y.data(),
                      .y_head = K,
                      .T = T,
                      .H = H,
                      .still = still,
                      .P = P,
                      .positions = device_positions.data(),
                      .table = device_table.data(),
                      .interleaved = style == RopeStyle::interleaved};
  cuda::rope_rows(rows, stream.get());
  for (const bool add : {false, true}) {
    OpRun r;
    const Tensor input = r.input({T, H, K}, x_values);
    std::vector<float> dx;
    r.want(input, &dx);
    const Tensor output = rope(r.ctx, input, positions, table, style);
    expect_cpu_bits(y.values(stream), to_vector(output), what + " y");
    r.seed(output, dy);
    if (add) r.seed(input, held);
    r.backward();

    DeviceFloats back(T * H * K);
    if (add) cuda_memory().write(back.data(), held.data(), held.size() * sizeof(float));
    rows.x = device_dy.data();
    rows.y = back.data();
    rows.back = true;
    rows.add = add;
    cuda::rope_rows(rows, stream.get());
    expect_cpu_bits(back.values(stream), dx, what + (add ? " dx added" : " dx"));
  }
}

TEST_F(CudaRope, HasTheBitsOfTheCpu) {
  for (const RopeStyle style : {RopeStyle::interleaved, RopeStyle::half}) {
    for (const int64_t T : {1, 3, 17, 100, 1000}) {
      for (const int64_t P : {2, 14, 64, 128}) {
        for (const int64_t still : {0, 1, 5, 128}) compare_rope(T, T > 500 ? 2 : 5, P, still, style);
        if (T != 17) continue;
        for (const int64_t H : {1, 6, 12, 32}) compare_rope(T, H, P, 0, style);
      }
    }
  }
}

// The copy of the table grows with the positions that are used.
TEST_F(CudaRope, OpPicksTheDevice) {
  const RopeTable table(frequencies_of(32), 1.0f, 5000);
  Random random(3);
  const int64_t T = 21, H = 3, K = 40;
  for (const int64_t below : {10, 300, 5000, 200}) {
    std::vector<int32_t> positions;
    for (int64_t t = 0; t < T; ++t) positions.push_back(static_cast<int32_t>(random.below(below)));
    const std::vector<float> x_values = mixed_numbers(random, T * H * K),
                             dy = mixed_numbers(random, T * H * K);
    expect_both_agree(
        [&](auto& r) -> std::vector<std::vector<float>> {
          const Tensor x = r.input({T, H, K}, x_values);
          std::vector<float> dx;
          r.want(x, &dx);
          const Tensor y = rope(r.ctx, x, positions, table, RopeStyle::half);
          const std::vector<float> out = values(r, y);
          r.seed(y, dy);
          r.backward();
          return {out, dx};
        },
        "positions below " + std::to_string(below));
  }
}

}  // namespace
}  // namespace r1
