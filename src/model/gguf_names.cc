#include "model/gguf_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "formats/shown.h"

namespace r1 {
namespace {

struct NameRow {
  std::string_view gguf, checkpoint;  // without .weight and .bias
};

constexpr NameRow kWholeModel[] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};

constexpr NameRow kLayer[] = {
    {"attn_norm", "input_layernorm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"attn_q_a", "self_attn.q_a_proj"},
    {"attn_q_a_norm", "self_attn.q_a_layernorm"},
    {"attn_q_b", "self_attn.q_b_proj"},
    {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"},
    {"attn_kv_a_norm", "self_attn.kv_a_layernorm"},
    {"attn_kv_b", "self_attn.kv_b_proj"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
    {"ffn_gate_inp", "mlp.gate"},
    {"ffn_gate_shexp", "mlp.shared_experts.gate_proj"},
    {"ffn_up_shexp", "mlp.shared_experts.up_proj"},
    {"ffn_down_shexp", "mlp.shared_experts.down_proj"},
    {"ffn_gate_exps", "mlp.experts.*.gate_proj"},
    {"ffn_up_exps", "mlp.experts.*.up_proj"},
    {"ffn_down_exps", "mlp.experts.*.down_proj"},
    {"nextn.eh_proj", "eh_proj"},
    {"nextn.enorm", "enorm"},
    {"nextn.hnorm", "hnorm"},
    {"nextn.embed_tokens", "embed_tokens"},
    {"nextn.shared_head_norm", "shared_head.norm"},
    {"nextn.shared_head_head", "shared_head.head"},
};

// The one tensor whose suffix differs.
constexpr std::string_view kGgufBias = "exp_probs_b.bias",
                           kCheckpointBias = "mlp.gate.e_score_correction_bias";
constexpr std::string_view kKeyPart = "attn_k_b.weight", kValuePart = "attn_v_b.weight";
constexpr std::string_view kRotary = "rope_freqs.weight";

// "x.weight" -> "x", ".weight"
std::pair<std::string_view, std::string_view> cut_suffix(std::string_view name) {
  for (const std::string_view suffix : {".weight", ".bias"}) {
    if (name.ends_with(suffix)) return {name.substr(0, name.size() - suffix.size()), suffix};
  }
  return {name, ""};
}

struct LayerName {
  std::string number;  // of the layer
  std::string_view rest;
};

// "PREFIX12.rest"
std::optional<LayerName> cut_layer(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  const size_t dot = name.find('.');
  if (dot == 0 || dot == std::string_view::npos || dot > 7) return std::nullopt;
  const std::string_view number = name.substr(0, dot);
  if (!std::ranges::all_of(number, [](char c) { return c >= '0' && c <= '9'; })) return std::nullopt;
  if (number.size() > 1 && number[0] == '0') return std::nullopt;
  return LayerName{std::string(number), name.substr(dot + 1)};
}

// "mlp.experts.7.up_proj" -> "mlp.experts.*.up_proj", 7
int64_t cut_expert(std::string& name) {
  constexpr std::string_view kExperts = "mlp.experts.";
  const std::optional<LayerName> cut = cut_layer(name, kExperts);
  if (!cut) return -1;
  int64_t expert = 0;
  std::from_chars(cut->number.data(), cut->number.data() + cut->number.size(), expert);
  name = fmt::format("{}*.{}", kExperts, cut->rest);
  return expert;
}

// Heads' rows of llama's query and key projections.
int64_t permuted_rows(const ModelConfig& config, std::string_view part) {
  const bool turned = part == "attn_q" || part == "attn_k";
  return config.family == Family::llama && turned ? config.head_dim : 0;
}

}  // namespace

int64_t gguf_row(int64_t row, int64_t head_rows) {
  const int64_t head = row / head_rows, within = row % head_rows, half = head_rows / 2;
  return head * head_rows + 2 * (within % half) + within / half;
}

std::optional<int64_t> gguf_layer_of(std::string_view gguf_name, std::string_view part) {
  const std::optional<LayerName> cut = cut_layer(gguf_name, "blk.");
  if (!cut || cut->rest != part) return std::nullopt;
  return std::stoll(cut->number);
}

std::optional<GgufPlace> gguf_place(const ModelConfig& config, std::string_view name) {
  const auto [stem, suffix] = cut_suffix(name);
  for (const NameRow& row : kWholeModel) {
    if (row.checkpoint == stem) return GgufPlace{.tensor = fmt::format("{}{}", row.gguf, suffix)};
  }
  const std::optional<LayerName> cut = cut_layer(name, "model.layers.");
  if (!cut) return std::nullopt;
  if (cut->rest == kCheckpointBias)
    return GgufPlace{.tensor = fmt::format("blk.{}.{}", cut->number, kGgufBias)};
  std::string part(cut_suffix(cut->rest).first);
  const int64_t expert = cut_expert(part);
  if (expert >= config.moe.experts) return std::nullopt;
  for (const NameRow& row : kLayer) {
    if (row.checkpoint != part) continue;
    return GgufPlace{.tensor = fmt::format("blk.{}.{}{}", cut->number, row.gguf, suffix),
                     .expert = expert,
                     .head_rows = permuted_rows(config, row.gguf),
                     .is_latent = row.gguf == "attn_kv_b" && suffix == ".weight"};
  }
  return std::nullopt;
}

std::string checkpoint_name(std::string_view gguf_name) {
  const auto [stem, suffix] = cut_suffix(gguf_name);
  for (const NameRow& row : kWholeModel) {
    if (row.gguf == stem) return fmt::format("{}{}", row.checkpoint, suffix);
  }
  const std::optional<LayerName> cut = cut_layer(gguf_name, "blk.");
  if (!cut || suffix.empty()) return "";
  if (cut->rest == kGgufBias) return fmt::format("model.layers.{}.{}", cut->number, kCheckpointBias);
  if (cut->rest == kKeyPart || cut->rest == kValuePart)
    return fmt::format("model.layers.{}.self_attn.kv_b_proj.weight", cut->number);
  const std::string_view part = cut_suffix(cut->rest).first;
  for (const NameRow& row : kLayer) {
    if (row.gguf == part) return fmt::format("model.layers.{}.{}{}", cut->number, row.checkpoint, suffix);
  }
  return "";
}

std::vector<std::string> gguf_checkpoint_names(const GgufFile& file, const ModelConfig& config) {
  std::vector<std::string> names;
  for (const GgufTensor& tensor : file.tensors()) {
    if (tensor.name == kRotary) continue;
    const std::string name = checkpoint_name(tensor.name);
    if (name.empty())
      throw Error(
          fmt::format("{}: tensor {} is of no known part of a model", file.path(tensor), shown(tensor.name)));
    const size_t star = name.find('*');
    if (star == std::string::npos) {
      names.push_back(name);
      continue;
    }
    const int64_t stacked = tensor.shape.empty() ? 0 : tensor.shape.front();
    if (stacked != config.moe.experts) {
      throw Error(
          fmt::format("{}: tensor {} has {} experts, and expert_count is {}: the keys and the tensors are of "
                      "different models",
                      file.path(tensor), shown(tensor.name), stacked, config.moe.experts));
    }
    for (int64_t expert = 0; expert < stacked; ++expert)
      names.push_back(fmt::format("{}{}{}", name.substr(0, star), expert, name.substr(star + 1)));
  }
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());  // kv_b_proj of two parts
  return names;
}

}  // namespace r1
