// cli/bench.cc: `r1 bench`: how fast a model reads prompts and decodes, beside what the machine allows.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/byte_text.h"
#include "base/error.h"
#include "base/machine.h"
#include "base/text_util.h"
#include "cli/bench_peer.h"
#include "cli/bench_train.h"
#include "cli/common.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "engine/speed.h"
#include "formats/json.h"
#include "model/gguf_config.h"
#include "model/known_models.h"
#include "model/plan.h"
#include "model/quantize_plan.h"
#include "ops/simd/machine_limits.h"

namespace r1 {
namespace {

constexpr int64_t kPromptTokens = 512;  // of a prefill, shared by the sequences of a batch
constexpr int64_t kMostSteps = 64;      // of one measurement of decoding

struct Point {
  bool prefill = false;
  int64_t depth = 0, batch = 1;
  int64_t tokens = 0;  // of each sequence
  std::vector<double> seconds = {}, peer_seconds = {};
  std::string skipped = {};  // why
};

// Reads "0,1024". Throws Error that names the option and its bounds.
std::vector<int64_t> numbers_of(const char* option, std::string_view text, int64_t low, int64_t high) {
  std::vector<int64_t> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    int64_t value = 0;
    const auto [rest, problem] = std::from_chars(text.data() + begin, text.data() + end, value);
    if (problem != std::errc() || rest != text.data() + end || value < low || value > high)
      throw Error(fmt::format("{} is {}; it must be numbers between {} and {}, separated by commas", option,
                              shell_word(text), low, high));
    out.push_back(value);
    begin = end + 1;
  }
  return out;
}

// Returns the formats in which the model's frozen matrices are stored.
WeightFormats formats_in_use(const Model& model) {
  WeightFormats out;
  for (const Parameter& p : model.parameters()) {
    if (p.frozen()) out.by_name.emplace(p.name, p.stored.format);
  }
  return out;
}

// A model to measure: loaded, or of random weights in its shape.
struct Measured {
  std::filesystem::path path;
  Numerics numerics = Numerics::cpu_f32;
  Model model;
};

Measured loaded(const BenchOptions& options) {
  const std::filesystem::path path = resolve_model(options.model);
  const Numerics numerics = numerics_to_load(options.common, path);
  return {.path = path,
          .numerics = numerics,
          .model = Model::load(path, activation_dtype(numerics), WeightUse::inference,
                               device_memory(options.common), options.common.quantize)};
}

// The formats are those of --quantize, of a GGUF file's tensors, or of the configuration's type. No weights are read.
Measured random_of(const BenchOptions& options) {
  const std::optional<ModelConfig> known = known_model(options.model);
  const std::filesystem::path path =
      known ? std::filesystem::path(options.model) : resolve_model(options.model);
  const ModelConfig config = known ? *known : load_model_config(path);
  const CommonOptions& common = options.common;
  const std::optional<WeightFormats> stored =
      !known && is_gguf(path) ? std::optional(stored_formats(path, config)) : std::nullopt;
  if (!common.quantize.empty() && stored && stored->has_blocks())
    throw Error(fmt::format("{}: is quantised already: leave out --quantize", path.string()));
  const Numerics numerics = choose_numerics(common, path, config);
  const WeightFormats formats =
      !common.quantize.empty() ? quantised_formats(config, quantize_preset(common.quantize, "--quantize"))
                               : stored.value_or(uniform_formats(activation_dtype(numerics)));
  return {.path = path,
          .numerics = numerics,
          .model = Model::of_noise(config, activation_dtype(numerics), &formats, device_memory(common))};
}

class Bench {
 public:
  Bench(const BenchOptions& options, Measured measured, std::vector<int64_t> depths,
        std::vector<int64_t> batches)
      : options_(options),
        depths_(std::move(depths)),
        batches_(std::move(batches)),
        path_(std::move(measured.path)),
        numerics_(measured.numerics),
        device_(device_memory(options.common)),
        model_(std::move(measured.model)),
        sizes_(model_sizes(model_.config())),
        held_(held_matrices(model_.config(), numerics_, formats_in_use(model_))),
        threads_(thread_count(options.common)) {
    show_warnings(model_.warnings());
    // The kernels' copies are made by the first forward; until then the weights are in the file.
    memory_ = usable_memory(options.common) - held_.all - (int64_t{1} << 28);
  }

