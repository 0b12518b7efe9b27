// Models of tests/golden/models, written as GGUF by tests/ref/make_gguf.py, are the same models.
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "base/random.h"
#include "formats/gguf_blocks.h"
#include "formats/hf_directory.h"
#include "formats/safetensors.h"
#include "model/gguf_config.h"
#include "model/gguf_names.h"
#include "model/gguf_rope.h"
#include "model/gguf_weights.h"
#include "model/model.h"
#include "tests/formats/formats_test_util.h"
#include "tests/formats/gguf_builder.h"

namespace r1::gguf_model_test {
namespace {

GgufFile gguf_model(const std::string& name) {
  return GgufFile(std::string(R1_SOURCE_DIR) + "/tests/golden/gguf/" + name + ".gguf");
}

std::string golden_model(const std::string& name) {
  return std::string(R1_SOURCE_DIR) + "/tests/golden/models/" + name;
}

// GGUF does not store these fields, or stores them otherwise.
Json comparable(ModelConfig config) {
  config.dtype = DType::f32;
  config.initializer_range = 0.02;
  config.rope_interleave = true;
  Json json = to_json(config);
  json.set("rope_scaling", nullptr);  // compared by its angles
  return json;
}

// The files of tests/golden/gguf, and the checkpoints that they were made from.
constexpr std::pair<const char*, const char*> kModels[] = {{"llama-llama3", "llama-llama3"},
                                                           {"qwen2-yarn", "qwen2-yarn"},
                                                           {"qwen3-tied", "qwen3-tied"},
                                                           {"qwen3moe-all", "qwen3_moe-all"},
                                                           {"deepseek2-groups", "deepseek_v3-groups"},
                                                           {"deepseek2-split", "deepseek_v3-yarn-mscale"},
                                                           {"deepseek2-moonlight", "deepseek_v3-moonlight"},
                                                           {"deepseek2-lite", "deepseek_v2-lite"},
                                                           {"deepseek2-v2-groups", "deepseek_v2-groups"}};

TEST(GgufModel, KeysGiveTheConfigOfTheCheckpoint) {
  for (const auto& [gguf, golden] : kModels) {
    const ModelConfig got = read_model_config(gguf_model(gguf));
    const ModelConfig want = read_model_config(read_json(golden_model(golden) + "/config.json"));
    EXPECT_EQ(comparable(got).dump(1), comparable(want).dump(1)) << gguf;
    EXPECT_EQ(got.family, want.family) << gguf;
    EXPECT_TRUE(got.assumed.empty()) << gguf << ": " << got.assumed.front();
    EXPECT_EQ(got.dtype, DType::f16) << gguf;
    EXPECT_EQ(got.rope.type, want.rope.type) << gguf;
    if (std::string_view(gguf) == "deepseek2-split") {
      // The file has yarn's factor, context and mscale_all_dim, and no other setting of it.
      EXPECT_EQ(got.rope.factor, want.rope.factor);
      EXPECT_EQ(got.rope.original_positions, want.rope.original_positions);
      EXPECT_EQ(got.rope.mscale_all_dim, want.rope.mscale_all_dim);
      continue;
    }
    const RopeFrequencies got_angles = rope_frequencies(got.rope, got.rope_width());
    const RopeFrequencies want_angles = rope_frequencies(want.rope, want.rope_width());
    EXPECT_NEAR(got_angles.attention_factor, want_angles.attention_factor, 1e-6) << gguf;
    EXPECT_NEAR(latent_score_factor(got.rope), latent_score_factor(want.rope), 1e-6) << gguf;
    ASSERT_EQ(got_angles.inverse.size(), want_angles.inverse.size());
    for (size_t i = 0; i < got_angles.inverse.size(); ++i)
      EXPECT_NEAR(got_angles.inverse[i], want_angles.inverse[i], 1e-4f * want_angles.inverse[i])
          << gguf << " " << i;
  }
}

TEST(GgufModel, EveryTensorIsTheCheckpointsRoundedToF16) {
  for (const auto& [gguf, golden] : kModels) {
    const GgufFile file = gguf_model(gguf);
    const ModelConfig config = read_model_config(file);
    const SafetensorsFile checkpoint(golden_model(golden) + "/model.safetensors");
    std::set<std::string> names;
    for (const TensorInfo& tensor : checkpoint.tensors()) {
      if (tensor.name == "lm_head.weight" && config.tie_word_embeddings) continue;
      names.insert(tensor.name);
      std::vector<float> want(static_cast<size_t>(tensor.count())), got(want.size());
      read_as_f32(checkpoint, tensor, want);
      ASSERT_EQ(error_of([&] { read_gguf_weight(file, config, tensor.name, tensor.shape, got); }), "");
      for (size_t i = 0; i < want.size(); ++i) {
        const float stored = tensor.shape.size() == 1 ? want[i] : f32_from_f16(f16_from_f32(want[i]));
        ASSERT_EQ(got[i], stored) << gguf << ": " << tensor.name << " at " << i;
      }
    }
    const std::vector<std::string> listed = gguf_checkpoint_names(file, config);
    EXPECT_EQ(std::set<std::string>(listed.begin(), listed.end()), names) << gguf;
  }
}

// Model::load of a GGUF file has the weights of the directory that it was made from, rounded to f16 as they
// are in the file; a frozen model, which reads them when it needs them, as well.
TEST(GgufModel, LoadsTheWeightsOfTheDirectory) {
  for (const auto& [gguf, golden] : kModels) {
    Model want = Model::load(golden_model(golden));
    for (Parameter& p : want.parameters()) {
      if (p.value.shape.rank() < 2) continue;
      for (float& v : p.value.values()) v = f32_from_f16(f16_from_f32(v));
    }
    const std::string path = std::string(R1_SOURCE_DIR) + "/tests/golden/gguf/" + gguf + ".gguf";
    for (const WeightUse use : {WeightUse::training, WeightUse::inference}) {
      const Model got = Model::load(path, DType::f32, use);
      EXPECT_TRUE(got.warnings().empty()) << got.warnings().front();
      EXPECT_EQ(got.weights_sha256(), want.weights_sha256()) << gguf;
    }
  }
}

TEST(GgufModel, NamesGoThereAndBack) {
  ModelConfig config;
  config.family = Family::llama;
  config.head_dim = 8;
  config.moe.experts = 4;
  const auto place = [&](std::string_view name) {
    const std::optional<GgufPlace> found = gguf_place(config, name);
    return found ? found->tensor : "";
  };
  EXPECT_EQ(place("model.layers.12.self_attn.q_proj.weight"), "blk.12.attn_q.weight");
  EXPECT_EQ(place("model.layers.0.mlp.experts.3.up_proj.weight"), "blk.0.ffn_up_exps.weight");
  EXPECT_EQ(gguf_place(config, "model.layers.0.mlp.experts.3.up_proj.weight")->expert, 3);
  EXPECT_EQ(gguf_place(config, "model.layers.0.self_attn.k_proj.bias")->head_rows, 8);
  EXPECT_EQ(gguf_place(config, "model.layers.0.self_attn.v_proj.weight")->head_rows, 0);
  EXPECT_EQ(place("model.layers.0.mlp.experts.4.up_proj.weight"), "");
  EXPECT_EQ(place("model.layers.01.mlp.up_proj.weight"), "");
  EXPECT_EQ(place("model.layers.x.mlp.up_proj.weight"), "");
  EXPECT_EQ(place("lm_head.weight"), "output.weight");
  config.family = Family::qwen2;
  EXPECT_EQ(gguf_place(config, "model.layers.0.self_attn.k_proj.bias")->head_rows, 0);
  for (const char* name :
       {"token_embd.weight", "output_norm.weight", "blk.3.attn_q_norm.weight", "blk.7.exp_probs_b.bias",
        "blk.61.nextn.eh_proj.weight", "blk.61.nextn.shared_head_norm.weight", "blk.0.ffn_gate_inp.weight",
        "blk.0.attn_kv_a_mqa.weight", "blk.10.ffn_down_shexp.weight"}) {
    EXPECT_EQ(place(checkpoint_name(name)), name);
  }
  EXPECT_EQ(checkpoint_name("blk.0.attn_v_b.weight"), "model.layers.0.self_attn.kv_b_proj.weight");
  EXPECT_EQ(checkpoint_name("blk.61.nextn.hnorm.weight"), "model.layers.61.hnorm.weight");
  EXPECT_EQ(checkpoint_name("blk.0.unknown.weight"), "");
  EXPECT_EQ(checkpoint_name("v.blk.0.attn_q.weight"), "");
  // Rows of a head of four: halves side by side in the file.
  for (int64_t row = 0; row < 8; ++row) {
    const int64_t want[] = {0, 2, 1, 3, 4, 6, 5, 7};
    EXPECT_EQ(gguf_row(row, 4), want[row]);
  }
}

GgufBuilder llama_keys() {
  GgufBuilder out;
  out.set("general.architecture", "llama").set("llama.block_count", 2).set("llama.context_length", 64);
  out.set("llama.embedding_length", 32)
      .set("llama.feed_forward_length", 48)
      .set("llama.attention.head_count", 4);
  out.set("llama.attention.layer_norm_rms_epsilon", 1e-5f).set("llama.vocab_size", 10);
  return out;
}

TEST(GgufModel, ReadsWhatIsOptional) {
  TemporaryDirectory dir;
  put(dir / "m.gguf",
      llama_keys().set("llama.rope.scaling.type", "linear").set("llama.rope.scaling.factor", 4.0f).file());
  const ModelConfig config = read_model_config(GgufFile(dir / "m.gguf"));
  EXPECT_EQ(config.kv_heads, 4);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.rms_norm_eps, 1e-5f);
  EXPECT_EQ(config.rope.type, RopeType::linear);
  EXPECT_EQ(config.rope.factor, 4.0);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.bos_token_id, -1);
}

