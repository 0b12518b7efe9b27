// A model that was converted is the same model.
#include "engine/convert.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sanitizer.h"
#include "engine/model_bundle.h"
#include "formats/gguf_blocks.h"
#include "formats/safetensors.h"
#include "model/gguf_config.h"
#include "model/model.h"
#include "tests/formats/formats_test_util.h"
#include "text/gguf_tokenizer.h"

namespace r1::convert_test {
namespace {

namespace fs = std::filesystem;

// formats_test runs the quantisers themselves under the sanitizers.
constexpr const char* kTooSlow =
    "SKIPPED: searching the blocks of a whole model takes minutes under the sanitizers";

const std::vector<std::string> kGolden = {"llama-llama3",
                                          "llama-biases",
                                          "qwen2-tied",
                                          "qwen2-yarn",
                                          "qwen3-tied",
                                          "qwen3-untied",
                                          "deepseek_v3-groups",
                                          "deepseek_v3-no-q-lora",
                                          "deepseek_v3-yarn-mscale",
                                          "deepseek_v3-moonlight",
                                          "deepseek_v2-lite",
                                          "deepseek_v2-groups",
                                          "qwen3_moe-all",
                                          "qwen3_moe-sparse"};

// A golden model with the rotary settings that GGUF has; others are refused.
fs::path golden(const std::string& name) {
  const fs::path from = fs::path(R1_SOURCE_DIR) / "tests/golden/models" / name;
  const fs::path to =
      fs::path(testing::TempDir()) / ("r1_convert_" + std::to_string(::getpid()) + "_" + name);
  fs::create_directories(to);
  fs::copy_file(from / "model.safetensors", to / "model.safetensors", fs::copy_options::overwrite_existing);
  Json config = read_json(from / "config.json");
  if (config.contains("rope_interleave")) config.set("rope_interleave", true);
  if (config.get_string("model_type") == "qwen3_moe") config.set("norm_topk_prob", true);
  if (const Json* rope = config.find("rope_parameters"); rope != nullptr && rope->contains("mscale")) {
    Json changed = *rope;
    config.set("rope_parameters", changed.set("truncate", true).set("mscale", 1.0));
  }
  write_file_atomically(to / "config.json", config.dump());
  return to;
}

QuantizeTally to_gguf(const fs::path& in, const fs::path& out, const char* type = nullptr, int threads = 2,
                      std::vector<std::string>* notes = nullptr, bool tokenizer = false) {
  ThreadPool pool(threads);
  GgufRequest request;
  request.in = in;
  request.out = out;
  if (type != nullptr) request.preset = &quantize_preset(type, "--type");
  request.tokenizer = tokenizer;
  request.note = [&](const std::string& line) {
    if (notes != nullptr) notes->push_back(line);
  };
  request.progress = [](size_t, size_t) {};
  return write_gguf_model(pool, request);
}

DirectoryTally to_directory(const fs::path& in, const fs::path& out, std::optional<DType> dtype = {}) {
  DirectoryRequest request;
  request.in = in;
  request.out = out;
  request.dtype = dtype;
  request.note = [](const std::string&) {};
  request.progress = [](size_t, size_t) {};
  return write_model_directory(request);
}

std::vector<std::byte> bytes_of(const SafetensorsFile& file, const TensorInfo& tensor) {
  return file.bytes(tensor);
}

void expect_equal_weights(const fs::path& got, const fs::path& want) {
  const SafetensorsFile a(got / "model.safetensors"), b(want / "model.safetensors");
  size_t compared = 0;
  for (const TensorInfo& tensor : b.tensors()) {
    const TensorInfo* found = a.find(tensor.name);
    if (found == nullptr) {
      EXPECT_EQ(tensor.name, "lm_head.weight") << got;  // of a tied model
      continue;
    }
    EXPECT_EQ(name_of(found->type), name_of(tensor.type)) << tensor.name;
    EXPECT_EQ(found->shape, tensor.shape) << tensor.name;
    EXPECT_EQ(bytes_of(a, *found), bytes_of(b, tensor)) << got << " " << tensor.name;
    ++compared;
  }
  EXPECT_EQ(compared, a.tensors().size());
  EXPECT_GT(compared, 5u);
}

Json comparable(const ModelConfig& config) {
  ModelConfig out = config;
  out.initializer_range = 0.02;
  out.bos_token_id = -1;  // of the tokenizer, which these files do not have
  out.eos_token_ids.clear();
  out.mlp_only_layers.clear();  // a step of 2 comes back as the list of the dense layers
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    if (config.family == Family::qwen3_moe && !config.is_moe_layer(layer))
      out.mlp_only_layers.push_back(layer);
  }
  out.sparse_step = 1;
  Json json = to_json(out);
  json.set("rope_scaling", nullptr);  // compared by its angles
  return json;
}

TEST(Convert, DirectoryToGgufAndBackGivesTheSameBytesAndSizes) {
  for (const std::string& name : kGolden) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      TemporaryDirectory dir;
      to_directory(golden(name), dir / "in", dtype);
      to_gguf(dir / "in", dir / "m.gguf");
      to_directory(dir / "m.gguf", dir / "out");
      expect_equal_weights(dir / "out", dir / "in");
      const ModelConfig want = load_model_config(dir / "in"), got = load_model_config(dir / "m.gguf"),
                        back = load_model_config(dir / "out");
      EXPECT_EQ(comparable(got).dump(1), comparable(want).dump(1)) << name;
      EXPECT_EQ(comparable(back).dump(1), comparable(want).dump(1)) << name;
      EXPECT_EQ(got.rope.type, want.rope.type) << name;
      const RopeFrequencies a = rope_frequencies(got.rope, got.rope_width()),
                            b = rope_frequencies(want.rope, want.rope_width());
      EXPECT_EQ(a.inverse, b.inverse) << name;
      EXPECT_EQ(a.attention_factor, b.attention_factor) << name;
      EXPECT_EQ(latent_score_factor(got.rope), latent_score_factor(want.rope)) << name;
    }
  }
}