  Json run() {
    bandwidth_ = bandwidth_limit(device_, threads_, memory_ / 4);
    peak_ = operations_limit(device_, numerics_, threads_);
    make_points();
    open_peer();
    Counter counter("measurements", std::ssize(points_));
    for (Point& point : points_) {
      if (point.skipped.empty()) measure(point);
      counter.add(1);
    }
    counter.clear();
    return json();
  }

 private:
  void make_points() {
    const ModelConfig& c = model_.config();
    for (const int64_t batch : batches_) {
      for (const int64_t depth : depths_) {
        for (const bool prefill : {true, false}) {
          Point point{.prefill = prefill, .depth = depth, .batch = batch};
          point.tokens = prefill ? std::max<int64_t>(1, kPromptTokens / batch) : kMostSteps;
          const int64_t positions = depth + point.tokens;
          const int64_t cache = SpeedMeter::cache_bytes(c, numerics_, batch, positions);
          if (positions > c.max_positions) {
            point.skipped = fmt::format("the model's context ends at {}", c.max_positions);
          } else if (cache > memory_) {
            point.skipped = fmt::format("its keys and values need {}, {} are free", byte_text(cache),
                                        byte_text(std::max<int64_t>(0, memory_)));
          }
          points_.push_back(std::move(point));
        }
      }
    }
  }

  // Measured points of the batches that one process of llama.cpp holds at once.
  void open_peer() {
    if (options_.no_llama_cpp) {
      peer_note_ = "it was left out (--no-llama-cpp)";
      return;
    }
    if (options_.random_weights) {
      peer_note_ = "the weights are random, and no file holds them";
      return;
    }
    if (device_.device() != Device::cpu) {
      peer_note_ = "it runs on the CPU, and r1 on the GPU";
      return;
    }
    if (!is_gguf(path_)) {
      peer_note_ = "the model is not a GGUF file";
      return;
    }
    int64_t sequences = 0, positions = 0;
    for (const Point& p : points_) {
      if (!p.skipped.empty() || p.depth > options_.peer_depth) continue;
      sequences = std::max(sequences, p.batch);
      positions = std::max(positions, p.depth + p.tokens + kMostSteps);
    }
    if (sequences == 0) return;
    try {
      peer_.emplace(options_.python, std::filesystem::absolute(path_), threads_.size(), sequences, positions);
    } catch (const Error& e) {
      peer_note_ = e.what();
    }
  }

  void measure(Point& point) {
    SpeedMeter meter(model_, threads_, numerics_, point.batch, point.depth + point.tokens,
                     !options_.no_exact);
    const auto ours = [&](int64_t steps) {
      return point.prefill ? meter.prefill(point.batch, point.depth, point.tokens)
                           : meter.decode_step(point.batch, point.depth, steps);
    };
    const double first = ours(2);  // also packs the weights and warms the caches
    const auto steps = static_cast<int64_t>(std::clamp(0.3 / std::max(1e-6, first), 2.0, double{kMostSteps}));
    const bool with_peer = peer_ && point.depth <= options_.peer_depth;
    const PeerRequest request{.depth = point.depth,
                              .batch = point.batch,
                              .tokens = point.prefill ? point.tokens : steps,
                              .prefill = point.prefill};
    if (with_peer) ask_peer(request, nullptr);
    for (int64_t i = 0; i < options_.repeat; ++i) {
      point.seconds.push_back(ours(steps));
      if (with_peer) ask_peer(request, &point.peer_seconds);
    }
  }

  void ask_peer(const PeerRequest& request, std::vector<double>* seconds) {
    if (!peer_) return;
    try {
      const double took = peer_->measure(request);
      if (seconds != nullptr) seconds->push_back(took);
    } catch (const Error& e) {
      peer_note_ = e.what();
      peer_.reset();
    }
  }

