#include "cli/bench_train.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/byte_text.h"
#include "base/error.h"
#include "base/text_util.h"
#include "cli/bounds.h"
#include "cli/common.h"
#include "cli/output.h"
#include "engine/find_model.h"
#include "formats/json.h"
#include "model/gguf_config.h"
#include "ops/simd/machine_limits.h"
#include "train/speed.h"

namespace r1 {
namespace {

namespace fs = std::filesystem;

// The model of a directory, or a new one of the sizes in a config.json, or in a directory that has no weights.
Model trained_model_of(const BenchOptions& options, Memory& memory) {
  const fs::path named = options.model;
  const bool file = named.extension() == ".json" && fs::is_regular_file(named);
  const bool shape = file || (fs::exists(named / "config.json") && !fs::exists(named / "model.safetensors") &&
                              !fs::exists(named / "model.safetensors.index.json"));
  if (!shape) return Model::load(resolve_model(options.model), DType::f32, WeightUse::training, memory);
  const fs::path config = file ? named : named / "config.json";
  return Model::create(read_model_config(read_json(config)), 1, memory);
}

Numerics training_numerics(const CommonOptions& common) {
  if (!common.numerics.empty()) return numerics_from_name(common.numerics);
  const bool bf16 = common.dtype.empty() ? device_of(common) == Device::cuda : common.dtype == "bf16";
  return default_numerics(bf16 ? DType::bf16 : DType::f32, device_of(common));
}

Json measure_training(const BenchOptions& options) {
  const Device device = device_of(options.common);
  const Numerics numerics = training_numerics(options.common);
  check_device(numerics, device);
  if (!options.common.kv_type.empty())
    throw Error("--kv-type: a training keeps keys and values in the type of its activations; leave it out");
  if (!options.common.memory_limit.empty())
    throw Error("--memory-limit: r1 bench --train keeps no limit; --micro bounds the activations");
  if (!options.common.quantize.empty())
    throw Error("--quantize: quantised weights are not trained; leave it out with --train");
  if (!has_gradients(numerics))
    throw Error(fmt::format("--numerics {}: it trains no model; use cpu-f32 or cpu-bf16", name_of(numerics)));
  Model model = trained_model_of(options, device_memory(options.common));
  if (options.length > model.config().max_positions)
    throw Error(fmt::format("--length is {}; the model's context ends at {}", options.length,
                            model.config().max_positions));
  ThreadPool threads(thread_count(options.common));
  constexpr int64_t kRead = int64_t{256} << 20;
  const double bandwidth = bandwidth_limit(model.memory(), threads, kRead);
  const double peak = operations_limit(model.memory(), numerics, threads);
  TrainMeter meter(model, threads, numerics,
                   {.rows = options.rows,
                    .length = options.length,
                    .micro_tokens = options.micro,
                    .recompute = options.recompute,
                    .exact = !options.no_exact});
  meter.step();  // takes memory and packs the weights
  std::vector<double> seconds;
  for (int64_t i = 0; i < options.repeat; ++i) seconds.push_back(meter.step());
  const std::vector<KernelTime> kernels = meter.kernels();
  std::ranges::sort(seconds);
  const double tokens = static_cast<double>(options.rows * options.length);
  const double median = seconds[seconds.size() / 2];
  Json out = Json::object();
  out.set("model", options.model).set("family", name_of(model.config().family));
  out.set("parameters", model.parameter_count()).set("active_parameters", model.active_parameter_count());
  out.set("numerics", name_of(numerics)).set("device", device == Device::cuda ? "cuda" : "cpu");
  out.set("threads", threads.size()).set("repeat", options.repeat);
  out.set("rows", options.rows).set("length", options.length).set("micro", options.micro);
  out.set("recompute", options.recompute).set("exact", !options.no_exact);
  out.set("activation_bytes", meter.activations()).set("weights_bytes", model.held_bytes());
  out.set("step_s", median);
  out.set("tokens_per_s", Json::object()
                              .set("median", tokens / median)
                              .set("low", tokens / seconds.back())
                              .set("high", tokens / seconds.front()));
  out.set("tflops", meter.flops() / median * 1e-12);
  out.set("peak_tflops", peak * 1e-12).set("read_gb_s", bandwidth * 1e-9);
  out.set("share_of_peak", peak > 0 ? meter.flops() / median / peak : 0.0);
  double all = 0;
  for (const KernelTime& k : kernels) all += k.seconds;
  Json list = Json::array();
  for (const KernelTime& k : kernels)
    list.push_back(Json::object()
                       .set("kernel", k.kernel)
                       .set("ms", k.seconds * 1e3)
                       .set("launches", k.launches)
                       .set("share", k.seconds / all));
  return out.set("kernels", std::move(list));
}

std::string training_text(const Json& json) {
  const Json& rate = json.at("tokens_per_s");
  std::string out =
      fmt::format("{}: {}, {:.4g} M parameters, {} on {}, {} threads\n", json.get_string("model"),
                  json.get_string("family"), static_cast<double>(json.get_int("parameters")) * 1e-6,
                  json.get_string("numerics"), json.get_string("device"), json.get_int("threads"));
  out += fmt::format("{}: {:.0f} GB/s {}, {:.3g} TFLOP/s\n", machine_name(json), json.get_number("read_gb_s"),
                     bandwidth_name(json), json.get_number("peak_tflops"));
  if (!json.get_bool("exact")) out += "products by cuBLASLt, in any order (--no-exact)\n";
  out += fmt::format(
      "a step: {} rows of {} tokens, at most {} at a time; activations {}{}, weights and gradients {}\n",
      json.get_int("rows"), json.get_int("length"), json.get_int("micro"),
      json.get_bool("recompute") ? "(recomputed) " : "", byte_text(json.get_int("activation_bytes")),
      byte_text(json.get_int("weights_bytes")));
  out += fmt::format("{:.1f} ms, {:.4g} tokens/s ({:.4g} to {:.4g}), {:.3g} TFLOP/s",
                     json.get_number("step_s") * 1e3, rate.get_number("median"), rate.get_number("low"),
                     rate.get_number("high"), json.get_number("tflops"));
  if (json.get_number("share_of_peak") > 0)
    out += fmt::format(", {:.0f} % of peak", 100 * json.get_number("share_of_peak"));
  out += "\n";
  if (json.at("kernels").items().empty()) return out;
  out += fmt::format("\n{:<24}  {:>9}  {:>8}  {:>6}\n", "kernel", "ms", "launches", "share");
  for (const Json& k : json.at("kernels").items())
    out += fmt::format("{:<24}  {:>9.3f}  {:>8}  {:>4.1f} %\n", k.get_string("kernel"), k.get_number("ms"),
                       k.get_int("launches"), 100 * k.get_number("share"));
  return out;
}

}  // namespace

int run_bench_train(const BenchOptions& options) {
  check_between("--rows", options.rows, 1, 1 << 16);
  check_between("--length", options.length, 1, 1 << 20);
  check_between("--micro", options.micro, 1, 1 << 24);
  check_between("--repeat", options.repeat, 1, 100);
  const Json json = measure_training(options);
  write_stdout(options.common.json ? json.dump() + "\n" : training_text(json));
  return 0;
}

}  // namespace r1