TEST(Convert, TheModelOfTheGgufFileHasTheSameWeights) {
  for (const std::string& name : kGolden) {
    TemporaryDirectory dir;
    to_gguf(golden(name), dir / "m.gguf");
    const Model got = Model::load(dir / "m.gguf"), want = Model::load(golden(name));
    EXPECT_TRUE(got.warnings().empty()) << got.warnings().front();
    EXPECT_EQ(got.weights_sha256(), want.weights_sha256()) << name;
  }
}

// A tiny DeepSeek-V3 with an MTP head (tests/ref/make_mtp_golden.py).
const fs::path kMtp = fs::path(R1_SOURCE_DIR) / "tests/golden/models-mtp";

TEST(Convert, ADirectoryKeepsTheMtpHeadAndItsCopiesOfTables) {
  TemporaryDirectory dir;
  to_directory(kMtp, dir / "out");
  expect_equal_weights(dir / "out", kMtp);
  const SafetensorsFile file(dir / "out" / "model.safetensors");
  EXPECT_NE(file.find("model.layers.2.shared_head.head.weight"), nullptr);
  EXPECT_NE(file.find("model.layers.2.embed_tokens.weight"), nullptr);
  EXPECT_EQ(load_model_config(dir / "out").declared_prediction_layers, 1);
  EXPECT_TRUE(Model::load(dir / "out", DType::f32, WeightUse::guessing).predicts());
}

