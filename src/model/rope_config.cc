#include "model/rope_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string>

#include "base/error.h"
#include "base/math.h"
#include "base/text_util.h"
#include "formats/shown.h"

namespace r1 {
namespace {

// Positions fit 31 bits, so no context is stretched further. Since theta is bounded too, theta * factor stays
// well inside f32's range.
constexpr double kMaxFactor = 0x1p31;
constexpr double kMaxTheta = 1e18;
constexpr double kMaxScale = 0x1p16;  // of what multiplies cosines or scores: beyond any use, safe in f32

// The keys that transformers 4 and 5 know, for any type, and vLLM's attn_factor.
const std::array<std::string, 18> kKeys = {
    "rope_type",       "type",         "rope_theta",     "partial_rotary_factor",
    "factor",          "beta_fast",    "beta_slow",      "original_max_position_embeddings",
    "mscale",          "truncate",     "mscale_all_dim", "attention_factor",
    "low_freq_factor", "short_factor", "long_factor",    "high_freq_factor",
    "finetuned",       "attn_factor"};
constexpr const char* kBlocks[] = {"rope_scaling",
                                   "rope_parameters"};  // the first that says something counts

double number_within(const Json& block, std::string_view key, double low, double high) {
  const double value = block.get_number(key);
  if (!(value >= low && value <= high))
    block.at(key).fail(fmt::format("is {}; it must be between {} and {}", value, low, high));
  return value;
}

// Missing, null and 0 mean the default, as in transformers.
double optional_within(const Json& block, std::string_view key, double fallback, double low, double high) {
  return block.get_number_or(key, 0.0) == 0.0 ? fallback : number_within(block, key, low, high);
}

RopeType read_type(const Json& block) {
  const Json* field = block.find("rope_type");
  if (field == nullptr || field->is_null()) field = block.find("type");
  if (field == nullptr || field->is_null()) {
    if (block.contains("factor")) block.fail("has a factor but no rope_type");
    return RopeType::plain;
  }
  const std::string& type = field->string();
  if (type == "default") return RopeType::plain;
  if (type == "linear") return RopeType::linear;
  if (type == "llama3") return RopeType::llama3;
  if (type == "yarn") return RopeType::yarn;
  const bool moving = type == "dynamic" || type == "longrope";
  field->fail(fmt::format("is {}{}: default, linear, llama3 and yarn are known", shown(type),
                          moving ? ", whose frequencies change with the sequence's length" : ""));
}

void refuse_partial(const Json& json) {
  if (json.get_number_or("partial_rotary_factor", 1.0) != 1.0)
    json.at("partial_rotary_factor").fail("is not 1: partial rotary embeddings are not known here");
}

int64_t read_original_positions(const Json& json, const Json& block, int64_t max_positions) {
  // A key beside the block takes precedence, as in transformers.
  for (const Json* where : {&json, &block}) {
    const Json* field = where->find("original_max_position_embeddings");
    if (field == nullptr || field->is_null()) continue;
    const int64_t value = field->integer();
    if (value < 1 || value > (int64_t{1} << 31))
      field->fail("is out of range; it must be between 1 and 2^31");
    return value;
  }
  return max_positions;
}

void read_yarn(const Json& block, int64_t max_positions, RopeConfig& config) {
  if (block.at("factor").is_null()) {
    config.factor = static_cast<double>(max_positions) / static_cast<double>(config.original_positions);
    if (config.factor < 1.0)
      block.at("factor").fail("is null, and max_position_embeddings is below the original context");
  } else {
    config.factor = number_within(block, "factor", 1.0, kMaxFactor);
  }
  constexpr double kLeastTurns = 1e-6;
  config.beta_fast = optional_within(block, "beta_fast", 32.0, kLeastTurns, kMaxFactor);
  config.beta_slow = optional_within(block, "beta_slow", 1.0, kLeastTurns, kMaxFactor);
  if (config.beta_fast < config.beta_slow) {
    block.fail(fmt::format("has beta_fast {} below beta_slow {}", config.beta_fast, config.beta_slow));
  }
  config.mscale = optional_within(block, "mscale", 0.0, 1e-6, kMaxScale);
  config.mscale_all_dim = optional_within(block, "mscale_all_dim", 0.0, 1e-6, kMaxScale);
  if (const Json* given = block.find("attention_factor"); given != nullptr && !given->is_null())
    config.attention_factor = number_within(block, "attention_factor", 1.0 / kMaxScale, kMaxScale);
  config.attn_factor = optional_within(block, "attn_factor", 1.0, 1.0 / kMaxScale, kMaxScale);
  if (block.contains("truncate")) config.truncate = block.get_bool("truncate");
}

// `block` is rope_scaling, rope_parameters, or nullptr (the type is then the default).
RopeConfig read_block(const Json& json, const Json* block, int64_t max_positions) {
  RopeConfig config;
  config.theta = json.get_number_or("rope_theta", config.theta);
  const Json* theta = json.find("rope_theta");
  if (block != nullptr) {
    refuse_partial(*block);
    config.type = read_type(*block);
    if (const Json* inner = block->find("rope_theta"); inner != nullptr && !inner->is_null()) {
      theta = inner;
      config.theta = inner->number();
    }
  }
  if (!(config.theta > 1.0 && config.theta <= kMaxTheta))
    theta->fail(fmt::format("is {}; it must be more than 1 and at most {}", config.theta, kMaxTheta));
  if (config.type == RopeType::plain) return config;
  if (config.type == RopeType::linear) {
    config.factor = number_within(*block, "factor", 1.0, kMaxFactor);
    return config;
  }
  config.original_positions = read_original_positions(json, *block, max_positions);
  if (config.type == RopeType::yarn) {
    read_yarn(*block, max_positions, config);
    return config;
  }
  config.factor = number_within(*block, "factor", 1.0, kMaxFactor);
  config.low_freq_factor = number_within(*block, "low_freq_factor", 1e-6, kMaxFactor);
  config.high_freq_factor = number_within(*block, "high_freq_factor", 1e-6, kMaxFactor);
  // If they are closer than this, their difference is lost in the rounding of the numbers it divides.
  if (config.high_freq_factor < 1.001 * config.low_freq_factor) {
    block->fail(fmt::format("has high_freq_factor {}, which is not well above low_freq_factor {}",
                            config.high_freq_factor, config.low_freq_factor));
  }
  return config;
}

// The first block with members; nullptr if there is none.
const Json* block_of(const Json& json) {
  for (const char* key : kBlocks) {
    const Json* block = json.find(key);
    if (block == nullptr || block->is_null() || block->members().empty()) continue;
    // transformers 5 may write one block per kind of layer; these models have one kind.
    const Json* full = block->find("full_attention");
    return full != nullptr && full->is_object() ? full : block;
  }
  return nullptr;
}

// transformers' theta ** (2i / P).
float period(const RopeConfig& config, int64_t i, int64_t width) {
  const float exponent = static_cast<float>(2 * i) / static_cast<float>(width);
  return static_cast<float>(exact_pow(config.theta, static_cast<double>(exponent)));
}

// yarn: the pair, as a fraction, that makes `turns` turns within the original context.
double pair_of_turns(const RopeConfig& config, double turns, int64_t width) {
  const double context = static_cast<double>(config.original_positions);
  return static_cast<double>(width) * exact_log(context / (turns * 2.0 * std::numbers::pi)) /
         (2.0 * exact_log(config.theta));
}

double yarn_scale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * exact_log(factor) + 1.0;
}

float yarn_attention_factor(const RopeConfig& c) {
  if (c.attention_factor != 0.0) return static_cast<float>(c.attention_factor);
  if (c.mscale != 0.0 && c.mscale_all_dim != 0.0)
    return static_cast<float>(yarn_scale(c.factor, c.mscale) / yarn_scale(c.factor, c.mscale_all_dim) *
                              c.attn_factor);
  return static_cast<float>(yarn_scale(c.factor, 1.0) * c.attn_factor);
}

void fill_yarn(const RopeConfig& config, int64_t width, std::vector<float>& inverse) {
  double low = pair_of_turns(config, config.beta_fast, width);
  double high = pair_of_turns(config, config.beta_slow, width);
  if (config.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(width - 1));
  // A ramp of length 0 would divide by 0.
  const float length = static_cast<float>(low == high ? 0.001 : high - low);
  const float factor = static_cast<float>(config.factor);
  for (size_t i = 0; i < inverse.size(); ++i) {
    const float u = period(config, static_cast<int64_t>(i), width);
    const float kept = 1.0f / u, stretched = 1.0f / (factor * u);
    const float ramp = std::clamp((static_cast<float>(i) - static_cast<float>(low)) / length, 0.0f, 1.0f);
    const float share = 1.0f - ramp;  // of the unscaled frequency
    inverse[i] = stretched * (1.0f - share) + kept * share;
  }
}

void fill_llama3(const RopeConfig& config, int64_t width, std::vector<float>& inverse) {
  const double context = static_cast<double>(config.original_positions);
  const float long_turn = static_cast<float>(context / config.low_freq_factor);
  const float short_turn = static_cast<float>(context / config.high_freq_factor);
  const float factor = static_cast<float>(config.factor), low = static_cast<float>(config.low_freq_factor);
  const float span = static_cast<float>(config.high_freq_factor - config.low_freq_factor);
  for (size_t i = 0; i < inverse.size(); ++i) {
    const float f = 1.0f / period(config, static_cast<int64_t>(i), width);
    const float turn = (1.0f / f) * static_cast<float>(2.0 * std::numbers::pi);  // positions a turn
    if (turn < short_turn) {
      inverse[i] = f;
    } else if (turn > long_turn) {
      inverse[i] = f / factor;
    } else {
      const float share = ((1.0f / turn) * static_cast<float>(context) - low) / span;
      inverse[i] = (1.0f - share) * f / factor + share * f;
    }
  }
}

}  // namespace

