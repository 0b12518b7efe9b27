#include "model/quantize_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/text_util.h"
#include "formats/gguf_blocks.h"
#include "formats/shown.h"

namespace r1 {
namespace {

// clang-format off
constexpr QuantizePreset kPresets[] = {
    {"F32", GgufType::f32, 0},       {"F16", GgufType::f16, 1},       {"BF16", GgufType::bf16, 32},
    {"Q8_0", GgufType::q8_0, 7},     {"Q6_K", GgufType::q6_k, 18},    {"Q5_K_M", GgufType::q5_k, 17},
    {"Q5_K_S", GgufType::q5_k, 16},  {"Q5_1", GgufType::q5_1, 9},     {"Q5_0", GgufType::q5_0, 8},
    {"Q4_K_M", GgufType::q4_k, 15},  {"Q4_K_S", GgufType::q4_k, 14},  {"IQ4_NL", GgufType::iq4_nl, 25},
    {"IQ4_XS", GgufType::iq4_xs, 30}, {"Q4_1", GgufType::q4_1, 3},    {"Q4_0", GgufType::q4_0, 2},
    {"Q3_K_M", GgufType::q3_k, 12},  {"Q2_K", GgufType::q2_k, 10},
};
// clang-format on

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  return out;
}

[[noreturn]] void unknown_type(std::string_view name, std::string_view option,
                               const std::vector<std::string>& known) {
  const std::string near = nearest_name(upper(name), known);
  throw Error(fmt::format("{} {}: there is no such type{}; known are {}", option, shown(name),
                          near.empty() ? "" : fmt::format(" (did you mean {}?)", near),
                          fmt::join(known, ", ")));
}

// N of "blk.N.REST"; -1 for any other name.
int64_t layer_of_name(std::string_view name) {
  constexpr std::string_view kBlock = "blk.";
  if (!name.starts_with(kBlock)) return -1;
  int64_t layer = -1;
  std::from_chars(name.data() + kBlock.size(), name.data() + name.size(), layer);
  return layer;
}

bool is_part(std::string_view name, std::string_view part) {
  return name.find(part) != std::string_view::npos;
}

// The first and the last eighth of the layers, and every third between them.
bool gets_more_bits(int64_t layer, int64_t layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

double bits_of(GgufType type) {
  return 8.0 * static_cast<double>(row_of(type).bytes) / static_cast<double>(row_of(type).block);
}

class Mixture {
 public:
  Mixture(const MixtureFacts& facts, const QuantizePreset& preset, bool tied)
      : facts_(facts), preset_(preset), tied_(tied) {}

  GgufType type_of(const GgufOutput& tensor) const {
    const std::string_view name = tensor.name;
    if (name == "output.weight" || (tied_ && name == "token_embd.weight")) return of_head(tensor);
    const int64_t layer = layer_of_name(name);
    if (is_part(name, "attn_v.weight") || is_part(name, "attn_kv_b.weight")) return of_values(layer);
    if (is_part(name, "attn_k.weight") && facts_.experts == kFewExperts) return GgufType::q8_0;
    if (is_part(name, "ffn_down")) return of_down(layer);
    if (is_part(name, "attn_output.weight")) return of_attention_output();
    return preset_.type;
  }

 private:
  static constexpr int64_t kFewExperts = 8, kLargeLayers = 80, kSharedQueries = 4;

  bool is(std::string_view name) const { return preset_.name == name; }
  bool shares_keys() const { return facts_.queries_per_key >= kSharedQueries; }
  bool is_early(int64_t layer, int64_t share) const { return layer < facts_.layers / share; }

  GgufType of_head(const GgufOutput& tensor) const {
    if (tensor.width() % row_of(preset_.type).block != 0) return GgufType::q8_0;
    return bits_of(preset_.type) < bits_of(GgufType::q6_k) ? GgufType::q6_k : preset_.type;
  }

  GgufType of_values(int64_t layer) const {
    if (facts_.experts == kFewExperts) return GgufType::q8_0;
    GgufType type = preset_.type;
    if (is("Q2_K")) type = shares_keys() ? GgufType::q4_k : GgufType::q3_k;
    if (is("Q3_K_M")) type = layer < 2 ? GgufType::q5_k : GgufType::q4_k;
    if ((is("IQ4_NL") || is("IQ4_XS")) && shares_keys()) type = GgufType::q5_k;
    if ((is("Q4_K_M") || is("Q5_K_M")) && gets_more_bits(layer, facts_.layers)) type = GgufType::q6_k;
    if (is("Q4_K_S") && layer < 4) type = GgufType::q5_k;
    const bool large =
        facts_.layers == kLargeLayers && (facts_.architecture == "llama" || facts_.architecture == "qwen2");
    if (large && (type == GgufType::q3_k || type == GgufType::q4_k)) type = GgufType::q5_k;
    return type;
  }

  GgufType of_down(int64_t layer) const {
    if (is("Q2_K")) return GgufType::q3_k;
    if (is("Q3_K_M")) return is_early(layer, 16) ? GgufType::q5_k : GgufType::q4_k;
    if ((is("Q4_K_M") || is("Q5_K_M")) && gets_more_bits(layer, facts_.layers)) return GgufType::q6_k;
    if (!is_early(layer, 8)) return preset_.type;
    if (is("Q4_K_S")) return GgufType::q5_k;
    if ((is("IQ4_NL") || is("IQ4_XS")) && !facts_.has_importance) return GgufType::q5_k;
    if (is("Q4_0") && facts_.has_importance) return GgufType::q4_1;
    if (is("Q5_0") && facts_.has_importance) return GgufType::q5_1;
    return preset_.type;
  }

  GgufType of_attention_output() const {
    if (facts_.experts == kFewExperts)
      return bits_of(preset_.type) < bits_of(GgufType::q5_k) && !is("Q4_0") && !is("Q4_1") ? GgufType::q5_k
                                                                                           : preset_.type;
    if (is("Q2_K")) return GgufType::q3_k;
    return is("Q3_K_M") ? GgufType::q4_k : preset_.type;
  }

  const MixtureFacts& facts_;
  const QuantizePreset& preset_;
  bool tied_;
};

// The type with blocks of 32 in place of one with blocks of 256.
GgufType smaller_blocks(GgufType type) {
  switch (type) {
    case GgufType::q6_k:
      return GgufType::q8_0;
    case GgufType::q5_k:
      return GgufType::q5_1;
    case GgufType::q4_k:
      return GgufType::q5_0;
    case GgufType::iq4_xs:
      return GgufType::iq4_nl;
    case GgufType::q3_k:
    case GgufType::q2_k:
      return GgufType::q4_0;
    default:
      return type;
  }
}

PlannedTensor fitting(const GgufOutput& tensor, GgufType wanted) {
  const int64_t width = tensor.width();
  if (width % row_of(wanted).block == 0) return {wanted, ""};
  GgufType type = smaller_blocks(wanted);
  if (width % row_of(type).block != 0) type = tensor.stored;
  return {type, fmt::format("{}: rows of {} are no whole number of {} blocks of {}: {} instead",
                            shown(tensor.name), width, name_of(wanted), row_of(wanted).block, name_of(type))};
}

}  // namespace

const QuantizePreset& quantize_preset(std::string_view name, std::string_view option) {
  const std::string wanted = upper(name);
  const auto* const found = std::ranges::find(kPresets, wanted, &QuantizePreset::name);
  if (found != std::end(kPresets)) return *found;
  // The types without a suffix are the mixtures of middle size, as in llama.cpp.
  if (wanted == "Q3_K" || wanted == "Q4_K" || wanted == "Q5_K") return quantize_preset(wanted + "_M", option);
  std::vector<std::string> known;
  for (const QuantizePreset& preset : kPresets) known.emplace_back(preset.name);
  unknown_type(name, option, known);
}

GgufType quantize_type(std::string_view name, std::string_view option) {
  std::vector<std::string> known;
  for (size_t i = 0; i < kGgufTypes; ++i) {
    const auto type = static_cast<GgufType>(i);
    if (!can_quantize(type)) continue;
    if (name_of(type) == upper(name)) return type;
    known.emplace_back(name_of(type));
  }
  unknown_type(name, option, known);
}

uint32_t gguf_file_type(GgufType type) {
  const auto* const found = std::ranges::find(kPresets, type, &QuantizePreset::type);
  constexpr uint32_t kGuessed = 1024;  // "not said"
  return found == std::end(kPresets) ? kGuessed : found->file_type;
}

TensorRule tensor_rule(const std::string& text) {
  constexpr std::string_view kOption = "--tensor-type";
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0)
    throw Error(fmt::format("{} {}: it must be PATTERN=TYPE, for example 'blk.*.ffn_down.weight=Q6_K'",
                            kOption, shown(text)));
  return {text.substr(0, equals), quantize_type(text.substr(equals + 1), kOption)};
}