TEST(Convert, AGgufFileKeepsTheMtpHeadOnlyIfItIsAskedFor) {
  TemporaryDirectory dir;
  std::vector<std::string> notes;
  to_gguf(kMtp, dir / "plain.gguf", nullptr, 2, &notes);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_EQ(notes.front(),
            (kMtp / "model.safetensors").string() +
                ": layer 2, the MTP head, is left out, because llama.cpp reads no deepseek2 file that "
                "has it; --keep-mtp keeps it for r1");
  EXPECT_EQ(load_model_config(dir / "plain.gguf").declared_prediction_layers, 0);
  EXPECT_EQ(GgufFile(dir / "plain.gguf").metadata().get_int("deepseek2.block_count"), 2);

  ThreadPool pool(2);
  GgufRequest request;
  request.in = kMtp;
  request.out = dir / "kept.gguf";
  request.tokenizer = false;
  request.keep_mtp = true;
  request.note = [](const std::string& line) { FAIL() << line; };
  request.progress = [](size_t, size_t) {};
  write_gguf_model(pool, request);
  const GgufFile kept(dir / "kept.gguf");
  EXPECT_EQ(kept.metadata().get_int("deepseek2.block_count"), 3);
  EXPECT_EQ(kept.metadata().get_int("deepseek2.nextn_predict_layers"), 1);
  EXPECT_NE(kept.find("blk.2.nextn.eh_proj.weight"), nullptr);
  EXPECT_NE(kept.find("blk.2.nextn.shared_head_head.weight"), nullptr);
  EXPECT_EQ(load_model_config(dir / "kept.gguf").layers, 2);
  const Model got = Model::load(dir / "kept.gguf", DType::f32, WeightUse::guessing),
              want = Model::load(kMtp, DType::f32, WeightUse::guessing);
  ASSERT_TRUE(got.predicts());
  EXPECT_TRUE(got.warnings().empty());
  EXPECT_EQ(got.weights_sha256(), want.weights_sha256());
  // Quantised while it is loaded, it is the quantised file.
  request.preset = &quantize_preset("BF16", "--type");
  request.out = dir / "bf16.gguf";
  write_gguf_model(pool, request);
  EXPECT_EQ(Model::load(dir / "bf16.gguf", DType::f32, WeightUse::guessing).weights_sha256(),
            Model::load(kMtp, DType::f32, WeightUse::guessing, host_memory(), "BF16").weights_sha256());
  // And back to a directory.
  to_directory(dir / "kept.gguf", dir / "back");
  expect_equal_weights(dir / "back", kMtp);

  request.out = dir / "none.gguf";
  request.in = golden("deepseek_v3-groups");
  try {
    write_gguf_model(pool, request);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("has no MTP head: leave out --keep-mtp"), std::string::npos)
        << e.what();
  }
}

// The files of tests/ref/make_gguf.py have llama.cpp's names and row orders, in f16.
TEST(Convert, TensorsAreNamedAndOrderedAsLlamaCppsConverterDoes) {
  const std::pair<const char*, const char*> kFiles[] = {{"llama-llama3", "llama-llama3"},
                                                        {"qwen2-yarn", "qwen2-yarn"},
                                                        {"qwen3-tied", "qwen3-tied"},
                                                        {"deepseek2-split", "deepseek_v3-yarn-mscale"}};
  for (const auto& [file, model] : kFiles) {
    TemporaryDirectory dir;
    to_gguf(golden(model), dir / "m.gguf", "F16");
    const GgufFile got(dir / "m.gguf"),
        want(fs::path(R1_SOURCE_DIR) / "tests/golden/gguf" / (std::string(file) + ".gguf"));
    EXPECT_EQ(got.tensors().size(), want.tensors().size()) << file;
    for (const GgufTensor& tensor : want.tensors()) {
      const GgufTensor* found = got.find(tensor.name);
      ASSERT_NE(found, nullptr) << file << " " << tensor.name;
      EXPECT_EQ(found->shape, tensor.shape) << tensor.name;
      std::vector<float> a(static_cast<size_t>(tensor.count())), b(a.size());
      read_as_f32(got, *found, a);
      read_as_f32(want, tensor, b);
      if (tensor.name.ends_with("ffn_gate_inp.weight")) {  // F32 here, as llama.cpp has routers; f16 there
        EXPECT_EQ(found->type, GgufType::f32);
        for (float& v : a) v = f32_from_f16(f16_from_f32(v));
      }
      if (tensor.name == "rope_freqs.weight") {
        for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-6f * b[i]);
      } else {
        EXPECT_EQ(a, b) << file << " " << tensor.name;
      }
    }
    for (const std::string_view key : want.metadata().keys()) {
      // The script leaves out what follows from other keys, and writes no beta of yarn for deepseek2.
      ASSERT_TRUE(got.metadata().contains(key) || key == "tokenizer.ggml.bos_token_id" ||
                  key == "tokenizer.ggml.eos_token_id")
          << file << " " << key;
      if (got.metadata().contains(key) && key != "general.file_type") {
        EXPECT_EQ(got.metadata().json(key).dump(), want.metadata().json(key).dump()) << file << " " << key;
      }
    }
  }
}