RopeConfig read_rope_config(const Json& json, int64_t max_positions) {
  refuse_partial(json);
  return read_block(json, block_of(json), max_positions);
}

void refuse_stray_mscale(const Json& json) {
  const Json* block = block_of(json);
  if (block == nullptr || block->get_number_or("mscale_all_dim", 0.0) == 0.0) return;
  if (const RopeType type = read_type(*block); type != RopeType::yarn && type != RopeType::plain)
    block->at("mscale_all_dim").fail("is not 0, but belongs to yarn alone");
}

void refuse_unknown_rope_keys(const Json& json) {
  for (const char* name : kBlocks) {
    const Json* block = json.find(name);
    if (block == nullptr || block->is_null()) continue;
    for (const auto& [key, value] : block->members()) {
      if (std::ranges::find(kKeys, key) != kKeys.end()) continue;
      const std::string near = nearest_name(key, kKeys);
      value.fail("is no known setting" + (near.empty() ? "" : " (did you mean " + near + "?)"));
    }
  }
}

void write_rope_config(const RopeConfig& config, Json& json) {
  json.set("rope_theta", config.theta);
  if (config.type == RopeType::plain) {
    json.set("rope_scaling", nullptr);
    return;
  }
  Json block = Json::object();
  const bool llama3 = config.type == RopeType::llama3, yarn = config.type == RopeType::yarn;
  block.set("rope_type", llama3 ? "llama3" : yarn ? "yarn" : "linear");
  block.set("factor", config.factor);
  if (llama3 || yarn) block.set("original_max_position_embeddings", config.original_positions);
  if (llama3) {
    block.set("low_freq_factor", config.low_freq_factor);
    block.set("high_freq_factor", config.high_freq_factor);
  }
  if (yarn) {
    block.set("beta_fast", config.beta_fast);
    block.set("beta_slow", config.beta_slow);
    if (config.mscale != 0.0) block.set("mscale", config.mscale);
    if (config.mscale_all_dim != 0.0) block.set("mscale_all_dim", config.mscale_all_dim);
    if (config.attention_factor != 0.0) block.set("attention_factor", config.attention_factor);
    if (config.attn_factor != 1.0) block.set("attn_factor", config.attn_factor);
    if (!config.truncate) block.set("truncate", false);
  }
  json.set("rope_scaling", std::move(block));
}