TEST(GgufModel, NamesTheKeyThatIsWrong) {
  TemporaryDirectory dir;
  const auto refusal = [&](const GgufBuilder& builder) {
    put(dir / "m.gguf", builder.file());
    const std::string why = error_of([&] { read_model_config(GgufFile(dir / "m.gguf")); });
    const std::string path = (dir / "m.gguf").string();
    return why.starts_with(path) ? "m.gguf" + why.substr(path.size()) : why;
  };
  EXPECT_EQ(refusal(llama_keys()), "");
  EXPECT_EQ(refusal(GgufBuilder()), "m.gguf: general.architecture is missing");
  EXPECT_EQ(refusal(GgufBuilder().set("general.architecture", "mamba")),
            "m.gguf: general.architecture is mamba: llama, qwen2, qwen3, qwen3moe, deepseek2 are known");
  EXPECT_EQ(refusal(GgufBuilder().set("general.architecture", "llama").set("llama.vocab_size", 4)),
            "m.gguf: llama.embedding_length is missing");
  EXPECT_EQ(refusal(llama_keys().set("llama.attention.head_count_kv", 0)),
            "m.gguf: llama.attention.head_count_kv is 0; it must be between 1 and 1073741824");
  EXPECT_NE(refusal(llama_keys().set("llama.attention.head_count_kv", 3)).find("m.gguf: num_key_value_heads"),
            std::string::npos);
  EXPECT_EQ(refusal(llama_keys().set("llama.attention.head_count_kv", std::vector<int32_t>{2, 1})),
            "m.gguf: llama.attention.head_count_kv differs between layers: all layers have one size here");
  EXPECT_EQ(refusal(llama_keys().set("llama.attention.head_count_kv", std::vector<int32_t>{2, 2})), "");
  EXPECT_EQ(
      refusal(llama_keys().set("llama.rope.dimension_count", 4)),
      "m.gguf: llama.rope.dimension_count is 4 of a head's 8: partial rotary embeddings are not known here");
  EXPECT_EQ(refusal(llama_keys().set("llama.attention.sliding_window", 16)),
            "m.gguf: llama.attention.sliding_window is 16: sliding windows are not known here");
  EXPECT_EQ(
      refusal(llama_keys().set("llama.expert_count", 8)),
      "m.gguf: llama.expert_count is not 0: of the models with experts, qwen3moe and deepseek2 are known");
  EXPECT_EQ(
      refusal(llama_keys().set("llama.nextn_predict_layers", 1)),
      "m.gguf: llama.nextn_predict_layers is set: of the models here, those with DeepSeek-V3's router alone "
      "have such layers");
  EXPECT_EQ(refusal(llama_keys().set("llama.logit_scale", 0.5f)),
            "m.gguf: llama.logit_scale is set, which the models here do not have");
  EXPECT_EQ(
      refusal(llama_keys().set("llama.rope.scaling.type", "longrope").set("llama.rope.scaling.factor", 4.0f)),
      "m.gguf: llama.rope.scaling.type is longrope: none, linear and yarn are known");
  EXPECT_EQ(refusal(llama_keys().tensor("rope_freqs.weight", {4}, 0, 0).data(std::string(16, '\x42'))),
            "m.gguf: tensor rope_freqs.weight has factors that Llama 3's scaling does not give: no other is "
            "known here");
  EXPECT_EQ(
      refusal(llama_keys().tensor("blk.0.attn_q.bias", {32}, 0, 0).data(std::string(128, 'x'))),
      "m.gguf: tensor blk.0.attn_output.bias is missing: llama has all of the attention's biases or none");
}