// Wide enough for blocks of 256.
void make_wide_model(const fs::path& folder, const std::string& type) {
  Json json = Json::object();
  json.set("model_type", type).set("vocab_size", 96).set("hidden_size", 256).set("intermediate_size", 512);
  json.set("num_hidden_layers", 3)
      .set("num_attention_heads", 4)
      .set("num_key_value_heads", type == "llama" ? 1 : 4);
  json.set("max_position_embeddings", 64)
      .set("rms_norm_eps", 1e-6)
      .set("tie_word_embeddings", type == "llama");
  if (type == "deepseek_v3") {
    json.set("q_lora_rank", nullptr).set("kv_lora_rank", 256).set("qk_nope_head_dim", 64);
    json.set("qk_rope_head_dim", 32)
        .set("v_head_dim", 64)
        .set("n_routed_experts", 4)
        .set("n_shared_experts", 1);
    json.set("num_experts_per_tok", 2).set("moe_intermediate_size", 256).set("first_k_dense_replace", 1);
    json.set("n_group", 1).set("topk_group", 1);
  }
  fs::create_directories(folder);
  Model::create(read_model_config(parse_json(json.dump(), "test")), 3).save(folder, DType::bf16);
}

std::map<std::string, GgufType> types_of(const fs::path& path) {
  std::map<std::string, GgufType> out;
  const GgufFile file(path);
  for (const GgufTensor& tensor : file.tensors()) out[tensor.name] = tensor.type;
  return out;
}

TEST(Quantize, ThePresetGivesBetterTypesWhereErrorsCostMost) {
  if (kAddressSanitizer) GTEST_SKIP() << kTooSlow;
  TemporaryDirectory dir;
  make_wide_model(dir / "m", "llama");
  to_gguf(dir / "m", dir / "q.gguf", "Q4_K_M");
  std::map<std::string, GgufType> types = types_of(dir / "q.gguf");
  EXPECT_EQ(types.at("token_embd.weight"), GgufType::q6_k);  // it is the head as well
  EXPECT_EQ(types.at("blk.0.attn_q.weight"), GgufType::q4_k);
  EXPECT_EQ(types.at("blk.2.attn_v.weight"), GgufType::q6_k);
  EXPECT_EQ(types.at("blk.2.ffn_down.weight"), GgufType::q6_k);
  EXPECT_EQ(types.at("blk.1.ffn_down.weight"), GgufType::q4_k);
  EXPECT_EQ(types.at("blk.0.attn_norm.weight"), GgufType::f32);
  EXPECT_EQ(GgufFile(dir / "q.gguf").metadata().get_int("general.file_type"), 15);
  EXPECT_EQ(GgufFile(dir / "q.gguf").metadata().get_int("general.quantization_version"), 2);
  make_wide_model(dir / "e", "deepseek_v3");
  std::vector<std::string> notes;
  to_gguf(dir / "e", dir / "e.gguf", "Q4_K_M", 2, &notes);
  types = types_of(dir / "e.gguf");
  EXPECT_EQ(types.at("blk.1.ffn_gate_inp.weight"), GgufType::f32);
  EXPECT_EQ(types.at("blk.1.exp_probs_b.bias"), GgufType::f32);
  EXPECT_EQ(types.at("blk.1.ffn_up_exps.weight"), GgufType::q4_k);
  EXPECT_EQ(types.at("token_embd.weight"), GgufType::q4_k);
  EXPECT_EQ(types.at("output.weight"), GgufType::q6_k);
  EXPECT_EQ(types.at("blk.1.attn_v_b.weight"), GgufType::q4_k);
  EXPECT_EQ(types.at("blk.1.attn_k_b.weight"), GgufType::q5_0);  // rows of 64
  ASSERT_EQ(notes.size(), 3u);
  EXPECT_EQ(notes[0],
            "blk.0.attn_k_b.weight: rows of 64 are no whole number of Q4_K blocks of 256: Q5_0 instead");
}