RopeFrequencies rope_frequencies(const RopeConfig& config, int64_t width) {
  R1_CHECK(width >= 2 && width % 2 == 0, "rotary width ", width);
  RopeFrequencies out;
  out.inverse.resize(static_cast<size_t>(width / 2));
  switch (config.type) {
    case RopeType::plain:
      for (size_t i = 0; i < out.inverse.size(); ++i) {
        out.inverse[i] = static_cast<float>(
            exact_pow(config.theta, -static_cast<double>(2 * i) / static_cast<double>(width)));
      }
      break;
    case RopeType::linear:
      for (size_t i = 0; i < out.inverse.size(); ++i) {
        out.inverse[i] =
            1.0f / period(config, static_cast<int64_t>(i), width) / static_cast<float>(config.factor);
      }
      break;
    case RopeType::llama3:
      fill_llama3(config, width, out.inverse);
      break;
    case RopeType::yarn:
      fill_yarn(config, width, out.inverse);
      out.attention_factor = yarn_attention_factor(config);
      break;
  }
  return out;
}

double latent_score_factor(const RopeConfig& config) {
  if (config.type != RopeType::yarn || config.mscale_all_dim == 0.0) return 1.0;
  const double scale = yarn_scale(config.factor, config.mscale_all_dim);
  return scale * scale;
}

}  // namespace r1