GgufBuilder expert_keys(const std::string& arch) {
  GgufBuilder out;
  out.set("general.architecture", arch.c_str());
  const auto key = [&](const char* name) { return arch + "." + name; };
  out.set(key("block_count"), 2).set(key("context_length"), 64).set(key("embedding_length"), 32);
  out.set(key("feed_forward_length"), 48).set(key("attention.head_count"), 4).set(key("vocab_size"), 10);
  out.set(key("expert_feed_forward_length"), 8);
  if (arch == "deepseek2") {
    out.set(key("rope.dimension_count"), 4).set(key("attention.key_length"), 12);
    out.set(key("attention.value_length"), 8).set(key("attention.kv_lora_rank"), 16);
  }
  return out;
}

// block_count counts the layers of multi-token prediction.
TEST(GgufModel, LayersOfPredictionAreNotTheModels) {
  TemporaryDirectory dir;
  const auto read = [&](int predictions) {
    GgufBuilder builder = expert_keys("deepseek2");
    builder.set("deepseek2.expert_gating_func", 2).set("deepseek2.expert_count", 4);
    builder.set("deepseek2.expert_used_count", 2).set("deepseek2.nextn_predict_layers", predictions);
    put(dir / "m.gguf", builder.file());
    return read_model_config(GgufFile(dir / "m.gguf"));
  };
  EXPECT_EQ(read(0).layers, 2);
  EXPECT_EQ(read(1).layers, 1);
  EXPECT_EQ(read(1).declared_prediction_layers, 1);
  EXPECT_EQ(error_of([&] { read(2); }), (dir / "m.gguf").string() +
                                            ": deepseek2.nextn_predict_layers is 2; it must be less than "
                                            "block_count, 2");
}

