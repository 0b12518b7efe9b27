#include "cli/plan_train.h"

#include <fmt/format.h>

#include "base/ascii.h"
#include "base/error.h"
#include "cli/output.h"
#include "formats/json.h"
#include "formats/shown.h"
#include "model/known_models.h"
#include "model/training_cost.h"

namespace r1 {
namespace {

constexpr const char* kTrained = "deepseek-ai/DeepSeek-R1";

Json cost_json(const TrainingCost& cost, const CostSettings& settings, double price) {
  Json items = Json::array();
  for (const CostItem& item : cost.items) {
    items.push_back(Json::object()
                        .set("stage", item.stage)
                        .set("basis", item.basis)
                        .set("tokens", item.tokens)
                        .set("flops", item.flops)
                        .set("gpu_hours", item.gpu_hours)
                        .set("dollars", item.gpu_hours * price)
                        .set("published_gpu_hours", item.published > 0 ? Json(item.published) : Json()));
  }
  const auto sum = [&](double hours, double published) {
    return Json::object()
        .set("gpu_hours", hours)
        .set("dollars", hours * price)
        .set("published_gpu_hours", published)
        .set("ratio", hours / published);
  };
  Json json = Json::object();
  json.set("model", kTrained).set("gpu", "H800").set("peak_tflops", settings.peak_tflops);
  json.set("utilisation", settings.utilisation)
      .set("price_per_gpu_hour", price)
      .set("stages", std::move(items));
  json.set("v3", sum(cost.v3_hours(), kPublishedV3Hours));
  json.set("v3_pretraining", sum(cost.pretraining_hours(), kPublishedPretrainingHours));
  json.set("r1", sum(cost.r1_hours(), kPublishedR1Hours));
  json.set("assumed", Json::array_of(cost.assumed)).set("left_out", Json::array_of(cost.left_out));
  return json;
}

std::string thousands(double hours) {
  return fmt::format("{:.1f}k", hours * 1e-3);
}

std::string cost_text(const Json& json) {
  std::string out = fmt::format(
      "{} on H800s: {:.0f} TFLOP/s peak (bf16), {:.0f} % utilisation, {} dollars per GPU hour\n\n",
      json.get_string("model"), json.get_number("peak_tflops"), 100 * json.get_number("utilisation"),
      json.get_number("price_per_gpu_hour"));
  out += fmt::format("{:<24}  {:>8}  {:>9}  {:>9}  {:>10}  {:>10}\n", "stage", "tokens", "FLOPs", "GPU hours",
                     "dollars", "published");
  const auto row = [&](const std::string& name, const Json& item, const std::string& tokens,
                       const std::string& flops) {
    const Json& published = item.at("published_gpu_hours");
    out += fmt::format("{:<24}  {:>8}  {:>9}  {:>9}  {:>10.3g}  {:>10}\n", name, tokens, flops,
                       thousands(item.get_number("gpu_hours")), item.get_number("dollars"),
                       published.is_null() ? "-" : thousands(published.number()));
  };
  for (const Json& item : json.at("stages").items())
    row(item.get_string("stage"), item, fmt::format("{:.3g}", item.get_number("tokens")),
        fmt::format("{:.3g}", item.get_number("flops")));
  row("V3 in all", json.at("v3"), "", "");
  row("R1 in all", json.at("r1"), "", "");
  out += "\nIt rests on\n";
  for (const Json& item : json.at("stages").items())
    out += fmt::format("  {}: {}\n", item.get_string("stage"), item.get_string("basis"));
  out += "\nAssumed are\n";
  for (const Json& line : json.at("assumed").items()) out += "  " + line.string() + "\n";
  out += "\nThe figures leave out\n";
  for (const Json& line : json.at("left_out").items()) out += "  " + line.string() + "\n";
  return out;
}

}  // namespace

int run_plan_train(const PlanOptions& options) {
  const std::string name = options.model;
  if (!equal_ignoring_case(name, kTrained) && !equal_ignoring_case(name, "DeepSeek-R1"))
    throw Error(fmt::format("plan --train knows the published training of {} only; {} is another model",
                            kTrained, name.empty() ? "the default model" : shown(name)));
  CostSettings settings;
  if (options.utilisation) {
    if (!(*options.utilisation > 0 && *options.utilisation <= 1))
      throw Error(fmt::format("--utilisation is {}; it must be above 0 and at most 1", *options.utilisation));
    settings.utilisation = *options.utilisation;
  }
  constexpr double kPrice = 2, kHighestPrice = 1e6;  // dollars per H800 hour, as both papers reckon
  const double price = options.price.value_or(kPrice);
  if (!(price >= 0 && price <= kHighestPrice))
    throw Error(fmt::format("--price is {}; it must be between 0 and {}", price, kHighestPrice));
  const Json json = cost_json(deepseek_r1_cost(*known_model(kTrained), settings), settings, price);
  write_stdout(options.common.json ? json.dump() + "\n" : cost_text(json));
  return 0;
}

}  // namespace r1
