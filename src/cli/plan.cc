// cli/plan.cc: `r1 plan`: what a model needs and how fast it will be, before it is loaded.
#include "model/plan.h"

#include <fmt/format.h>

#include <algorithm>

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
#include "ops/simd/machine_peak.h"

namespace r1 {
namespace {

constexpr int64_t kChunk = 2048;                 // as r1 run reads a prompt
constexpr int64_t kDepths[] = {0, 4096, 16384};  // of predicted speeds
constexpr int64_t kUsefulContext = 4096;         // for which a type of weights counts as fitting

ModelConfig config_of(const std::string& name) {
  if (const auto found = find_model(name.empty() ? kDefaultModel : name)) return load_model_config(*found);
  if (auto known = known_model(name)) return *known;
  try {
    return load_model_config(resolve_model(name));
  } catch (const Error& e) {
    std::string names;
    for (const std::string& n : known_model_names()) names += (names.empty() ? "" : ", ") + n;
    throw Error(fmt::format("{}; plan also knows {}", e.what(), names));
  }
}

Json speeds_of(const SpeedForecast& speed, const ModelConfig& config) {
  Json list = Json::array();
  for (const int64_t depth : kDepths) {
    if (depth < config.max_positions)
      list.push_back(Json::object().set("depth", depth).set("tokens_per_s", speed.tokens_per_s(depth)));
  }
  return list;
}

struct PlannedModel {
  std::string name;
  ModelConfig config;
  ModelSizes sizes = {};
  int64_t memory = 0;
  double bandwidth = 0;
  int threads = 0;
};

Json numerics_row(const PlannedModel& plan, Numerics numerics, ThreadPool& threads) {
  const ModelConfig& c = plan.config;
  const ContextMemory least =
      context_memory(c, numerics, std::min(kUsefulContext, c.max_positions), kChunk, plan.threads);
  const int64_t longest = largest_context(c, numerics, plan.memory, kChunk, plan.threads);
  const SpeedForecast speed = forecast_decoding(c, numerics, threads, plan.bandwidth, plan.memory);
  Json row = Json::object();
  row.set("numerics", name_of(numerics)).set("weights_bytes", least.weights);
  row.set("kv_bytes_per_token", kv_bytes_per_token(c, row_of(numerics).cache));
  row.set("activation_bytes", least.activations).set("largest_context", longest);
  const int bits = activation_dtype(numerics) == DType::f32 ? 32 : 16;
  row.set("bytes_per_token", step_weight_bytes(c, plan.sizes, bits, 1)).set("speed_measured", speed.measured);
  row.set("layers_gb_s", speed.layers_gb_s).set("decode", speeds_of(speed, c));
  return row;
}

Json types_of(const PlannedModel& plan) {
  const int64_t kv =
      std::min(kUsefulContext, plan.config.max_positions) * kv_bytes_per_token(plan.config, DType::bf16);
  Json list = Json::array();
  for (const WeightType& type : weight_types()) {
    const int64_t bytes = file_bytes(plan.sizes, type.bits);
    list.push_back(Json::object()
                       .set("type", type.name)
                       .set("bits_per_weight", type.bits)
                       .set("bytes", bytes)
                       .set("fits", bytes + kv <= plan.memory));
  }
  return list;
}

std::string speed_text(const Json& decode) {
  std::string out;
  for (const Json& point : decode.items())
    out += fmt::format("{}{:.4g} at {}", out.empty() ? "" : ", ", point.get_number("tokens_per_s"),
                       point.get_int("depth"));
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
  out += fmt::format("machine: {} of memory may be used, {} threads, {:.1f} GB/s read from memory\n",
                     byte_text(json.get_int("memory_bytes")), json.get_int("threads"),
                     json.get_number("read_gb_s"));
  out +=
      fmt::format("\n{:<16}  {:>9}  {:>12}  {:>11}  {:>15}  {}\n", "computing in", "weights", "KV per token",
                  "activations", "largest context", "tokens/s when decoding, by depth of context");
  for (const Json& row : json.at("numerics").items()) {
    const int64_t longest = row.get_int("largest_context");
    out += fmt::format("{:<16}  {:>9}  {:>12}  {:>11}  {:>15}  {}{}\n", row.get_string("numerics"),
                       byte_text(row.get_int("weights_bytes")), byte_text(row.get_int("kv_bytes_per_token")),
                       byte_text(row.get_int("activation_bytes")),
                       longest == 0 ? "does not fit" : std::to_string(longest), speed_text(row.at("decode")),
                       row.get_bool("speed_measured") ? "" : " (limit by bandwidth)");
  }
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

Json plan_of(const PlannedModel& plan, ThreadPool& threads) {
  Json json = Json::object();
  json.set("model", plan.name).set("family", name_of(plan.config.family));
  json.set("model_size", Json::object()
                             .set("parameters", plan.sizes.all)
                             .set("active", plan.sizes.active)
                             .set("layers", plan.config.layers)
                             .set("context", plan.config.max_positions));
  json.set("device", "cpu").set("threads", plan.threads).set("memory_bytes", plan.memory);
  json.set("read_gb_s", plan.bandwidth);
  Json rows = Json::array();
  for (const Numerics numerics : kAllNumerics) {
    if (machine_has(numerics)) rows.push_back(numerics_row(plan, numerics, threads));
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

int64_t usable_memory(const CommonOptions& common) {
  if (const int64_t limit = memory_limit(common); limit > 0) return limit;
  const int64_t free = memory_facts().available, group = cgroup_limits().memory;
  return group > 0 ? std::min(group, free) : free;
}

int run_plan(const PlanOptions& options) {
  check_common(options.common);
  if (!options.train && (options.utilisation || options.price))
    throw Error("--utilisation and --price are only for --train");
  if (device_of(options.common) != Device::cpu)
    throw Error("--device: r1 plan measures CPUs only; use --device cpu");
  if (!options.common.dtype.empty() || !options.common.numerics.empty())
    throw Error("--dtype and --numerics: r1 plan shows all that this machine has");
  if (options.train) return run_plan_train(options);
  const std::string name = options.model.empty() ? kDefaultModel : options.model;
  if (name.ends_with(".toml")) return run_plan_config(options);
  PlannedModel plan{.name = name, .config = config_of(name)};
  plan.sizes = model_sizes(plan.config);
  plan.memory = usable_memory(options.common);
  ThreadPool threads(thread_count(options.common));
  plan.threads = threads.size();
  constexpr int64_t kRead = int64_t{256} << 20;  // more than the caches hold
  plan.bandwidth = read_bandwidth(threads, std::clamp<int64_t>(plan.memory / 4, 1 << 20, kRead));
  const Json json = plan_of(plan, threads);
  write_stdout(options.common.json ? json.dump() + "\n" : text_of(json));
  return 0;
}

}  // namespace r1
