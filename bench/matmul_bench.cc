// bench/matmul_bench.cc: matmul forward, dx and dW beside the FMA peak of the same machine in the same run.
//
//   matmul_bench [--json FILE] [--threads N] [--best] [--small] [--shape T,D,F] [--numerics cpu-bf16]
//
// The forward is the op as a model runs it, with activations in and out in the type of the numerics. The
// limit is the peak of the forward's instruction: FMA, or VDPBF16PS for cpu-avx512bf16.
//
// Times are the median of several warm repeats. --best takes the least, for a machine that others use too.
// The limit is measured again beside every shape, because clocks and neighbours change during a run.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "ops/matmul/matmul.h"
#include "ops/simd/machine_peak.h"

namespace {

using namespace r1;
using Clock = std::chrono::steady_clock;

struct Options {
  std::string json;
  int threads = 0;
  bool best = false;
  bool small = false;
  std::array<int64_t, 3> shape{};  // T, D, F of the only shape; 0: all shapes
  Numerics numerics = Numerics::cpu_f32;
};

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Returns the seconds of one warm call. Each repeat runs f for at least 4 ms.
template <class F>
double measure(bool best, const F& f) {
  f();
  int64_t calls = 1;
  for (;; calls *= 2) {
    const auto begin = Clock::now();
    for (int64_t i = 0; i < calls; ++i) f();
    if (seconds_since(begin) > 4e-3) break;
  }
  std::array<double, 9> times;
  for (double& time : times) {
    const auto begin = Clock::now();
    for (int64_t i = 0; i < calls; ++i) f();
    time = seconds_since(begin) / static_cast<double>(calls);
  }
  std::sort(times.begin(), times.end());
  return best ? times.front() : times[times.size() / 2];
}

void fill(const Tensor& t, uint64_t seed) {
  Random random(seed);
  for (float& v : t.values()) v = random.uniform() * 2 - 1;
}

std::string first_line_of(const char* command) {
  std::string line;
  if (FILE* pipe = ::popen(command, "r")) {
    char buffer[256] = {};
    if (std::fgets(buffer, sizeof(buffer), pipe) != nullptr) line = buffer;
    ::pclose(pipe);
  }
  while (!line.empty() && line.back() == '\n') line.pop_back();
  return line.empty() ? "unknown" : line;
}

std::string cpu_model() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown";
}

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options), threads_(options.threads > 0 ? options.threads : available_threads()) {}

  void shape(int64_t T, int64_t D, int64_t F) {
    Parameter w{.name = "w", .value = {}, .grad = {}};
    const Buffer value({F, D}, DType::f32), gradient({F, D}, DType::f32);
    const Buffer input({T, D}, DType::f32), seed({T, F}, DType::f32);
    w.value = value.tensor();
    fill(w.value, 1);
    fill(input.tensor(), 2);
    fill(seed.tensor(), 3);
    const Weight weight(&w);

    Context plain{.arena = arena_, .threads = threads_, .numerics = options_.numerics};
    const Buffer stored({T, D}, plain.activations());
    const Tensor& x = stored.tensor();
    if (x.dtype == DType::f32) {
      std::ranges::copy(input.tensor().values(), x.f32());
    } else {
      std::ranges::transform(input.tensor().values(), x.bf16(), bf16_from_f32);
    }
    const double forward = measure(options_.best, [&] {
      const ArenaScope scope(arena_);
      matmul(plain, x, weight);
    });
    row("forward", T, D, F, forward);
    row("dx", T, D, F, backward(weight, x, seed.tensor(), true));
    w.grad = gradient.tensor();
    row("dW", T, D, F, backward(weight, x, seed.tensor(), false));
  }

  nlohmann::json rows() const { return rows_; }
  ThreadPool& threads() { return threads_; }

 private:
  // Times one product of the backward pass. The tape is prepared outside the clock.
  double backward(const Weight& weight, const Tensor& input, const Tensor& dy, bool wants_dx) {
    std::vector<double> times;
    Tape tape(arena_);
    Context ctx{.arena = arena_, .threads = threads_, .tape = &tape, .numerics = options_.numerics};
    double total = 0;
    for (int repeat = 0; repeat < 400 && (repeat < 12 || total < 0.08); ++repeat) {
      const ArenaScope scope(arena_);
      Tensor x = input;
      if (wants_dx) tape.name(x);
      const Tensor y = matmul(ctx, x, weight);
      const GradSlot slot = tape.slot(y);
      std::copy_n(dy.f32(), dy.count(), slot.grad.f32());
      const auto begin = Clock::now();
      tape.backward(ctx);
      times.push_back(seconds_since(begin));
      total += times.back();
    }
    times.erase(times.begin(), times.begin() + 3);  // cold repeats
    std::sort(times.begin(), times.end());
    return options_.best ? times.front() : times[times.size() / 2];
  }

  void row(const char* what, int64_t T, int64_t D, int64_t F, double seconds) {
    const bool pairs = options_.numerics == Numerics::cpu_avx512bf16 && std::string_view(what) == "forward";
    const double peak = pairs ? bf16_peak(threads_) : fma_peak(threads_);
    const double gflops =
        2e-9 * static_cast<double>(T) * static_cast<double>(D) * static_cast<double>(F) / seconds;
    const int64_t out = std::string_view(what) == "dx" ? D : F, in = D + F - out;
    fmt::print(
        "matmul {} {:<7} T={:<4} N={:<4} K={:<4}  us {:>9.1f}  GFLOP/s {:>6.1f}  {:>3.0f} % of peak "
        "({:.0f})\n",
        name_of(options_.numerics), what, T, out, in, seconds * 1e6, gflops, 100 * gflops / peak, peak);
    std::fflush(stdout);
    rows_.push_back({{"op", "matmul"},
                     {"numerics", name_of(options_.numerics)},
                     {"pass", what},
                     {"threads", threads_.size()},
                     {"T", T},
                     {"D", D},
                     {"F", F},
                     {"us", seconds * 1e6},
                     {"gflops", gflops},
                     {"peak_gflops", peak},
                     {"percent_of_peak", 100 * gflops / peak}});
  }

  Options options_;
  Arena arena_;
  ThreadPool threads_;
  nlohmann::json rows_ = nlohmann::json::array();
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "--json" && i + 1 < argc) {
      options.json = argv[++i];
    } else if (arg == "--threads" && i + 1 < argc) {
      options.threads = std::atoi(argv[++i]);
    } else if (arg == "--best") {
      options.best = true;
    } else if (arg == "--numerics" && i + 1 < argc) {
      options.numerics = numerics_from_name(argv[++i]);
    } else if (arg == "--small") {
      options.small = true;
    } else if (arg == "--shape" && i + 1 < argc &&
               std::sscanf(argv[i + 1], "%" SCNd64 ",%" SCNd64 ",%" SCNd64, &options.shape[0],
                           &options.shape[1], &options.shape[2]) == 3) {
      ++i;
    } else {
      fmt::print(stderr,
                 "usage: matmul_bench [--json FILE] [--threads N] [--best] [--small] [--shape T,D,F] "
                 "[--numerics NAME]\n");
      return 2;
    }
  }
  Bench bench(options);
  nlohmann::json peaks;
  for (int threads = 1; threads <= bench.threads().size(); ++threads) {
    ThreadPool pool(threads);
    const double peak = fma_peak(pool);
    peaks[std::to_string(threads)] = peak;
    fmt::print("FMA peak f32, {} thread{}: {:.0f} GFLOP/s\n", threads, threads == 1 ? "" : "s", peak);
  }
  constexpr std::array<std::array<int64_t, 2>, 7> kShapes = {
      {{128, 128}, {128, 192}, {128, 320}, {128, 80}, {64, 128}, {512, 512}, {1536, 8960}}};
  if (const auto [T, D, F] = options.shape; T > 0) bench.shape(T, D, F);
  for (const auto& [D, F] : kShapes) {
    if (options.shape[0] > 0) break;
    for (const int64_t T : {1, 16, 64, 512, 2048, 4096}) {
      if (options.small && D * F * T > int64_t{512} * 512 * 4096) continue;
      bench.shape(T, D, F);
    }
  }
  if (!options.json.empty()) {
    char date[32];
    const std::time_t now = std::time(nullptr);
    std::strftime(date, sizeof(date), "%Y-%m-%d", std::localtime(&now));
    const nlohmann::json result = {{"bench", "matmul"},
                                   {"date", date},
                                   {"commit", first_line_of("git rev-parse HEAD 2>/dev/null")},
                                   {"cpu", cpu_model()},
                                   {"fma_peak_gflops_by_threads", peaks},
                                   {"rows", bench.rows()}};
    std::ofstream(options.json) << result.dump(1) << "\n";
  }
  return 0;
}
