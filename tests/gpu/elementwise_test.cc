// tests/gpu/elementwise_test.cc: sums, slices, gathered rows and SwiGLU on the device have cpu-f32's bits,
// forward and backward.
#include "ops/elementwise/elementwise.h"

#include "ops/swiglu/swiglu.h"
#include "tests/gpu/device_run.h"

namespace r1 {
namespace {
using namespace test;

using Results = std::vector<std::vector<float>>;

class CudaElementwise : public OnDevice {};

constexpr int64_t kRowCounts[] = {1, 3, 17, 100, 1000};
constexpr int64_t kWidths[] = {1, 7, 32, 129, 300};

std::string shape_name(int64_t T, int64_t N) {
  return "T " + std::to_string(T) + " N " + std::to_string(N);
}

TEST_F(CudaElementwise, SumsHaveTheBitsOfTheCpu) {
  for (const int64_t T : kRowCounts) {
    for (const int64_t N : kWidths) {
      Random random(static_cast<uint64_t>(T * 1000 + N));
      const auto a = mixed_numbers(random, T * N), b = mixed_numbers(random, T * N),
                 dy = mixed_numbers(random, T * N);
      expect_both_agree(
          [&](auto& r) -> Results {
            const Tensor x = r.input({T, N}, a), term = r.input({T, N}, b);
            std::vector<float> dx, dterm;
            r.want(x, &dx);
            r.want(term, &dterm);
            const Tensor sum = add(r.ctx, x, term);
            const Tensor y = add(r.ctx, sum, x);  // x's gradient has two parts
            const std::vector<float> out = values(r, y);
            r.seed(y, dy);
            r.backward();
            return {out, dx, dterm};
          },
          shape_name(T, N));
    }
  }
}

TEST_F(CudaElementwise, SlicesHaveTheBitsOfTheCpu) {
  for (const int64_t T : kRowCounts) {
    for (const int64_t N : kWidths) {
      Random random(static_cast<uint64_t>(T * 1000 + N));
      const int64_t begin = random.below(N), end = begin + random.below(N - begin + 1);
      const auto values_x = mixed_numbers(random, T * N), dy = mixed_numbers(random, T * (end - begin));
      for (const bool twice : {false, true}) {
        expect_both_agree(
            [&](auto& r) -> Results {
              const Tensor x = r.input({T, N}, values_x);
              std::vector<float> dx;
              r.want(x, &dx);
              const Tensor y = slice_columns(r.ctx, x, begin, end);
              r.seed(y, dy);
              if (twice) r.seed(slice_columns(r.ctx, x, begin, end), dy);
              const std::vector<float> out = values(r, y);
              r.backward();
              return {out, dx};
            },
            shape_name(T, N));
      }
    }
  }
}

TEST_F(CudaElementwise, JoinedColumnsHaveTheBitsOfTheCpu) {
  for (const int64_t T : kRowCounts) {
    for (const int64_t N : kWidths) {
      Random random(static_cast<uint64_t>(T * 1000 + N));
      const int64_t M = 1 + random.below(70);
      const auto a = mixed_numbers(random, T * M), b = mixed_numbers(random, T * N),
                 dy = mixed_numbers(random, T * (M + N));
      for (const bool twice : {false, true}) {
        expect_both_agree(
            [&](auto& r) -> Results {
              const Tensor ta = r.input({T, M}, a), tb = r.input({T, N}, b);
              std::vector<float> da, db;
              r.want(ta, &da);
              r.want(tb, &db);
              const Tensor y = join_columns(r.ctx, ta, tb);
              r.seed(y, dy);
              if (twice) r.seed(join_columns(r.ctx, ta, tb), dy);
              const std::vector<float> out = values(r, y);
              r.backward();
              return {out, da, db};
            },
            shape_name(T, N));
      }
    }
  }
}

TEST_F(CudaElementwise, GatheredRowsAreCopies) {
  Random random(5);
  const auto x_values = mixed_numbers(random, 50 * 33);
  std::vector<int32_t> rows;
  for (int i = 0; i < 70; ++i) rows.push_back(static_cast<int32_t>(random.below(50)));
  OpRun cpu(false);
  DeviceRun device(false);
  expect_cpu_bits(device.values(gather_rows(device.ctx, device.input({50, 33}, x_values), rows)),
                  to_vector(gather_rows(cpu.ctx, cpu.input({50, 33}, x_values), rows)), "rows");
}

TEST_F(CudaElementwise, SwigluHasTheBitsOfTheCpu) {
  for (const int64_t T : kRowCounts) {
    for (const int64_t N : kWidths) {
      Random random(static_cast<uint64_t>(T * 1000 + N));
      auto gates = mixed_numbers(random, T * N);
      const auto ups = mixed_numbers(random, T * N), dy = mixed_numbers(random, T * N);
      gates[0] = kNaN;
      if (T > 3) gates[static_cast<size_t>(2 * N)] = -std::numeric_limits<float>::infinity();
      for (const bool twice : {false, true}) {
        expect_both_agree(
            [&](auto& r) -> Results {
              const Tensor gate = r.input({T, N}, gates), up = r.input({T, N}, ups);
              std::vector<float> dgate, dup;
              r.want(gate, &dgate);
              r.want(up, &dup);
              const Tensor y = swiglu(r.ctx, gate, up);
              r.seed(y, dy);
              if (twice) r.seed(swiglu(r.ctx, gate, up), dy);
              const std::vector<float> out = values(r, y);
              r.backward();
              return {out, dgate, dup};
            },
            shape_name(T, N));
      }
    }
  }
}

}  // namespace
}  // namespace r1
