// bench/quant_bench.cc: products with quantised blocks (ops/matmul/quant.h), by format and number of rows.
//
//   quant_bench [--threads N] [--type Q4_K] [--kernel "AVX2"] [--shape N,K] [--seconds F]
//
// With one row the matrices together are larger than the caches: GB/s are of the blocks' bytes, and the limit
// is the read bandwidth that is measured beside it. With many rows the figure is GOP/s, two operations for
// each product; kernels' own peaks differ, so no percentage is given. Times are the least of all repeats.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "ops/matmul/quant_dot.h"
#include "ops/simd/machine_peak.h"

namespace {

using namespace r1;
using Clock = std::chrono::steady_clock;

struct QuantBench {
  int threads = 0;
  std::string type, kernel;
  int64_t N = 8960, K = 1536;
  double seconds = 0.5;
};

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Matrices of random bytes whose scales are small numbers.
std::vector<std::byte> matrix(Format format, int64_t N, int64_t K) {
  std::vector<std::byte> panels(static_cast<size_t>(quant_bytes(format, N, K)));
  const int64_t row = bytes_of(format, K);
  std::vector<std::byte> rows(static_cast<size_t>(row * kQuantPanel));
  Random random(1);
  for (std::byte& b : rows) b = static_cast<std::byte>(random.below(64));  // an f16 below 2
  for (int64_t n = 0; n < N; n += kQuantPanel)
    pack_quant_panel(format, rows.data(), std::min(kQuantPanel, N - n), K,
                     panels.data() + n / kQuantPanel * quant_panel_bytes(format, K));
  return panels;
}

void measure(const QuantBench& o, ThreadPool& threads, Format format) {
  const int64_t bytes = quant_bytes(format, o.N, o.K);
  const int64_t copies = std::max<int64_t>(1, (int64_t{400} << 20) / bytes);
  std::vector<std::vector<std::byte>> w;
  for (int64_t i = 0; i < copies; ++i) w.push_back(matrix(format, o.N, o.K));
  constexpr int64_t kMost = 512;
  Random random(2);
  std::vector<float> x(static_cast<size_t>(kMost * o.K)), y(static_cast<size_t>(kMost * o.N));
  for (float& v : x) v = static_cast<float>(random.normal());
  std::vector<std::byte> q(static_cast<size_t>(kMost * QuantRowLayout(format, o.K).bytes));
  quantise_rows(format, x.data(), kMost, o.K, q.data());
  for (const int64_t M : {1, 8, 32, 512}) {
    double best = 1e9;
    size_t at = 0;
    for (const auto begin = Clock::now(); seconds_since(begin) < o.seconds || best > 1e8;
         at = (at + 1) % w.size()) {
      const QuantProduct p{.w = {format, o.N, o.K, w[at].data()}, .x = q.data(), .M = M, .y = y.data()};
      const auto start = Clock::now();
      quant_products(threads, {&p, 1});
      best = std::min(best, seconds_since(start));
    }
    const double operations = 2.0 * static_cast<double>(M * o.N * o.K) / best / 1e9;
    const double rate = static_cast<double>(bytes) / best / 1e9;
    fmt::print("{:8} {:13} {}x{} M={:<4} us {:9.1f}  GOP/s {:7.1f}  GB/s {:6.1f}{}\n", name_of(format),
               quant_kernel().name, o.N, o.K, M, best * 1e6, operations, rate,
               M == 1 ? fmt::format("  {:.0f} % of the read bandwidth",
                                    100 * rate / read_bandwidth(threads, int64_t{400} << 20))
                      : "");
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  QuantBench o;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view key = argv[i];
    const std::string value = argv[i + 1];
    if (key == "--threads") o.threads = std::stoi(value);
    if (key == "--type") o.type = value;
    if (key == "--kernel") o.kernel = value;
    if (key == "--seconds") o.seconds = std::stod(value);
    if (key == "--shape") {
      o.N = std::stoll(value);
      o.K = std::stoll(value.substr(value.find(',') + 1));
    }
  }
  ThreadPool threads(o.threads > 0 ? o.threads : available_threads());
  fmt::print("{} threads\n", threads.size());
  for (const QuantKernel& kernel : quant_kernels()) {
    if (!kernel.usable || (o.kernel.empty() ? &kernel != &quant_kernel() : o.kernel != kernel.name)) continue;
    const WithQuantKernel chosen(kernel);
    for (size_t i = 0; i < kFormats; ++i) {
      const auto format = static_cast<Format>(i);
      if (is_blocks(format) && (o.type.empty() || o.type == name_of(format))) measure(o, threads, format);
    }
  }
}