TEST(GgufModel, RefusesExpertsThatTheRouterCannotChoose) {
  TemporaryDirectory dir;
  const auto refusal = [&](const std::string& arch, std::vector<std::pair<const char*, int>> keys,
                           bool norm = false) {
    GgufBuilder builder = expert_keys(arch);
    for (const auto& [name, value] : keys) builder.set(arch + "." + name, value);
    if (norm) builder.set(arch + ".expert_weights_norm", true);
    put(dir / "m.gguf", builder.file());
    const std::string why = error_of([&] { read_model_config(GgufFile(dir / "m.gguf")); });
    const std::string path = (dir / "m.gguf").string();
    return why.starts_with(path) ? why.substr(path.size()) : why;
  };
  EXPECT_EQ(refusal("qwen3moe", {{"expert_count", 8}, {"expert_used_count", 2}}), "");
  EXPECT_EQ(refusal("qwen3moe", {{"expert_used_count", 2}}), ": qwen3moe.expert_count is missing");
  EXPECT_EQ(refusal("qwen3moe", {{"expert_count", 0}, {"expert_used_count", 2}}),
            ": qwen3moe.expert_count is 0; it must be between 1 and 65536");
  EXPECT_EQ(refusal("qwen3moe", {{"expert_count", 8}, {"expert_used_count", 9}}),
            ": num_experts_per_tok is more than num_experts, 8");
  EXPECT_EQ(refusal("qwen3moe", {{"expert_count", 8}, {"expert_used_count", 2}, {"expert_gating_func", 2}}),
            ": qwen3moe.expert_gating_func is 2 (sigmoid): the router of qwen3moe is 1 (softmax)");
  EXPECT_EQ(refusal("qwen3moe", {{"expert_count", 8}, {"expert_used_count", 2}, {"expert_shared_count", 1}}),
            ": qwen3moe.expert_shared_count is not 0, and qwen3moe has no such thing");
  EXPECT_EQ(refusal("qwen3moe", {{"expert_count", 8}, {"expert_used_count", 2}, {"expert_group_count", 2}}),
            ": qwen3moe.expert_group_count is above 1, and qwen3moe has no groups of experts");
  EXPECT_EQ(refusal("deepseek2", {{"expert_count", 16}, {"expert_used_count", 2}}), "");
  EXPECT_EQ(refusal("deepseek2", {{"expert_count", 65537}, {"expert_used_count", 2}}),
            ": deepseek2.expert_count is 65537; it must be between 1 and 65536");
  EXPECT_EQ(refusal("deepseek2", {{"expert_count", 16}, {"expert_used_count", 0}}),
            ": deepseek2.expert_used_count is 0; it must be between 1 and 65536");
  EXPECT_EQ(refusal("deepseek2", {{"expert_count", 16}, {"expert_used_count", 2}, {"expert_gating_func", 3}}),
            ": deepseek2.expert_gating_func is 3: 1 (softmax) and 2 (sigmoid) are known");
  EXPECT_EQ(refusal("deepseek2", {{"expert_count", 16}, {"expert_used_count", 2}}, true),
            ": deepseek2.expert_weights_norm is true beside a softmax router (expert_gating_func): "
            "DeepSeek-V2 does not "
            "normalise its weights");
  EXPECT_EQ(refusal("deepseek2", {{"expert_count", 16}, {"expert_used_count", 2}, {"expert_group_count", 3}}),
            ": n_group does not divide n_routed_experts");
  EXPECT_EQ(refusal("deepseek2", {{"expert_count", 16},
                                  {"expert_used_count", 2},
                                  {"expert_group_count", 2},
                                  {"expert_group_used_count", 3}}),
            ": topk_group is more than n_group");
}