  // Tokens per second of all sequences together.
  static Json rates(const Point& point, std::vector<double> seconds) {
    std::ranges::sort(seconds);
    const double tokens = static_cast<double>(point.batch * (point.prefill ? point.tokens : 1));
    return Json::object()
        .set("median", tokens / seconds[seconds.size() / 2])
        .set("low", tokens / seconds.back())
        .set("high", tokens / seconds.front());
  }

  Json point_json(const Point& point) const {
    const ModelConfig& c = model_.config();
    Json row = Json::object();
    row.set("kind", point.prefill ? "prefill" : "decode").set("depth", point.depth).set("batch", point.batch);
    row.set("tokens", point.batch * (point.prefill ? point.tokens : 1));
    Json rate = rates(point, point.seconds);
    const double per_s = rate.get_number("median");
    row.set("tokens_per_s", std::move(rate));
    const double seconds = static_cast<double>(row.get_int("tokens")) / per_s;
    // A step reads the weights once, and the keys and values of every sequence.
    const int64_t together = row.get_int("tokens");
    const double bytes =
        step_weight_bytes(c, held_, together) +
        static_cast<double>(point.batch * point.depth * kv_bytes_per_token(c, row_of(numerics_).cache));
    const double depth =
        static_cast<double>(point.depth) + (point.prefill ? static_cast<double>(point.tokens) / 2 : 0);
    const double flops = static_cast<double>(together) * forward_flops(c, sizes_, depth);
    row.set("share_of_bandwidth", bytes / seconds / bandwidth_);
    row.set("share_of_peak", peak_ > 0 ? flops / seconds / peak_ : 0.0);
    if (!point.peer_seconds.empty()) {
      Json theirs = rates(point, point.peer_seconds);
      row.set("ratio_to_llama_cpp", per_s / theirs.get_number("median"));
      row.set("llama_cpp_tokens_per_s", std::move(theirs));
    }
    return row;
  }

  Json json() const {
    Json rows = Json::array(), skipped = Json::array();
    for (const Point& point : points_) {
      if (point.skipped.empty()) {
        rows.push_back(point_json(point));
      } else {
        skipped.push_back(Json::object()
                              .set("kind", point.prefill ? "prefill" : "decode")
                              .set("depth", point.depth)
                              .set("batch", point.batch)
                              .set("why", point.skipped));
      }
    }
    Json out = Json::object();
    out.set("model", path_.string()).set("family", name_of(model_.config().family));
    out.set("parameters", sizes_.all)
        .set("active_parameters", sizes_.active)
        .set("numerics", name_of(numerics_));
    out.set("exact", !options_.no_exact);
    out.set("device", name_of(device_.device()))
        .set("threads", threads_.size())
        .set("repeat", options_.repeat);
    out.set("weights_bytes", held_.all)
        .set("kv_bytes_per_token", kv_bytes_per_token(model_.config(), row_of(numerics_).cache));
    out.set("read_gb_s", bandwidth_ * 1e-9).set("peak_gflops", peak_ * 1e-9);
    out.set("results", std::move(rows)).set("skipped", std::move(skipped));
    Json llama = Json::object();
    llama.set("version", peer_ ? Json(peer_->version()) : Json());
    llama.set("why_not", peer_note_.empty() ? Json() : Json(peer_note_));
    return out.set("llama_cpp", std::move(llama));
  }

