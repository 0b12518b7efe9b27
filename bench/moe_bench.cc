// bench/moe_bench.cc: the mixture of experts, forward and backward, beside the FMA peak of the same run.
//
//   moe_bench [--json FILE] [--threads N] [--best]
//
// FLOPs counts the products only: T (6 A D F + 2 D E) forward and twice that backward. "routing" is the share
// of the forward spent outside the experts: the router's product and selection, the gather and the
// combination, each timed alone on the same data. Times are medians. --best takes the least, for a machine
// that others use too.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "ops/moe/moe_kernels.h"
#include "ops/moe/route.h"
#include "ops/simd/machine_peak.h"

namespace {

using namespace r1;
using Clock = std::chrono::steady_clock;

struct Options {
  std::string json;
  int threads = 0;
  bool best = false;
};

// A layer with random weights and gradients.
struct Layer {
  Layer(const MoeConfig& config, int64_t D, int64_t F) {
    const auto make = [&](int64_t n, int64_t k) {
      auto p = std::make_unique<Parameter>();
      for (Tensor* t : {&p->value, &p->grad}) {
        storage.emplace_back(Shape{n, k}, DType::f32);
        *t = storage.back().tensor();
      }
      Random random(storage.size());
      for (float& v : p->value.values()) v = (random.uniform() - 0.5f) * 0.2f;
      parameters.push_back(std::move(p));
      return Weight(parameters.back().get());
    };
    w.config = config;
    w.router = make(config.experts, D);
    for (int64_t e = 0; e < config.experts; ++e) {
      Weight gate = make(F, D), up = make(F, D), down = make(D, F);
      w.experts.push_back({std::move(gate), std::move(up), std::move(down)});
    }
  }
  std::vector<Buffer> storage;
  std::vector<std::unique_ptr<Parameter>> parameters;
  MoeWeights w;
};

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options),
        threads_(options.threads > 0 ? options.threads : available_threads()),
        tape_(arena_) {}

  void shape(int64_t T, int64_t D, int64_t F, const MoeConfig& config) {
    Layer layer(config, D, F);
    const Buffer input({T, D}, DType::f32), seed({T, D}, DType::f32);
    Random random(7);
    for (float& v : input.tensor().values()) v = random.uniform() * 2 - 1;
    for (float& v : seed.tensor().values()) v = random.uniform() * 2 - 1;
    const double flops = static_cast<double>(T * D * (6 * config.active * F + 2 * config.experts));

    Context plain{.arena = arena_, .threads = threads_};
    const double peak = fma_peak(threads_);
    const double forward = measure([&] {
      const ArenaScope scope(arena_);
      moe(plain, {}, input.tensor(), layer.w);
    });
    const double backward = backward_seconds(layer, input.tensor(), seed.tensor());
    row(T, D, F, config, forward, backward, flops, peak, around_seconds(plain, layer, input.tensor()));
  }

  void write() const {
    if (options_.json.empty()) return;
    std::ofstream(options_.json)
        << nlohmann::json{{"bench", "moe"}, {"threads", threads_.size()}, {"rows", rows_}}.dump(1) << "\n";
  }

 private:
  static double seconds(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  }
  double pick(std::vector<double>& times) const {
    std::sort(times.begin(), times.end());
    return options_.best ? times.front() : times[times.size() / 2];
  }
  template <class F>
  double measure(const F& f) const {
    f();
    std::vector<double> times;
    const auto start = Clock::now();
    while (times.size() < 5 || (seconds(start) < 0.4 && times.size() < 2000)) {
      const auto begin = Clock::now();
      f();
      times.push_back(seconds(begin));
    }
    return pick(times);
  }

  // Times the backward pass alone. Each repeat records a forward outside the clock.
  double backward_seconds(Layer& layer, const Tensor& input, const Tensor& dy) {
    Context ctx{.arena = arena_, .threads = threads_, .tape = &tape_};
    std::vector<double> times;
    const auto start = Clock::now();
    while (times.size() < 6 || (seconds(start) < 0.6 && times.size() < 2000)) {
      const ArenaScope scope(arena_);
      Tensor x = input;
      tape_.name(x);
      const Tensor y = moe(ctx, {}, x, layer.w);
      std::copy_n(dy.f32(), dy.count(), tape_.slot(y).grad.f32());
      const auto begin = Clock::now();
      tape_.backward(ctx);
      times.push_back(seconds(begin));
    }
    times.erase(times.begin());
    return pick(times);
  }

  double around_seconds(Context& ctx, const Layer& layer, const Tensor& x) {
    const int64_t D = x.dim(1), A = layer.w.config.active, slots = x.dim(0) * A;
    const double routing = measure([&] {
      const ArenaScope scope(arena_);
      route(ctx, x, layer.w);
    });
    const ArenaScope scope(arena_);
    const Routing r = route(ctx, x, layer.w);
    float* rows = arena_.array<float>(std::min(r.chunk * A, slots) * D);
    float* y = arena_.array<float>(x.count());
    const double moving = measure([&] {
      for (int64_t t = 0; t < r.T; t += r.chunk) {
        const int64_t tokens = std::min(r.chunk, r.T - t);
        threads_.parallel_for(tokens * A, 64, [&](int64_t begin, int64_t end) {
          moe_kernels::gather(x.f32(), r.tokens + t * A, begin, end, D, rows);
        });
        threads_.parallel_for(tokens, 64, [&](int64_t begin, int64_t end) {
          moe_kernels::combine(rows, r.rows + t * A, r.weights + t * A, begin, end, A, D, y + t * D);
        });
      }
    });
    return routing + moving;
  }

  void row(int64_t T, int64_t D, int64_t F, const MoeConfig& config, double forward, double backward,
           double flops, double peak, double around) {
    const double f = flops / forward * 1e-9, b = 2 * flops / backward * 1e-9;
    fmt::print(
        "moe f32  T={:<5} D={:<4} E={:<3} A={} F={:<4}  forward us {:>8.0f}  GFLOP/s {:>5.1f}  {:>4.1f} %   "
        "backward us "
        "{:>8.0f}  GFLOP/s {:>5.1f}  {:>4.1f} % of FMA peak ({:.0f})   routing {:.1f} % of forward\n",
        T, D, config.experts, config.active, F, forward * 1e6, f, 100 * f / peak, backward * 1e6, b,
        100 * b / peak, peak, 100 * around / forward);
    rows_.push_back({{"T", T},
                     {"D", D},
                     {"E", config.experts},
                     {"A", config.active},
                     {"F", F},
                     {"forward_us", forward * 1e6},
                     {"forward_gflops", f},
                     {"backward_us", backward * 1e6},
                     {"backward_gflops", b},
                     {"peak_gflops", peak},
                     {"routing_share", around / forward}});
  }

  Options options_;
  ThreadPool threads_;
  Arena arena_;
  Tape tape_;
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
      options.threads = std::max(1, std::atoi(argv[++i]));
    } else if (arg == "--best") {
      options.best = true;
    } else {
      fmt::print(stderr, "usage: moe_bench [--json FILE] [--threads N] [--best]\n");
      return 2;
    }
  }
  Bench bench(options);
  for (const int64_t T : {64, 512, 4096}) {
    bench.shape(T, 128, 96, {.experts = 8, .active = 2});
    bench.shape(T, 512, 256, {.experts = 16, .active = 4});
  }
  bench.write();
  return 0;
}