bool matches(std::string_view pattern, std::string_view name) {
  // After a mismatch, the last star takes one more character.
  size_t p = 0, n = 0, star = std::string_view::npos, taken = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++taken;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

MixtureFacts mixture_facts(const ModelConfig& config) {
  MixtureFacts facts;
  facts.architecture = name_of(config.family);
  facts.layers = config.layers;
  facts.experts = config.moe.experts;
  if (config.family != Family::deepseek_v3)
    facts.queries_per_key = config.heads / std::max<int64_t>(1, config.kv_heads);
  // The latent form has one key head for all queries (model/gguf_keys.h).
  if (config.family == Family::deepseek_v3) facts.queries_per_key = config.heads;
  return facts;
}

MixtureFacts mixture_facts(const GgufMetadata& metadata) {
  MixtureFacts facts;
  facts.architecture = metadata.get_string_or("general.architecture", "");
  const auto number = [&](std::string_view name, int64_t fallback) {
    const std::string key = fmt::format("{}.{}", facts.architecture, name);
    if (!metadata.contains(key)) return fallback;
    if (!metadata.is_array(key)) return metadata.get_int(key);
    const std::vector<int64_t> all = metadata.integers(key);
    return all.empty() ? fallback : *std::ranges::max_element(all);
  };
  facts.layers = number("block_count", 0);
  facts.experts = number("expert_count", 0);
  const int64_t heads = number("attention.head_count", 1);
  facts.queries_per_key = heads / std::max<int64_t>(1, number("attention.head_count_kv", heads));
  return facts;
}

std::vector<PlannedTensor> plan_quantization(const std::vector<GgufOutput>& tensors,
                                             const MixtureFacts& facts, const QuantizePlanOptions& options) {
  const QuantizePreset& preset = *options.preset;
  const bool blocks = row_of(preset.type).block > 1, mixed = blocks && !options.pure;
  const bool tied = std::ranges::find(tensors, "output.weight", &GgufOutput::name) == tensors.end();
  const Mixture mixture(facts, preset, tied);
  std::vector<bool> used(options.rules.size(), false);
  std::vector<PlannedTensor> plan;
  size_t matrices = 0, fit = 0;
  int64_t widest = 0;
  for (const GgufOutput& tensor : tensors) {
    if (!tensor.is_matrix) {
      plan.push_back({tensor.stored, ""});
      continue;
    }
    ++matrices;
    widest = std::max(widest, tensor.width());
    const auto rule = std::ranges::find_if(
        options.rules, [&](const TensorRule& r) { return matches(r.pattern, tensor.name); });
    const bool ruled = rule != options.rules.end();
    if (ruled) used[static_cast<size_t>(rule - options.rules.begin())] = true;
    plan.push_back(fitting(tensor, ruled ? rule->type : mixed ? mixture.type_of(tensor) : preset.type));
    if (plan.back().note.empty() || row_of(plan.back().type).block > 1) ++fit;
  }
  for (size_t i = 0; i < used.size(); ++i) {
    if (used[i]) continue;
    throw Error(
        fmt::format("--tensor-type {}={}: no matrix has such a name, or an earlier rule took them all",
                    shown(options.rules[i].pattern), name_of(options.rules[i].type)));
  }
  if (blocks && matrices > 0 && fit == 0) {
    throw Error(
        fmt::format("{}: no matrix has rows of a multiple of 32 elements (the widest rows have {}), so none "
                    "fits a block: r1 convert "
                    "--dtype bf16 makes the file smaller",
                    preset.name, widest));
  }
  return plan;
}

}  // namespace r1