  const BenchOptions& options_;
  std::vector<int64_t> depths_, batches_;
  std::filesystem::path path_;
  Numerics numerics_;
  Memory& device_;
  Model model_;
  ModelSizes sizes_;
  HeldMatrices held_;
  ThreadPool threads_;
  int64_t memory_ = 0;
  double bandwidth_ = 0, peak_ = 0;
  std::vector<Point> points_;
  std::optional<LlamaPeer> peer_;
  std::string peer_note_;
};

std::string bench_text(const Json& json) {
  std::string out =
      fmt::format("{}: {}, {:.4g} M parameters, {}, {} threads\n", json.get_string("model"),
                  json.get_string("family"), static_cast<double>(json.get_int("parameters")) * 1e-6,
                  json.get_string("numerics"), json.get_int("threads"));
  out += fmt::format("{}: {:.1f} GB/s {}, {:.0f} {}\n", machine_name(json), json.get_number("read_gb_s"),
                     bandwidth_name(json), json.get_number("peak_gflops"),
                     json.get_string("numerics").starts_with("cpu-q8act") ? "GOP/s in int8" : "GFLOP/s");
  out += fmt::format("weights: {}, keys and values: {} per token\n", byte_text(json.get_int("weights_bytes")),
                     byte_text(json.get_int("kv_bytes_per_token")));
  if (!json.get_bool("exact"))
    out += "products of more than 32 rows by cuBLASLt, in any order (--no-exact)\n";
  const bool peer = !json.at("llama_cpp").at("version").is_null();
  out +=
      fmt::format("\n{:<7}  {:>6}  {:>5}  {:>9}  {:>19}  {:>9}  {:>6}{}\n", "", "depth", "batch", "tokens/s",
                  "(lowest to highest)", "bandwidth", "peak", peer ? "  llama.cpp  ratio" : "");
  for (const Json& row : json.at("results").items()) {
    const Json& rate = row.at("tokens_per_s");
    out +=
        fmt::format("{:<7}  {:>6}  {:>5}  {:>9.4g}  {:>19}  {:>7.0f} %  {:>4.0f} %", row.get_string("kind"),
                    row.get_int("depth"), row.get_int("batch"), rate.get_number("median"),
                    fmt::format("{:.4g} to {:.4g}", rate.get_number("low"), rate.get_number("high")),
                    100 * row.get_number("share_of_bandwidth"), 100 * row.get_number("share_of_peak"));
    if (const Json* theirs = row.find("llama_cpp_tokens_per_s"))
      out += fmt::format("  {:>9.4g}  {:>5.2f}", theirs->get_number("median"),
                         row.get_number("ratio_to_llama_cpp"));
    out += "\n";
  }
  for (const Json& row : json.at("skipped").items())
    out += fmt::format("{:<7}  {:>6}  {:>5}  left out: {}\n", row.get_string("kind"), row.get_int("depth"),
                       row.get_int("batch"), row.get_string("why"));
  const Json& why = json.at("llama_cpp").at("why_not");
  out += peer ? fmt::format("llama.cpp: llama-cpp-python {}\n", json.at("llama_cpp").get_string("version"))
              : fmt::format("llama.cpp was not measured: {}\n",
                            why.is_null() ? "no measurement is left" : why.string());
  return out;
}

}  // namespace

int run_bench(const BenchOptions& options) {
  check_common(options.common);
  if (options.no_exact && device_of(options.common) == Device::cpu)
    throw Error("--no-exact: on the CPU, every product has a fixed order; the option is for --device cuda");
  if (options.train) return run_bench_train(options);
  constexpr int64_t kMostBatch = 1024, kMostDepth = 1 << 20, kMostRepeats = 100;
  std::vector<int64_t> depths = numbers_of("--depth", options.depths, 0, kMostDepth);
  std::vector<int64_t> batches = numbers_of("--batch", options.batches, 1, kMostBatch);
  if (options.repeat < 1 || options.repeat > kMostRepeats)
    throw Error(fmt::format("--repeat is {}; it must be between 1 and {}", options.repeat, kMostRepeats));
  if (options.peer_depth < 0 || options.peer_depth > kMostDepth)
    throw Error(
        fmt::format("--llama-cpp-depth is {}; it must be between 0 and {}", options.peer_depth, kMostDepth));
  const Json json = Bench(options, options.random_weights ? random_of(options) : loaded(options),
                          std::move(depths), std::move(batches))
                        .run();
  write_stdout(options.common.json ? json.dump() + "\n" : bench_text(json));
  return 0;
}

}  // namespace r1