// Files of DeepSeek-V2 and V3 that are older than the keys of groups.
TEST(GgufModel, OldFilesHaveTheGroupsOfThePublishedModels) {
  TemporaryDirectory dir;
  const auto config = [&](int experts, int gate) {
    GgufBuilder builder = expert_keys("deepseek2");
    builder.set("deepseek2.expert_count", experts).set("deepseek2.expert_used_count", 6);
    if (gate != 0) builder.set("deepseek2.expert_gating_func", gate);
    put(dir / "m.gguf", builder.file());
    return read_model_config(GgufFile(dir / "m.gguf"));
  };
  for (const auto& [experts, gate, groups, top, score] :
       {std::tuple(256, 2, 8, 4, RouterScore::sigmoid), std::tuple(64, 2, 1, 1, RouterScore::sigmoid),
        std::tuple(160, 0, 8, 3, RouterScore::softmax), std::tuple(64, 0, 1, 1, RouterScore::softmax),
        std::tuple(64, 1, 1, 1, RouterScore::softmax)}) {
    const ModelConfig got = config(experts, gate);
    EXPECT_EQ(got.moe.groups, groups) << experts;
    EXPECT_EQ(got.moe.top_groups, top) << experts;
    EXPECT_TRUE(got.moe.score == score) << experts;
    EXPECT_EQ(got.family, score == RouterScore::softmax ? Family::deepseek_v2 : Family::deepseek_v3)
        << experts;
  }
}

TEST(GgufModel, QwenLayersWithADenseMlpAreKnownByTheirTensors) {
  TemporaryDirectory dir;
  put(dir / "m.gguf", expert_keys("qwen3moe")
                          .set("qwen3moe.expert_count", 8)
                          .set("qwen3moe.expert_used_count", 2)
                          .tensor("blk.1.ffn_gate.weight", {2, 2}, 0, 0)
                          .data(std::string(16, '\0'))
                          .file());
  const ModelConfig config = read_model_config(GgufFile(dir / "m.gguf"));
  EXPECT_TRUE(config.is_moe_layer(0));
  EXPECT_FALSE(config.is_moe_layer(1));
  EXPECT_TRUE(config.moe.norm_topk);
}

TEST(GgufModel, AStackOfAnotherNumberOfExpertsIsRefused) {
  TemporaryDirectory dir;
  put(dir / "m.gguf", expert_keys("qwen3moe")
                          .set("qwen3moe.expert_count", 65536)
                          .set("qwen3moe.expert_used_count", 2)
                          .tensor("blk.0.ffn_up_exps.weight", {2, 2, 3}, 0, 0)
                          .data(std::string(48, '\0'))
                          .file());
  const GgufFile file(dir / "m.gguf");
  const std::string why = error_of([&] { GgufWeights(file, read_model_config(file)); });
  EXPECT_NE(why.find("m.gguf: tensor blk.0.ffn_up_exps.weight has 3 experts, and expert_count is 65536: the "
                     "keys and the "
                     "tensors are of different models"),
            std::string::npos)
      << why;
}