TEST(Quantize, TheFileDoesNotDependOnTheThreads) {
  if (kAddressSanitizer) GTEST_SKIP() << kTooSlow;
  TemporaryDirectory dir;
  make_wide_model(dir / "m", "deepseek_v3");
  for (const char* type : {"Q4_K_M", "IQ4_XS", "Q8_0"}) {
    to_gguf(dir / "m", dir / "a.gguf", type, 1);
    to_gguf(dir / "m", dir / "b.gguf", type, 3);
    EXPECT_EQ(read_file(dir / "a.gguf"), read_file(dir / "b.gguf")) << type;
  }
}

TEST(Quantize, OnLoadGivesTheWeightsOfTheQuantisedFileToTheBit) {
  if (kAddressSanitizer) GTEST_SKIP() << kTooSlow;
  TemporaryDirectory dir;
  for (const char* model : {"llama", "deepseek_v3"}) {
    make_wide_model(dir / model, model);
    for (const char* type : {"Q8_0", "Q4_K_M", "Q4_0", "IQ4_XS", "F16"}) {
      to_gguf(dir / model, dir / "q.gguf", type);
      for (const DType dtype : {DType::f32, DType::bf16}) {
        const Model want = Model::load(dir / "q.gguf", dtype, WeightUse::inference);
        const Model got = Model::load(dir / model, dtype, WeightUse::inference, host_memory(), type);
        EXPECT_EQ(got.weights_sha256(), want.weights_sha256()) << model << " " << type;
      }
    }
  }
  EXPECT_EQ(error_of([&] {
              to_gguf(dir / "llama", dir / "q.gguf", "Q4_0");
              Model::load(dir / "q.gguf", DType::f32, WeightUse::inference, host_memory(), "Q8_0");
            }),
            (dir / "q.gguf").string() +
                ": tensor token_embd.weight is Q6_K already: leave out --quantize, or take the file that it "
                "was made of");
}

TEST(Quantize, AQuantisedFileMayBeQuantisedAgainAndTheUserIsTold) {
  if (kAddressSanitizer) GTEST_SKIP() << kTooSlow;
  TemporaryDirectory dir;
  make_wide_model(dir / "m", "llama");
  to_gguf(dir / "m", dir / "a.gguf", "Q8_0");
  std::vector<std::string> notes;
  to_gguf(dir / "a.gguf", dir / "b.gguf", "Q4_0", 2, &notes);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("is quantised already (token_embd.weight is Q8_0)"), std::string::npos) << notes[0];
  // A tensor that has the type already keeps its bytes.
  const QuantizeTally tally = to_gguf(dir / "a.gguf", dir / "c.gguf", "Q8_0");
  EXPECT_EQ(tally.types.at(GgufType::q8_0).error_squares, 0.0);
  EXPECT_EQ(read_file(dir / "c.gguf"), read_file(dir / "a.gguf"));
}

TEST(Quantize, ATallyCountsBytesAndErrors) {
  TemporaryDirectory dir;
  make_wide_model(dir / "m", "llama");
  const QuantizeTally tally = to_gguf(dir / "m", dir / "q.gguf", "Q8_0");
  uint64_t bytes = 0;
  const GgufFile file(dir / "q.gguf");
  for (const GgufTensor& tensor : file.tensors()) bytes += tensor.end - tensor.begin;
  EXPECT_EQ(tally.bytes_after, bytes);
  EXPECT_NEAR(tally.bits_per_weight(), 8.5, 0.1);
  EXPECT_EQ(tally.types.at(GgufType::f32).error_squares, 0.0);
  EXPECT_GT(tally.types.at(GgufType::q8_0).relative_rms(), 0.003);
  EXPECT_LT(tally.types.at(GgufType::q8_0).relative_rms(), 0.008);
}

