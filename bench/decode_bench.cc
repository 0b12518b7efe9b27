// bench/decode_bench.cc: decoding, beside what the machine's memory and arithmetic allow.
//
//   decode_bench [MODEL] [--numerics NAME] [--threads N] [--tokens N] [--context N] [--group N] [--batch N]...
//               [--prefill N]
//
// For each batch size, sequences of `context` random tokens are extended by `tokens` tokens at temperature 1.
// The sequences of one group have the same context, as samples of one prompt do. Whole engine runs with 1 and
// with `tokens` new tokens are timed; their difference is the time of decoding alone. The limit of a step is
// the larger of two times: reading every weight and every key once at the bandwidth measured beside it (a
// prompt's keys once per group), and 2 FLOPs per weight and token at the FMA peak. A model that fits into a
// cache can exceed 100 %. --prefill measures prompts of N tokens instead, new ones in each of three runs.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/integers.h"
#include "base/random.h"
#include "engine/engine.h"
#include "ops/simd/machine_peak.h"

namespace {

using namespace r1;

struct Options {
  std::string model = "models/r1-nano";
  Numerics numerics = Numerics::cpu_f32;
  int threads = available_threads();
  int64_t tokens = 64, context = 64, group = 1;
  int64_t prefill = 0;
  std::vector<int64_t> batches;  // kBatches if none is named
  static constexpr int64_t kBatches[] = {1, 8, 32, 128, 512};
};

// Returns the seconds of the best of three runs of `batch` sequences with `tokens` new tokens each.
double run(Engine& engine, const ModelConfig& config, const Options& o, int64_t batch, int64_t tokens) {
  Random random(1);
  std::vector<Request> requests(static_cast<size_t>(ceil_div(batch, o.group)));
  for (size_t i = 0; i < requests.size(); ++i) {
    Request& r = requests[i];
    for (int64_t t = 0; t < o.context; ++t)
      r.prompt.push_back(static_cast<int32_t>(random.between(0, config.vocab_size - 1)));
    r.max_tokens = tokens;
    r.samples = std::min(o.group, batch - static_cast<int64_t>(i) * o.group);
    r.key.prompt = static_cast<uint32_t>(i);
  }
  double best = 1e30;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const auto begin = std::chrono::steady_clock::now();
    engine.run(requests);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

void measure_prefill(const Model& model, const Options& o) {
  ThreadPool threads(o.threads);
  Arena arena;
  Context ctx{
      .arena = arena, .threads = threads, .tape = nullptr, .device = Device::cpu, .numerics = o.numerics};
  Engine engine(model, ctx, {.max_batch = 1, .prefill_chunk = 512, .kv_bytes = 0});
  Random random(2);
  double best = 1e30;
  for (int repeat = 0; repeat < 4; ++repeat) {  // the first one packs the weights
    Request r;
    for (int64_t t = 0; t < o.prefill; ++t)
      r.prompt.push_back(static_cast<int32_t>(random.between(0, model.config().vocab_size - 1)));
    r.max_tokens = 1;
    const auto begin = std::chrono::steady_clock::now();
    engine.run({&r, 1});
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (repeat == 0) fmt::print("the first, with packing: {:.2f} s\n", seconds);
    best = std::min(best, seconds);
  }
  fmt::print("prefill {}: {:.1f} tok/s\n", o.prefill, static_cast<double>(o.prefill) / best);
}

void measure(const Model& model, const Options& o) {
  ThreadPool threads(o.threads);
  Arena arena;
  Context ctx{
      .arena = arena, .threads = threads, .tape = nullptr, .device = Device::cpu, .numerics = o.numerics};
  const ModelConfig& config = model.config();
  const double kv = static_cast<double>(KvCache::bytes_per_page(config, ctx.row().cache)) / kKeyTile;
  const double bandwidth = read_bandwidth(threads, int64_t{256} << 20) * 1e9, peak = fma_peak(threads) * 1e9;
  fmt::print("{}: {:.2f} M parameters, {}, {} threads; {:.1f} GB/s, {:.0f} GFLOP/s\n", o.model,
             static_cast<double>(model.parameter_count()) * 1e-6, name_of(o.numerics), o.threads,
             bandwidth * 1e-9, peak * 1e-9);
  for (const int64_t batch : o.batches) {
    Engine engine(model, ctx, {.max_batch = batch, .prefill_chunk = 4096, .kv_bytes = 0});
    const double decode = run(engine, config, o, batch, o.tokens) - run(engine, config, o, batch, 1);
    const double step = decode / static_cast<double>(o.tokens - 1), b = static_cast<double>(batch);
    const double keys =
        static_cast<double>(ceil_div(batch, o.group) * o.context + batch * o.tokens / 2);  // mean length
    const double bytes =
        static_cast<double>(model.weight_bytes(ctx.row().product == Product::q8act)) + keys * kv;
    const double flops = 2 * b * static_cast<double>(model.active_parameter_count());
    const double limit = std::max(bytes / bandwidth, flops / peak);
    fmt::print("batch {:>3}: {:>8.0f} tok/s, {:>8.1f} us a step, {:>3.0f} % of the limit ({})\n", batch,
               b / step, step * 1e6, 100 * limit / step,
               bytes / bandwidth > flops / peak ? "bytes" : "FLOPs");
  }
}

}  // namespace

int main(int argc, char** argv) try {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    const auto value = [&] {
      if (i + 1 >= argc) throw Error(std::string(arg) + " wants a value");
      return std::string(argv[++i]);
    };
    if (arg == "--numerics") {
      o.numerics = numerics_from_name(value());
    } else if (arg == "--threads") {
      o.threads = std::max(1, std::atoi(value().c_str()));
    } else if (arg == "--tokens") {
      o.tokens = std::max(2, std::atoi(value().c_str()));
    } else if (arg == "--context") {
      o.context = std::max(1, std::atoi(value().c_str()));
    } else if (arg == "--group") {
      o.group = std::max(1, std::atoi(value().c_str()));
    } else if (arg == "--prefill") {
      o.prefill = std::max(1, std::atoi(value().c_str()));
    } else if (arg == "--batch") {
      o.batches.push_back(std::max(1, std::atoi(value().c_str())));
    } else if (arg.starts_with("--")) {
      throw Error(
          "usage: decode_bench [MODEL] [--numerics NAME] [--threads N] [--tokens N] [--context N] "
          "[--group N] [--batch N]... [--prefill N]");
    } else {
      o.model = arg;
    }
  }
  if (o.batches.empty()) o.batches.assign(std::begin(Options::kBatches), std::end(Options::kBatches));
  const Model model = Model::load(o.model, activation_dtype(o.numerics), WeightUse::inference);
  if (o.prefill > 0) {
    measure_prefill(model, o);
  } else {
    measure(model, o);
  }
  return 0;
} catch (const std::exception& e) {
  fmt::print(stderr, "decode_bench: {}\n", e.what());
  return 2;
}
