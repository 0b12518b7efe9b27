// model/quantize_plan.h: which type each tensor of a quantised file gets.
//
// A preset has a type for most matrices, and better types where errors cost most. The mixtures are those that
// llama.cpp (src/llama-quant.cpp, of 2026) uses under the same names, so that files of one name have one size
// and compare:
//
//   output.weight (token_embd.weight, if the two are one)   Q6_K, if the preset's type has fewer bits
//   Q4_K_M, Q5_K_M   attn_v, attn_kv_b and ffn_down of the first and the last eighth of the layers, and of every third
//                    layer between them: Q6_K
//   Q4_K_S           attn_v of the first four layers and ffn_down of the first eighth: Q5_K
//   IQ4_XS, IQ4_NL   attn_v, if at least four query heads share a key head: Q5_K; ffn_down of the first eighth, without an
//                    importance matrix: Q5_K
//   Q4_0, Q5_0       with an importance matrix, ffn_down of the first eighth: Q4_1, Q5_1
//   Q3_K_M           attn_v: Q5_K in the first two layers, then Q4_K; ffn_down: Q5_K in the first sixteenth, then Q4_K;
//                    attn_output: Q4_K
//   Q2_K             attn_v: Q4_K if at least four query heads share a key head, else Q3_K; ffn_down, attn_output: Q3_K
//   models with 8 experts       attn_v and attn_k: Q8_0; attn_output: Q5_K below Q5_K
//   llama and qwen2 with 80 layers   attn_v: Q5_K, if it would be Q3_K or Q4_K
//
// Rows that are no whole number of blocks of 256 fall back to a type with blocks of 32: Q6_K to Q8_0, Q5_K to
// Q5_1, Q4_K to Q5_0, Q3_K and Q2_K to Q4_0, IQ4_XS to IQ4_NL. Rows that fit no block keep the type that they
// have.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf.h"
#include "model/gguf_export.h"

namespace r1 {

struct QuantizePreset {
  std::string_view name;  // "Q4_K_M"
  GgufType type;          // of most matrices
  uint32_t file_type;     // general.file_type
};

// Throws Error that lists the known names: "--type Q9: ...". `option` is what the user wrote it behind.
const QuantizePreset& quantize_preset(std::string_view name, std::string_view option);
// A single type that can be made, by its name. Throws Error likewise.
GgufType quantize_type(std::string_view name, std::string_view option);
// general.file_type of a file whose matrices have this type.
uint32_t gguf_file_type(GgufType type);

// The type of tensors whose names match: * stands for any characters, ? for one; the rest must be equal.
struct TensorRule {
  std::string pattern;
  GgufType type = GgufType::f32;
};
// "blk.*.ffn_down.weight=Q6_K". Throws Error.
TensorRule tensor_rule(const std::string& text);
bool matches(std::string_view pattern, std::string_view name);

// The facts about a model on which its mixture of types depends.
struct MixtureFacts {
  std::string architecture;
  int64_t layers = 0, experts = 0;
  int64_t queries_per_key = 1;
  bool has_importance = false;
};
MixtureFacts mixture_facts(const ModelConfig& config);
MixtureFacts mixture_facts(const GgufMetadata& metadata);

struct QuantizePlanOptions {
  const QuantizePreset* preset = nullptr;
  std::vector<TensorRule> rules;  // the first that matches counts, before the mixture
  bool pure = false;              // no mixture
};

struct PlannedTensor {
  GgufType type = GgufType::f32;
  std::string note;  // if its shape fits no block of the wanted type: a line for the user
};

// In the order of `tensors`. Throws Error for a rule that matches no matrix, and if no matrix fits any block
// of the preset.
std::vector<PlannedTensor> plan_quantization(const std::vector<GgufOutput>& tensors,
                                             const MixtureFacts& facts, const QuantizePlanOptions& options);

}  // namespace r1
