// `r1 doctor` reports here that all is well. A broken part is FAILED, with exit status 1. A missing file is
// an error of one line.
#include <gtest/gtest.h>

#include "formats/safetensors.h"
#include "tensor/numerics.h"
#include "tests/cli/cli_test_util.h"
#include "tests/formats/json_schema.h"

namespace r1::test::doctor_test {
namespace {

Json doctor_json(const Result& result) {
  const Json json = parse_json(result.out, "doctor");
  const Json schema = parse_json(r1_run({"schema", "doctor-output"}).out, "schema");
  EXPECT_EQ(SchemaValidator(schema).check(json), "") << result.out;
  return json;
}

const Json& check_named(const Json& json, const std::string& name) {
  for (const Json& check : json.at("checks").items()) {
    if (check.get_string("name") == name) return check;
  }
  ADD_FAILURE() << "no check is called " << name << ": " << json.dump();
  return json.at("checks").at(size_t{0});
}

TEST(CliDoctor, EverythingIsWellOfEveryArchitecture) {
  for (const std::string& model : {tiny_llama(), tiny_deepseek(), tiny_qwen3()}) {
    const Result result = r1_run({"doctor", model, "--json", "--threads", "2"});
    EXPECT_EQ(result.status, 0) << result.out << result.err;
    const Json json = doctor_json(result);
    EXPECT_TRUE(json.get_bool("ok"));
    for (const char* name : {"random numbers", "matrix products", "memory", "model files", "tokenizer",
                             "chat template", "one forward, cpu-f32", "one forward, cpu-bf16"})
      EXPECT_TRUE(check_named(json, name).get_bool("ok")) << json.dump();
    EXPECT_GT(json.at("machine").get_number("fma_gflops"), 0);
    EXPECT_GT(json.at("machine").get_number("read_gb_s"), 0);
    const bool pairs = machine_has(Numerics::cpu_avx512bf16);
    EXPECT_EQ(json.at("machine").at("numerics").size(), pairs ? 4u : 3u);
    EXPECT_EQ(json.at("machine").at("bf16_gflops").is_null(), !pairs);
    const Json& simd = json.at("machine").at("simd");
    EXPECT_EQ(simd.at("usable").at(size_t{0}).string(), simd.get_string("chosen"));
  }
}

TEST(CliDoctor, TextHasALineACheck) {
  const Result result = r1_run({"doctor", tiny_llama()});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_TRUE(result.out.starts_with("machine\n  cpu ")) << result.out;
  EXPECT_NE(result.out.find("\n  ok      one forward, cpu-bf16: "), std::string::npos) << result.out;
  EXPECT_EQ(result.out.find("FAILED"), std::string::npos) << result.out;
}

fs::path broken_copy(const std::string& name) {
  const fs::path copy = scratch() / name;
  fs::copy(tiny_llama(), copy, fs::copy_options::recursive);
  return copy;
}

TEST(CliDoctor, BrokenModelsFail) {
  // Turns one weight into NaN.
  const fs::path nan = broken_copy("nan-model");
  std::string weights = read_file(nan / "model.safetensors");
  for (size_t i = weights.size() - 4; i < weights.size(); ++i) weights[i] = '\xff';
  write("nan-model/model.safetensors", weights);
  const Result result = r1_run({"doctor", nan.string(), "--json"});
  EXPECT_EQ(result.status, 1) << result.err;
  const Json json = doctor_json(result);
  EXPECT_FALSE(json.get_bool("ok"));
  EXPECT_FALSE(check_named(json, "model files").get_bool("ok")) << json.dump();

  const fs::path cut = broken_copy("cut-model");
  write("cut-model/config.json", "{\"model_type\": \"llama\"");
  EXPECT_EQ(r1_run({"doctor", cut.string()}).status, 1);

  const fs::path silent = broken_copy("silent-template");
  std::string config = read_file(silent / "tokenizer_config.json");
  const std::string content = "{{ message['content'] }}";
  ASSERT_NE(config.find(content), std::string::npos);
  config.replace(config.find(content), content.size(), "");
  write("silent-template/tokenizer_config.json", config);
  const Result mute = r1_run({"doctor", silent.string(), "--json"});
  EXPECT_EQ(mute.status, 1);
  EXPECT_FALSE(check_named(doctor_json(mute), "chat template").get_bool("ok"));
}

TEST(CliDoctor, WithoutTransformersItSaysHowToGetThem) {
  EXPECT_ONE_LINE_ERROR(
      r1_run({"doctor", tiny_llama(), "--against-transformers", "--python", "/no/such/python"}),
      "pip install torch transformers");
}

// Writes a fake Python that runs `commands`, so that both verdicts are seen without torch.
std::string pretending(const std::string& name, const std::string& commands) {
  const std::string path = write(name, "#!/bin/sh\n" + commands + "\n");
  fs::permissions(path, fs::perms::owner_all);
  return path;
}

TEST(CliDoctor, OtherLogitsFail) {
  const std::string missing = pretending("no-torch", "echo \"No module named 'torch'\"; exit 77");
  EXPECT_ONE_LINE_ERROR(r1_run({"doctor", tiny_llama(), "--against-transformers", "--python", missing}),
                        "No module named 'torch'");
  const size_t vocab = static_cast<size_t>(
      parse_json(read_file(fs::path(tiny_llama()) / "config.json"), "config").get_int("vocab_size"));
  const std::string zeros = pretending(
      "zeros", "head -c " + std::to_string((5 + 33 + 80) * vocab * 4) + " /dev/zero > \"$4\"; echo torch 0");
  const Result result =
      r1_run({"doctor", tiny_llama(), "--against-transformers", "--python", zeros, "--json"});
  EXPECT_EQ(result.status, 1) << result.err;
  EXPECT_FALSE(check_named(doctor_json(result), "transformers").get_bool("ok")) << result.out;
}

}  // namespace
}  // namespace r1::test::doctor_test
