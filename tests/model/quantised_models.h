// tests/model/quantised_models.h: small GGUF models of random blocks, of every format, made when they are asked
// for.
#pragma once

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "formats/gguf_blocks.h"
#include "tensor/blocks.h"
#include "tests/formats/gguf_builder.h"
#include "tests/ops/quant_util.h"

namespace r1::test {

// Random blocks whose elements have about this deviation.
inline std::vector<std::byte> blocks_of_deviation(Format format, int64_t elements, double deviation,
                                                  uint64_t seed) {
  std::vector<std::byte> out = random_blocks(format, elements, seed);
  const ScalePlaces places = scale_places(format);
  const auto size = static_cast<size_t>(row_of(format).bytes);
  const auto fill = [&](float d, float dmin) {
    const uint16_t halves[2] = {f16_from_f32(d), f16_from_f32(dmin)};
    for (size_t at = 0; at < out.size(); at += size) {
      std::memcpy(out.data() + at + static_cast<size_t>(places.d), &halves[0], 2);
      if (places.dmin >= 0) std::memcpy(out.data() + at + static_cast<size_t>(places.dmin), &halves[1], 2);
    }
  };
  fill(1, 0);
  std::vector<float> values(static_cast<size_t>(elements));
  dequantise_blocks(format, out, values);
  double sum = 0, squares = 0;
  for (const float v : values) sum += v, squares += double{v} * v;
  const double mean = sum / static_cast<double>(elements),
               rms = std::sqrt(squares / static_cast<double>(elements));
  const bool legacy = format == Format::q4_1 || format == Format::q5_1;
  const double d =
      deviation / rms;  // a minimum takes about the mean away; of a K format it has a scale of its own
  const double typical = format == Format::q2_k ? 7.5 : 31.5;
  fill(static_cast<float>(d), static_cast<float>(legacy ? -d * mean : d * mean / typical));
  return out;
}

class QuantisedModel {
 public:
  explicit QuantisedModel(std::string architecture) : architecture_(std::move(architecture)) {
    file_.set("general.architecture", architecture_);
  }
  template <class T>
  void set(const std::string& key, T value) {
    file_.set(architecture_ + "." + key, value);
  }
  // A key that is not the architecture's.
  void set_general(const std::string& key, const char* value) { file_.set(key, value); }
  // `shape` as the checkpoint has it.
  void add(const std::string& name, std::vector<int64_t> shape, Format format, double deviation = 0.08) {
    int64_t count = 1;
    for (const int64_t dim : shape) count *= dim;
    std::vector<std::byte> bytes;
    if (is_blocks(format)) {
      bytes = blocks_of_deviation(format, count, deviation, ++seed_);
    } else {
      Random random(++seed_);
      for (int64_t i = 0; i < count; ++i) {
        const auto value =
            static_cast<float>(shape.size() == 1 ? 1.0 + 0.1 * random.normal() : deviation * random.normal());
        const uint16_t half = format == Format::f16 ? f16_from_f32(value) : bf16_from_f32(value);
        const auto* const from = format == Format::f32 ? reinterpret_cast<const std::byte*>(&value)
                                                       : reinterpret_cast<const std::byte*>(&half);
        bytes.insert(bytes.end(), from, from + size_of(format));
      }
    }
    uint32_t type = 0;
    for (size_t i = 0; i < kGgufTypes; ++i) {
      if (format_of(static_cast<GgufType>(i)) == format) type = row_of(static_cast<GgufType>(i)).id;
    }
    std::vector<uint64_t> dims(shape.rbegin(), shape.rend());
    file_.tensor(name, dims, type, at_);
    bytes.resize((bytes.size() + 31) / 32 * 32);
    at_ += bytes.size();
    file_.data({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  void write(const std::filesystem::path& path) const {
    std::ofstream(path, std::ios::binary) << file_.file();
  }

 private:
  std::string architecture_;
  GgufBuilder file_;
  uint64_t at_ = 0, seed_ = 0;
};

// Llama with a tied head: every format of blocks, and an F16 matrix among them. It says nothing about a tokenizer,
// or, with `no_vocab`, that it has none.
inline void write_quantised_llama(const std::filesystem::path& path, bool no_vocab = false) {
  constexpr int64_t D = 256, F = 512, kVocabulary = 50;
  QuantisedModel m("llama");
  m.set("context_length", 256);
  m.set("embedding_length", static_cast<int>(D));
  m.set("feed_forward_length", static_cast<int>(F));
  m.set("block_count", 3);
  m.set("attention.head_count", 4);
  m.set("attention.head_count_kv", 2);
  m.set("attention.layer_norm_rms_epsilon", 1e-5f);
  m.set("rope.dimension_count", 64);
  m.set("vocab_size", static_cast<int>(kVocabulary));
  if (no_vocab) m.set_general("tokenizer.ggml.model", "no_vocab");
  m.add("token_embd.weight", {kVocabulary, D}, Format::q6_k, 0.5);
  m.add("output_norm.weight", {D}, Format::f32);
  using enum Format;
  const Format formats[3][7] = {{q4_k, q5_k, q8_0, q3_k, q2_k, q4_0, iq4_xs},
                                {iq4_nl, q5_0, q5_1, q4_1, iq3_s, f16, q6_k},
                                {iq2_xxs, iq2_xs, iq2_s, iq3_xxs, bf16, f32, q4_k}};
  for (int i = 0; i < 3; ++i) {
    const std::string p = "blk." + std::to_string(i) + ".";
    m.add(p + "attn_norm.weight", {D}, Format::f32);
    m.add(p + "ffn_norm.weight", {D}, Format::f32);
    m.add(p + "attn_q.weight", {D, D}, formats[i][0]);
    m.add(p + "attn_k.weight", {D / 2, D}, formats[i][1]);
    m.add(p + "attn_v.weight", {D / 2, D}, formats[i][2]);
    m.add(p + "attn_output.weight", {D, D}, formats[i][3]);
    m.add(p + "ffn_gate.weight", {F, D}, formats[i][4]);
    m.add(p + "ffn_up.weight", {F, D}, formats[i][5]);
    m.add(p + "ffn_down.weight", {D, F}, formats[i][6]);
  }
  m.write(path);
}

// DeepSeek-V3 with latent attention, experts in blocks and a router in F32.
inline void write_quantised_deepseek(const std::filesystem::path& path) {
  constexpr int64_t D = 64, F = 96, E = 6, M = 32, kVocabulary = 50, kHeads = 2, kNope = 32, kRope = 16,
                    kRank = 32, kValue = 32;
  QuantisedModel m("deepseek2");
  m.set("context_length", 256);
  m.set("embedding_length", static_cast<int>(D));
  m.set("feed_forward_length", static_cast<int>(F));
  m.set("block_count", 2);
  m.set("attention.head_count", static_cast<int>(kHeads));
  m.set("attention.head_count_kv", static_cast<int>(kHeads));
  m.set("attention.layer_norm_rms_epsilon", 1e-5f);
  m.set("attention.kv_lora_rank", static_cast<int>(kRank));
  m.set("attention.key_length", static_cast<int>(kNope + kRope));
  m.set("attention.value_length", static_cast<int>(kValue));
  m.set("rope.dimension_count", static_cast<int>(kRope));
  m.set("leading_dense_block_count", 1);
  m.set("expert_count", static_cast<int>(E));
  m.set("expert_used_count", 2);
  m.set("expert_shared_count", 1);
  m.set("expert_group_count", 1);
  m.set("expert_group_used_count", 1);
  m.set("expert_feed_forward_length", static_cast<int>(M));
  m.set("expert_weights_scale", 1.5f);
  m.set("expert_weights_norm", true);
  m.set("expert_gating_func", 2);
  m.set("vocab_size", static_cast<int>(kVocabulary));
  m.add("token_embd.weight", {kVocabulary, D}, Format::q4_0, 0.5);
  m.add("output_norm.weight", {D}, Format::f32);
  m.add("output.weight", {kVocabulary, D}, Format::q8_0, 0.2);
  for (int i = 0; i < 2; ++i) {
    const std::string p = "blk." + std::to_string(i) + ".";
    m.add(p + "attn_norm.weight", {D}, Format::f32);
    m.add(p + "ffn_norm.weight", {D}, Format::f32);
    m.add(p + "attn_q.weight", {kHeads * (kNope + kRope), D}, Format::q5_0);
    m.add(p + "attn_kv_a_mqa.weight", {kRank + kRope, D}, Format::q4_1);
    m.add(p + "attn_kv_a_norm.weight", {kRank}, Format::f32);
    m.add(p + "attn_kv_b.weight", {kHeads * (kNope + kValue), kRank}, Format::q8_0);
    m.add(p + "attn_output.weight", {D, kHeads * kValue}, Format::iq4_nl);
    if (i == 0) {
      m.add(p + "ffn_gate.weight", {F, D}, Format::q4_0);
      m.add(p + "ffn_up.weight", {F, D}, Format::q5_1);
      m.add(p + "ffn_down.weight", {D, F}, Format::q8_0);
      continue;
    }
    m.add(p + "ffn_gate_inp.weight", {E, D}, Format::f32, 0.3);
    m.add(p + "exp_probs_b.bias", {E}, Format::f32);
    m.add(p + "ffn_gate_exps.weight", {E, M, D}, Format::q4_0, 0.2);
    m.add(p + "ffn_up_exps.weight", {E, M, D}, Format::q4_0, 0.2);
    m.add(p + "ffn_down_exps.weight", {E, D, M}, Format::q8_0, 0.2);
    m.add(p + "ffn_gate_shexp.weight", {M, D}, Format::q5_0);
    m.add(p + "ffn_up_shexp.weight", {M, D}, Format::f16);
    m.add(p + "ffn_down_shexp.weight", {D, M}, Format::q4_1);
  }
  m.write(path);
}

}  // namespace r1::test
