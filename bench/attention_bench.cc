// bench/attention_bench.cc: attention in decoding, prefill and training, beside the FMA peak of the same run.
//
//   attention_bench [--json FILE] [--threads N] [--best] [--cpu] [--seconds F] [--only NAME]
//
// FLOPs counts the useful ones: visible (query, key) pairs times 2 (K + V) forward and 2 (3 K + 2 V)
// backward, although the backward pass recomputes the scores. Decoding walks through the pages of four layers
// in turn, so that they come from memory as in a model. It is bound by bytes, so GB/s of keys and values read
// is printed. Times are the median of warm repeats. --best takes the least, for a machine that others use
// too; --cpu takes the CPU time of the process and needs --threads 1.
// --threads 1).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/integers.h"
#include "base/random.h"
#include "ops/attention/attention.h"
#include "ops/simd/machine_peak.h"

namespace {

using namespace r1;

struct Options {
  std::string json, only;
  int threads = 0;
  bool best = false;
  bool cpu = false;
  double seconds = 0.3;
};

struct Heads {
  const char* name;
  int64_t H, G, K, V;
  bool values_in_keys;
  KvPages pages(void* data) const { return {data, DType::f32, G, K, V, values_in_keys}; }
};

// Cached sequences of equal length, with one set of pages per layer.
struct Sequences {
  Sequences(const Heads& h, int64_t sequences, int64_t length, int64_t layer_count)
      : S(sequences), n(length), max_pages(ceil_div(n, kKeyTile)), layers(layer_count) {
    storage = Buffer({layers, S * max_pages * h.pages(nullptr).page_elements()}, DType::f32);
    for (float& x : storage.tensor().values()) x = 0.01f;
    for (int64_t i = 0; i < S * max_pages; ++i) table.push_back(static_cast<int32_t>(i));
    Random(1).shuffle(table);
  }
  KvPages pages(const Heads& h, int64_t layer) const {
    return h.pages(storage.tensor().f32() + layer * storage.tensor().dim(1));
  }
  int64_t S, n, max_pages, layers;
  Buffer storage;
  std::vector<int32_t> table;
};

// A batch of `fresh` new tokens at the end of every sequence.
struct Ragged {
  Ragged(const Sequences& s, int64_t fresh) : tokens(static_cast<size_t>(s.S * fresh), 0), offsets{0} {
    for (int64_t i = 0; i < s.S; ++i) {
      for (int64_t t = 0; t < fresh; ++t) positions.push_back(static_cast<int32_t>(s.n - fresh + t));
      offsets.push_back(static_cast<int32_t>((i + 1) * fresh));
    }
    batch = {tokens, positions, offsets, s.table, s.max_pages};
    for (const int32_t p : positions) pairs += static_cast<double>(p + 1);
  }
  std::vector<int32_t> tokens, positions, offsets;
  Batch batch;
  double pairs = 0;
};

Tensor filled(Arena& arena, Shape shape, uint64_t seed) {
  const Tensor t = arena.tensor(shape);
  Random random(seed);
  for (float& v : t.values()) v = random.uniform() * 2 - 1;
  return t;
}

// Returns random values, or the first columns of the keys if the values are stored in the keys.
Tensor values_of(Arena& arena, const Heads& h, const Tensor& k) {
  const Tensor v = filled(arena, {k.dim(0), h.G, h.V}, 3);
  for (int64_t i = 0; i < k.dim(0) * h.G && h.values_in_keys; ++i)
    std::copy_n(k.f32() + i * h.K, h.V, v.f32() + i * h.V);
  return v;
}

double median_or_best(std::vector<double> times, bool best) {
  times.erase(times.begin(),
              times.begin() + static_cast<int64_t>(std::min<size_t>(2, times.size() - 1)));  // cold repeats
  std::sort(times.begin(), times.end());
  return best ? times.front() : times[times.size() / 2];
}

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options), threads_(options.threads > 0 ? options.threads : available_threads()) {}

  void inference(const char* what, const Heads& h, int64_t S, int64_t n, int64_t fresh) {
    if (!wanted(what, h, S, n)) return;
    const ArenaScope scope(arena_);
    const Sequences sequences(h, S, n, fresh == 1 ? 4 : 1);
    const Ragged ragged(sequences, fresh);
    const int64_t T = ragged.batch.T();
    const Tensor q = filled(arena_, {T, h.H, h.K}, 1), k = filled(arena_, {T, h.G, h.K}, 2);
    const Tensor v = values_of(arena_, h, k);
    Context ctx{.arena = arena_, .threads = threads_};
    std::vector<double> times;
    repeat([&](int64_t i) {
      const ArenaScope once(arena_);
      const double begin = now();
      attention(ctx, ragged.batch, sequences.pages(h, i % sequences.layers), q, k, v, scale(h));
      times.push_back(now() - begin);
    });
    const double heads = static_cast<double>(h.H), wide = static_cast<double>(h.K + h.V);
    const int64_t a_key = h.pages(nullptr).page_elements() / kKeyTile;
    const double bytes = fresh == 1 ? static_cast<double>(S * n * a_key) * 4 : 0;
    row(what, h, S, n, median_or_best(times, options_.best), 2 * ragged.pairs * heads * wide, bytes);
  }

  void training(const Heads& h, int64_t S, int64_t n) {
    if (!wanted("training", h, S, n)) return;
    const ArenaScope scope(arena_);
    const Sequences sequences(h, S, n, 1);
    const Ragged ragged(sequences, n);
    const int64_t T = ragged.batch.T();
    Tensor q = filled(arena_, {T, h.H, h.K}, 1), k = filled(arena_, {T, h.G, h.K}, 2);
    Tensor v = values_of(arena_, h, k);
    const Tensor dy = filled(arena_, {T, h.H, h.V}, 4);
    std::vector<double> forward, backward;
    Tape tape(arena_);
    Context ctx{.arena = arena_, .threads = threads_, .tape = &tape};
    repeat([&](int64_t) {
      const ArenaScope once(arena_);
      for (Tensor* t : {&q, &k, &v}) tape.name(*t);
      double begin = now();
      const Tensor o = attention(ctx, ragged.batch, sequences.pages(h, 0), q, k, v, scale(h));
      forward.push_back(now() - begin);
      const GradSlot slot = tape.slot(o);
      std::copy_n(dy.f32(), dy.count(), slot.grad.f32());
      begin = now();
      tape.backward(ctx);
      backward.push_back(now() - begin);
    });
    const double pairs = 2 * ragged.pairs * static_cast<double>(h.H);
    row("train fwd", h, S, n, median_or_best(forward, options_.best), pairs * static_cast<double>(h.K + h.V),
        0);
    row("train bwd", h, S, n, median_or_best(backward, options_.best),
        pairs * static_cast<double>(3 * h.K + 2 * h.V), 0);
  }

  nlohmann::json rows() const { return rows_; }

 private:
  static float scale(const Heads& h) { return 1 / std::sqrt(static_cast<float>(h.K)); }
  double now() const {
    timespec at{};
    ::clock_gettime(options_.cpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &at);
    return static_cast<double>(at.tv_sec) + static_cast<double>(at.tv_nsec) * 1e-9;
  }
  bool wanted(const char* what, const Heads& h, int64_t S, int64_t n) const {
    const std::string name = fmt::format("{} {} {}x{}", what, h.name, S, n);
    return options_.only.empty() || name.find(options_.only) != std::string::npos;
  }
  template <class F>
  void repeat(const F& f) const {
    const double begin = now();
    for (int64_t i = 0; i < 4000 && (i < 8 || now() - begin < options_.seconds); ++i) f(i);
  }

  void row(const char* what, const Heads& h, int64_t S, int64_t n, double seconds, double flops,
           double bytes) {
    const double peak = fma_peak(threads_), gflops = flops * 1e-9 / seconds;
    fmt::print(
        "attention f32 {:<9} {} H={:<2} G={} K={:<3} V={:<3} S={:<3} n={:<4}  us {:>9.1f}  GFLOP/s {:>6.1f}  "
        "{:>3.0f} % of FMA peak ({:.0f})",
        what, h.name, h.H, h.G, h.K, h.V, S, n, seconds * 1e6, gflops, 100 * gflops / peak, peak);
    if (bytes > 0) fmt::print("  GB/s {:.1f}", bytes * 1e-9 / seconds);
    fmt::print("\n");
    std::fflush(stdout);
    rows_.push_back({{"op", "attention"},
                     {"dtype", "f32"},
                     {"pass", what},
                     {"heads", h.name},
                     {"threads", threads_.size()},
                     {"H", h.H},
                     {"G", h.G},
                     {"K", h.K},
                     {"V", h.V},
                     {"S", S},
                     {"n", n},
                     {"us", seconds * 1e6},
                     {"gflops", gflops},
                     {"fma_peak_gflops", peak},
                     {"percent_of_peak", 100 * gflops / peak},
                     {"gbytes_per_s", bytes * 1e-9 / seconds}});
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
    } else if (arg == "--only" && i + 1 < argc) {
      options.only = argv[++i];
    } else if (arg == "--threads" && i + 1 < argc) {
      options.threads = std::atoi(argv[++i]);
    } else if (arg == "--seconds" && i + 1 < argc) {
      options.seconds = std::atof(argv[++i]);
    } else if (arg == "--cpu") {
      options.cpu = true;
    } else if (arg == "--best") {
      options.best = true;
    } else {
      fmt::print(stderr,
                 "usage: attention_bench [--json FILE] [--threads N] [--best] [--only "
                 "NAME] [--seconds F]\n");
      return 2;
    }
  }
  Bench bench(options);
  constexpr std::array<Heads, 3> kHeads = {
      {{"MLA", 4, 1, 80, 64, true}, {"MQA", 4, 1, 80, 64, false}, {"GQA", 12, 2, 128, 128, false}}};
  for (const Heads& h : kHeads) {
    bench.inference("decode", h, 512, 100, 1);
    bench.inference("decode", h, 1, 4096, 1);
    bench.inference("prefill", h, 512, 20, 20);
    bench.inference("prefill", h, 1, 4096, 4096);
    bench.training(h, 64, 100);
    bench.training(h, 4, 1024);
  }
  if (!options.json.empty()) {
    char date[32];
    const std::time_t now = std::time(nullptr);
    std::strftime(date, sizeof(date), "%Y-%m-%d", std::localtime(&now));
    const nlohmann::json result = {{"bench", "attention"}, {"date", date}, {"rows", bench.rows()}};
    std::ofstream(options.json) << result.dump(1) << "\n";
  }
  return 0;
}