TEST(Quantize, RulesComeBeforeTheMixtureAndMustMatch) {
  if (kAddressSanitizer) GTEST_SKIP() << kTooSlow;
  TemporaryDirectory dir;
  make_wide_model(dir / "m", "llama");
  ThreadPool pool(1);
  GgufRequest request;
  request.in = dir / "m";
  request.out = dir / "q.gguf";
  request.preset = &quantize_preset("q4_k_m", "--type");
  request.tokenizer = false;
  request.note = [](const std::string&) {};
  request.progress = [](size_t, size_t) {};
  request.rules = {tensor_rule("blk.2.ffn_down.weight=Q8_0"), tensor_rule("blk.?.ffn_*=q5_k")};
  write_gguf_model(pool, request);
  const std::map<std::string, GgufType> types = types_of(dir / "q.gguf");
  EXPECT_EQ(types.at("blk.2.ffn_down.weight"), GgufType::q8_0);
  EXPECT_EQ(types.at("blk.1.ffn_down.weight"), GgufType::q5_k);
  EXPECT_EQ(types.at("blk.1.attn_q.weight"), GgufType::q4_k);
  request.rules = {tensor_rule("attn_q=Q8_0")};
  EXPECT_EQ(error_of([&] { write_gguf_model(pool, request); }),
            "--tensor-type attn_q=Q8_0: no matrix has such a name, or an earlier rule took them all");
  EXPECT_EQ(error_of([&] { tensor_rule("Q8_0"); }),
            "--tensor-type Q8_0: it must be PATTERN=TYPE, for example 'blk.*.ffn_down.weight=Q6_K'");
  EXPECT_NE(error_of([&] { tensor_rule("a=Q9"); }).find("--tensor-type Q9: there is no such type"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              quantize_preset("Q4_K_N", "--type");
            }).find("(did you mean Q4_K_M?); known are F32, F16,"),
            std::string::npos);
}

TEST(Quantize, RowsThatFitNoBlockAreRefusedByName) {
  TemporaryDirectory dir;
  const std::string why = error_of([&] { to_gguf(golden("llama-llama3"), dir / "q.gguf", "Q4_K_M"); });
  EXPECT_NE(why.find("Q4_K_M: no matrix has rows of a multiple of 32 elements (the widest rows have "),
            std::string::npos)
      << why;
  EXPECT_FALSE(fs::exists(dir / "q.gguf"));
}

TEST(Convert, ASettingThatGgufHasNoPlaceForIsRefusedByName) {
  TemporaryDirectory dir;
  const fs::path model = fs::path(R1_SOURCE_DIR) / "tests/golden/models/deepseek_v3-yarn-mscale";
  EXPECT_EQ(error_of([&] { to_gguf(model, dir / "m.gguf"); }),
            (model / "config.json").string() + ": rope_interleave = false: GGUF has no place for it");
}

TEST(Convert, DamagedWeightsAreNamedAndLeaveNothing) {
  TemporaryDirectory dir;
  make_wide_model(dir / "m", "llama");
  std::string text = read_file(dir / "m/model.safetensors");
  put(dir / "m/model.safetensors", text.substr(0, text.size() - 8));
  EXPECT_NE(error_of([&] { to_gguf(dir / "m", dir / "q.gguf", "Q8_0"); }).find("model.safetensors"),
            std::string::npos);
  text[text.size() - 1] = '\x7F';  // the last number, in bf16
  text[text.size() - 2] = '\xC0';
  put(dir / "m/model.safetensors", text);
  const std::string why = error_of([&] { to_gguf(dir / "m", dir / "q.gguf", "Q8_0"); });
  EXPECT_NE(why.find("is NaN at ["), std::string::npos) << why;
  EXPECT_FALSE(fs::exists(dir / "q.gguf"));
  EXPECT_FALSE(fs::exists((dir / "q.gguf").string() + ".r1-tmp"));
}

TEST(Convert, ATokenizerThatGgufHasNoNameForIsRefused) {
  TemporaryDirectory dir;
  const fs::path shipped = fs::path(R1_SOURCE_DIR) / "models/r1-nano";
  const std::string why = error_of([&] { to_gguf(shipped, dir / "m.gguf", nullptr, 1, nullptr, true); });
  EXPECT_TRUE(why.starts_with((shipped / "tokenizer.json").string() + ": pre_tokenizer, normalizer and"))
      << why;
  EXPECT_NE(why.find("give --no-tokenizer"), std::string::npos);
}

}  // namespace
}  // namespace r1::convert_test
