// cli/plan.cc: `r1 plan`: what a model needs and how fast it will be, before it is loaded.
#include "model/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>

#include "base/byte_text.h"
#include "base/error.h"
#include "base/machine.h"
#include "base/text_util.h"
#include "cli/common.h"
#include "cli/output.h"
#include "cli/plan_config.h"
#include "cli/plan_speed.h"
#include "cli/plan_train.h"
#include "engine/find_model.h"
#include "formats/json.h"
#include "model/gguf_config.h"
#include "model/known_models.h"
#include "model/quantize_plan.h"
#include "ops/simd/machine_limits.h"

namespace r1 {
namespace {

constexpr int64_t kChunk = 2048;                       // as r1 run reads a prompt
constexpr int64_t kDepths[] = {0, 1024, 4096, 16384};  // of predicted speeds, as of r1 bench
constexpr int64_t kUsefulContext = 4096;               // for which a type of weights counts as fitting

// The model's path if it is here.
std::optional<std::filesystem::path> place_of(const std::string& name) {
  if (auto found = find_model(name.empty() ? kDefaultModel : name)) return found;
  if (known_model(name)) return std::nullopt;
  try {
    return resolve_model(name);
  } catch (const Error& e) {
    std::string names;
    for (const std::string& n : known_model_names()) names += (names.empty() ? "" : ", ") + n;
    throw Error(fmt::format("{}; plan also knows {}", e.what(), names));
  }
}

ModelConfig config_of(const std::string& name) {
  const auto place = place_of(name);
  return place ? load_model_config(*place) : *known_model(name);
}

// The formats of the weights: those of the files, or those that --quantize would give them.
WeightFormats planned_formats(const std::string& name, const ModelConfig& config,
                              const std::string& quantize) {
  const auto place = place_of(name);
  const WeightFormats stored = place ? stored_formats(*place, config) : uniform_formats(config.dtype);
  if (quantize.empty()) return stored;
  if (stored.has_blocks()) throw Error(fmt::format("{}: is quantised already: leave out --quantize", name));
  return quantised_formats(config, quantize_preset(quantize, "--quantize"));
}

Json speeds_of(const SpeedForecast& speed, const ModelConfig& config) {
  Json list = Json::array();
  for (const int64_t depth : kDepths) {
    if (depth >= config.max_positions) continue;
    Json point = Json::object().set("depth", depth).set("tokens_per_s", speed.decode_per_s(depth));
    point.set("prompt_tokens_per_s", speed.prompt_s > 0 ? Json(speed.prefill_per_s(depth)) : Json());
    list.push_back(std::move(point));
  }
  return list;
}

struct PlannedModel {
  std::string name;
  ModelConfig config;
  WeightFormats formats = {};  // as the weights are stored, or would be with --quantize
  ModelSizes sizes = {};
  Memory& device = host_memory();
  int64_t memory = 0;    // bytes that may be used
  double bandwidth = 0;  // bytes per second
  int threads = 0;
};

// Keys and values of every type that the numerics can have: bytes per token, and the context that fits.
Json kv_types_of(const PlannedModel& plan, Numerics numerics, const WeightFormats& formats) {
  Json list = Json::array();
  for (const char* type : {"f32", "bf16", "q8"}) {
    Numerics cached = numerics;
    try {
      cached = with_cache(numerics, type);
    } catch (const Error&) {  // it would hold the same bits in more memory
      continue;
    }
    list.push_back(Json::object()
                       .set("type", type)
                       .set("bytes_per_token", kv_bytes_per_token(plan.config, row_of(cached).cache))
                       .set("largest_context", largest_context(plan.config, cached, formats, plan.memory,
                                                               kChunk, plan.threads)));
  }
  return list;
}

Json numerics_row(const PlannedModel& plan, Numerics numerics, ThreadPool& threads) {
  const ModelConfig& c = plan.config;
  const WeightFormats formats = read_formats(plan.formats, numerics);
  const ContextMemory least =
      context_memory(c, numerics, formats, std::min(kUsefulContext, c.max_positions), kChunk, plan.threads);
  const int64_t longest = largest_context(c, numerics, formats, plan.memory, kChunk, plan.threads);
  const MachineLimits limits{.bytes_per_s = plan.bandwidth,
                             .operations_per_s = operations_limit(plan.device, numerics, threads)};
  const SpeedForecast speed = forecast_speed(c, numerics, formats, threads, limits, plan.device, plan.memory);
  Json row = Json::object();
  row.set("numerics", name_of(numerics)).set("weights_bytes", least.weights);
  row.set("kv_bytes_per_token", kv_bytes_per_token(c, row_of(numerics).cache));
  row.set("activation_bytes", least.activations).set("largest_context", longest);
  row.set("mtp_bytes", prediction_bytes(c, numerics, formats, std::min(kUsefulContext, c.max_positions)));
  row.set("bytes_per_token", step_weight_bytes(c, held_matrices(c, numerics, formats), 1));
  row.set("peak_gflops", limits.operations_per_s * 1e-9).set("speed_measured", speed.measured);
  row.set("layers_gb_s", speed.layers_gb_s).set("decode", speeds_of(speed, c));
  return row.set("kv_types", kv_types_of(plan, numerics, formats));
}

Json types_of(const PlannedModel& plan) {
  const int64_t kv =
      std::min(kUsefulContext, plan.config.max_positions) * kv_bytes_per_token(plan.config, DType::bf16);
  Json list = Json::array();
  for (const TypeSize& type : type_sizes(plan.config)) {
    list.push_back(Json::object()
                       .set("type", type.name)
                       .set("bits_per_weight", type.bits)
                       .set("bytes", type.bytes)
                       .set("fits", type.bytes + kv <= plan.memory));
  }
  return list;
}

std::string planned_speed_text(const Json& decode, const char* key) {
  std::string out;
  for (const Json& point : decode.items()) {
    if (point.at(key).is_null()) continue;
    out +=
        fmt::format("{}{:.4g} at {}", out.empty() ? "" : ", ", point.get_number(key), point.get_int("depth"));
  }
  return out;
}

std::string kv_text(const Json& numerics) {
  std::string out = fmt::format("\n{:<16}  {:<14}  {:>12}  {:>15}\n", "computing in", "keys, values",
                                "per token", "largest context");
  for (const Json& row : numerics.items()) {
    for (const Json& kv : row.at("kv_types").items()) {
      const int64_t longest = kv.get_int("largest_context");
      out += fmt::format("{:<16}  {:<14}  {:>12}  {:>15}\n", row.get_string("numerics"),
                         "--kv-type " + kv.get_string("type"), byte_text(kv.get_int("bytes_per_token")),
                         longest == 0 ? "does not fit" : std::to_string(longest));
    }
  }
  return out;
}

std::string text_of(const Json& json) {
  const Json& m = json.at("model_size");
  const auto millions = [&](const char* key) {
    return fmt::format("{:.4g} M", static_cast<double>(m.get_int(key)) * 1e-6);
  };
  std::string out = fmt::format("{}: {}, {} parameters{}\n", json.get_string("model"),
                                json.get_string("family"), millions("parameters"),
                                m.get_int("active") == m.get_int("parameters")
                                    ? ""
                                    : fmt::format(", {} active per token", millions("active")));
  out += fmt::format("{}: {} of memory may be used, {} threads, {:.1f} GB/s {}\n", machine_name(json),
                     byte_text(json.get_int("memory_bytes")), json.get_int("threads"),
                     json.get_number("read_gb_s"), bandwidth_name(json));
  if (const Json& type = json.at("weights_in"); !type.is_null())
    out += fmt::format("weights in {}: {} in a file\n", type.string(), byte_text(json.get_int("file_bytes")));
  out += fmt::format("\n{:<16}  {:>9}  {:>12}  {:>11}  {:>15}  {}\n", "computing in", "weights",
                     "KV per token", "activations", "largest context", "tokens/s by depth of context");
  for (const Json& row : json.at("numerics").items()) {
    const int64_t longest = row.get_int("largest_context");
    out += fmt::format("{:<16}  {:>9}  {:>12}  {:>11}  {:>15}  decoding {}{}\n", row.get_string("numerics"),
                       byte_text(row.get_int("weights_bytes")), byte_text(row.get_int("kv_bytes_per_token")),
                       byte_text(row.get_int("activation_bytes")),
                       longest == 0 ? "does not fit" : std::to_string(longest),
                       planned_speed_text(row.at("decode"), "tokens_per_s"),
                       row.get_bool("speed_measured") ? "" : " (the limit by bandwidth)");
    out +=
        fmt::format("{:<73}  prompts {}{}\n", "", planned_speed_text(row.at("decode"), "prompt_tokens_per_s"),
                    row.get_bool("speed_measured") ? "" : " (the limit by arithmetic)");
  }
  const Json& first = json.at("numerics").at(size_t{0});
  if (const int64_t bytes = first.get_int("mtp_bytes"); bytes > 0)
    out +=
        fmt::format("\nthe MTP head, which r1 run and r1 serve load unless --lookahead is 0, adds {} in {}\n",
                    byte_text(bytes), first.get_string("numerics"));
  out += kv_text(json.at("numerics"));
  out += fmt::format("\n{:<8}  {:>15}  {:>9}  {}\n", "file of", "bits per weight", "size",
                     "fits with 4096 tokens of context");
  for (const Json& row : json.at("types").items())
    out += fmt::format("{:<8}  {:>15.4g}  {:>9}  {}\n", row.get_string("type"),
                       row.get_number("bits_per_weight"), byte_text(row.get_int("bytes")),
                       row.get_bool("fits") ? "yes" : "no");
  const Json& best = json.at("best_type");
  out += best.is_null() ? "\nnone of these types fits into this machine's memory\n"
                        : fmt::format("\nthe most exact type that fits: {}\n", best.string());
  return out;
}

bool device_has(Device device, Numerics numerics) {
  try {
    check_device(numerics, device);
    return true;
  } catch (const Error&) {
    return false;
  }
}

// "Q4_K, Q6_K": the formats of blocks.
std::string formats_text(const WeightFormats& formats) {
  std::set<Format> seen;
  for (const auto& [name, format] : formats.by_name) {
    if (is_blocks(format)) seen.insert(format);
  }
  std::string out;
  for (const Format format : seen) out += (out.empty() ? "" : ", ") + std::string(name_of(format));
  return out;
}

// The numerics with keys and values of --kv-type, or its own if they would only take more memory.
Numerics planned_numerics(Numerics numerics, const std::string& kv_type) {
  try {
    return with_cache(numerics, kv_type);
  } catch (const Error&) {
    return numerics;
  }
}

Json plan_of(const PlannedModel& plan, ThreadPool& threads, const std::string& kv_type) {
  Json json = Json::object();
  json.set("model", plan.name).set("family", name_of(plan.config.family));
  json.set("model_size", Json::object()
                             .set("parameters", plan.sizes.all)
                             .set("active", plan.sizes.active)
                             .set("layers", plan.config.layers)
                             .set("context", plan.config.max_positions));
  json.set("device", name_of(plan.device.device()))
      .set("threads", plan.threads)
      .set("memory_bytes", plan.memory);
  json.set("read_gb_s", plan.bandwidth * 1e-9);
  const bool blocks = plan.formats.has_blocks();
  json.set("weights_in", blocks ? Json(formats_text(plan.formats)) : Json());
  json.set("file_bytes", file_bytes(plan.config, plan.formats));
  Json rows = Json::array();
  for (const Numerics numerics : kAllNumerics) {
    if (!machine_has(numerics) || !device_has(plan.device.device(), numerics)) continue;
    if (row_of(numerics).product == Product::q8act && !blocks) continue;
    rows.push_back(
        numerics_row(plan, kv_type.empty() ? numerics : planned_numerics(numerics, kv_type), threads));
  }
  json.set("numerics", std::move(rows));
  Json types = types_of(plan);
  Json best;
  for (const Json& type : types.items()) {
    if (best.is_null() && type.get_bool("fits")) best = type.get_string("type");
  }
  json.set("types", std::move(types)).set("best_type", std::move(best));
  return json;
}

}  // namespace

int run_plan(const PlanOptions& options) {
  check_common(options.common);
  if (!options.train && (options.utilisation || options.price))
    throw Error("--utilisation and --price are only for --train");
  if (!options.common.dtype.empty() || !options.common.numerics.empty())
    throw Error("--dtype and --numerics: r1 plan shows all that this machine has");
  if (options.train || options.model.ends_with(".toml")) {
    if (!options.common.quantize.empty())
      throw Error("--quantize: a training's weights are not quantised; leave it out");
    if (!options.common.kv_type.empty())
      throw Error("--kv-type: a training keeps keys and values in the type of its activations; leave it out");
  }
  if (options.train && !options.common.device.empty() && device_of(options.common) != Device::cpu)
    throw Error("--device: --train follows from published figures and measures no device; leave it out");
  if (options.train) return run_plan_train(options);
  const std::string name = options.model.empty() ? kDefaultModel : options.model;
  if (name.ends_with(".toml")) return run_plan_config(options);
  Memory& device = device_memory(options.common);
  ModelConfig config = config_of(name);
  WeightFormats formats = planned_formats(name, config, options.common.quantize);
  PlannedModel plan{
      .name = name, .config = std::move(config), .formats = std::move(formats), .device = device};
  plan.sizes = model_sizes(plan.config);
  plan.memory = usable_memory(options.common);
  ThreadPool threads(thread_count(options.common));
  plan.threads = threads.size();
  plan.bandwidth = bandwidth_limit(plan.device, threads, plan.memory / 4);
  const Json json = plan_of(plan, threads, options.common.kv_type);
  write_stdout(options.common.json ? json.dump() + "\n" : text_of(json));
  return 0;
}

}  // namespace r1