TEST(GgufModel, NamesTheTensorThatIsWrong) {
  const GgufFile file = gguf_model("qwen3-tied");
  const ModelConfig config = read_model_config(file);
  std::vector<float> out(6);
  EXPECT_NE(
      error_of([&] { read_gguf_weight(file, config, "model.layers.0.self_attn.q_norm.weight", {7}, out); })
          .find("qwen3-tied.gguf: tensor blk.0.attn_q_norm.weight (model.layers.0.self_attn.q_norm.weight) "
                "is [6]; "
                "it must be [7]"),
      std::string::npos);
  EXPECT_NE(error_of([&] {
              read_gguf_weight(file, config, "model.layers.9.self_attn.q_norm.weight", {6}, out);
            }).find("tensor blk.9.attn_q_norm.weight (model.layers.9.self_attn.q_norm.weight) is missing"),
            std::string::npos);
  EXPECT_NE(
      error_of([&] { read_gguf_weight(file, config, "x", {6}, out); }).find("GGUF has no name for tensor x"),
      std::string::npos);
}

// Any range of a tensor is that range of the whole: within blocks, across rows that are put back, across
// heads.
TEST(GgufModel, ReadsRangesOfATensor) {
  const auto compare = [](const GgufFile& file, const ModelConfig& config, const std::string& name,
                          const std::vector<int64_t>& shape) {
    const GgufTensorReader reader(file, config, name, shape);
    std::vector<float> whole(static_cast<size_t>(shape[0] * shape[1]));
    reader.read(0, whole);
    Random random(5);
    for (int i = 0; i < 300; ++i) {
      const auto first = static_cast<size_t>(random.below(std::ssize(whole)));
      const auto count = static_cast<size_t>(random.below(std::ssize(whole) - static_cast<int64_t>(first)));
      std::vector<float> part(count);
      reader.read(static_cast<int64_t>(first), part);
      EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + static_cast<std::ptrdiff_t>(first)))
          << name << " from " << first << ", " << count;
    }
    return whole;
  };
  TemporaryDirectory dir;
  const std::vector<float> numbers = [] {
    Random random(6);
    std::vector<float> out(32 * 64);
    for (float& v : out) v = static_cast<float>(random.normal());
    return out;
  }();
  std::string blocks(numbers.size() / 32 * 18, '\0');
  quantize(GgufType::q4_0, numbers, std::as_writable_bytes(std::span(blocks)));
  put(dir / "m.gguf", GgufBuilder().tensor("blk.0.attn_q.weight", {64, 32}, 2, 0).data(blocks).file());
  const GgufFile file(dir / "m.gguf");
  ModelConfig config;
  config.family = Family::llama;
  config.head_dim = 8;
  const std::vector<float> whole = compare(file, config, "model.layers.0.self_attn.q_proj.weight", {32, 64});
  std::vector<float> stored(whole.size());
  read_as_f32(file, file.tensors()[0], stored);
  for (int64_t row = 0; row < 32; ++row) {
    ASSERT_TRUE(std::equal(whole.begin() + row * 64, whole.begin() + (row + 1) * 64,
                           stored.begin() + gguf_row(row, 8) * 64))
        << row;
  }
  const GgufFile split = gguf_model("deepseek2-split");
  const ModelConfig latent = read_model_config(split);
  compare(split, latent, "model.layers.1.self_attn.kv_b_proj.weight",
          {latent.heads * (latent.qk_nope_head_dim + latent.v_head_dim), latent.kv_lora_rank});
}

// The factors of Llama 3.1 (8) and 3.2 (32) at a head of 64 and of 128.
TEST(GgufModel, TracesLlama3sFactorsBackToItsSettings) {
  for (const double factor : {8.0, 32.0}) {
    for (const int64_t width : {64, 128}) {
      RopeConfig want{
          .type = RopeType::llama3, .theta = 500000.0, .factor = factor, .original_positions = 8192};
      RopeConfig plain{.theta = 500000.0};
      const RopeFrequencies scaled = rope_frequencies(want, width), base = rope_frequencies(plain, width);
      std::vector<float> factors;
      for (size_t i = 0; i < scaled.inverse.size(); ++i)
        factors.push_back(base.inverse[i] / scaled.inverse[i]);
      const std::optional<RopeConfig> got = llama3_rope_of(factors, 500000.0);
      ASSERT_TRUE(got) << factor << " " << width;
      EXPECT_TRUE(*got == want) << factor << " " << width << ": " << got->original_positions << " "
                                << got->high_freq_factor;
    }
  }
  EXPECT_FALSE(llama3_rope_of(std::vector<float>{1, 2, 1, 8}, 500000.0));
  EXPECT_FALSE(llama3_rope_of(std::vector<float>{1, 1, 1, 1}, 500000.0));
}

}  // namespace
}  // namespace r1::gguf_model_test
