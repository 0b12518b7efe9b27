// Every bad input is reported in one line that says where, with exit status 2, and nothing is lost.
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "formats/safetensors.h"
#include "tests/cli/cli_test_util.h"

namespace r1::errors_test {
namespace {

using test::r1_run;
using test::scratch;
using test::write;

std::string tokens_file() {
  return write("tokens.json", "[0, 70, 71]");
}

// Runs a new model whose model.safetensors was changed by `change`.
test::Result run_changed(const std::string& name,
                         const std::function<void(const std::filesystem::path&)>& change) {
  const std::filesystem::path model = test::make_model(name);
  change(model);
  return r1_run({"run", model.string(), "--prompt-tokens", tokens_file(), "--json", "--max-tokens", "4"});
}

// Writes the weights again after passing each tensor through `change`. Tensors for which it returns false are
// left out.
void rewrite(const std::filesystem::path& model,
             const std::function<bool(SafetensorsWriter::Declared&, std::vector<float>&)>& change) {
  std::vector<SafetensorsWriter::Declared> declared;
  std::vector<std::vector<float>> values;
  {
    const SafetensorsFile file(model / "model.safetensors");
    for (const TensorInfo& info : file.tensors()) {
      SafetensorsWriter::Declared d{info.name, info.type, info.shape};
      std::vector<float> v(static_cast<size_t>(info.count()));
      read_as_f32(file, info, v);
      if (!change(d, v)) continue;
      declared.push_back(std::move(d));
      values.push_back(std::move(v));
    }
  }
  const auto names = declared;
  SafetensorsWriter out(model / "model.safetensors", std::move(declared));
  for (size_t i = 0; i < names.size(); ++i) out.write(names[i].name, values[i]);
  out.close();
}

void edit_config(const std::filesystem::path& model, const std::string& key, Json value) {
  Json config = read_json(model / "config.json");
  config.set(key, std::move(value));
  write_file_atomically(model / "config.json", config.dump(2));
}

TEST(CliErrors, TruncatedWeights) {
  EXPECT_ONE_LINE_ERROR(run_changed("truncated",
                                    [](const auto& model) {
                                      const auto file = model / "model.safetensors";
                                      std::filesystem::resize_file(file,
                                                                   std::filesystem::file_size(file) - 100);
                                    }),
                        "model.safetensors");
}

TEST(CliErrors, CorruptHeader) {
  EXPECT_ONE_LINE_ERROR(run_changed("corrupt",
                                    [](const auto& model) {
                                      std::string bytes = read_file(model / "model.safetensors");
                                      bytes[3] = '\x7f';
                                      write_file_atomically(model / "model.safetensors", bytes);
                                    }),
                        "model.safetensors");
}

TEST(CliErrors, MissingTensorIsNamed) {
  EXPECT_ONE_LINE_ERROR(run_changed("missing",
                                    [](const auto& model) {
                                      rewrite(model,
                                              [](auto& d, auto&) { return d.name != "model.norm.weight"; });
                                    }),
                        "model.norm.weight");
}

TEST(CliErrors, WrongShapeIsNamed) {
  EXPECT_ONE_LINE_ERROR(run_changed("shape",
                                    [](const auto& model) {
                                      rewrite(model, [](auto& d, auto& v) {
                                        if (d.name != "model.norm.weight") return true;
                                        d.shape = {16};
                                        v.resize(16);
                                        return true;
                                      });
                                    }),
                        "model.norm.weight");
}

TEST(CliErrors, NanWeightEndsTheAnswer) {
  EXPECT_ONE_LINE_ERROR(run_changed("nan",
                                    [](const auto& model) {
                                      rewrite(model, [](auto& d, auto& v) {
                                        if (d.name == "model.layers.1.mlp.up_proj.weight")
                                          v[5] = std::numeric_limits<float>::quiet_NaN();
                                        return true;
                                      });
                                    }),
                        "logits are not numbers");
}

// Reading a model does not check its matrices, so scoring says which one is damaged when a result is not a
// number.
TEST(CliErrors, ScoringADamagedModelNamesTheTensor) {
  const auto model = test::make_model("nan-scored");
  rewrite(model, [](auto& d, auto& v) {
    if (d.name == "model.layers.1.mlp.up_proj.weight") v[5] = std::numeric_limits<float>::quiet_NaN();
    return true;
  });
  const std::string rows = write("nan-rows.jsonl", "{\"tokens\": [0, 70, 71], \"from\": 1}\n");
  for (const std::vector<std::string>& what : {std::vector<std::string>{"--logprobs", "-"},
                                               {"--output", (scratch() / "nan.safetensors").string()}}) {
    std::vector<std::string> args = {"score", model.string(), "--input", rows};
    args.insert(args.end(), what.begin(), what.end());
    EXPECT_ONE_LINE_ERROR(r1_run(args), "tensor model.layers.1.mlp.up_proj.weight is NaN at [0, 5]");
  }
}

TEST(CliErrors, UnknownArchitectureIsNamed) {
  EXPECT_ONE_LINE_ERROR(
      run_changed("architecture", [](const auto& model) { edit_config(model, "model_type", "mamba"); }),
      "mamba");
}

TEST(CliErrors, MalformedConfigTellsTheFile) {
  EXPECT_ONE_LINE_ERROR(run_changed("malformed",
                                    [](const auto& model) {
                                      write_file_atomically(model / "config.json", "{\"model_type\": ");
                                    }),
                        "config.json");
}

TEST(CliErrors, MissingModelListsWhatThereIs) {
  EXPECT_ONE_LINE_ERROR(r1_run({"run", "r1-nosuch", "-p", "x"}), "neither a directory nor a shipped model");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", "r1-nani", "-p", "x"}), "did you mean r1-nano?");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", "r1-nosuch", "-p", "x"}), "after r1 pull org/name");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", tokens_file(), "-p", "x"}), "is a file; a model is a directory");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", "some/model.gguf", "-p", "x"}), "some/model.gguf: no such file");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", "", "-p", "x"}), "the MODEL argument is empty");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", scratch().string() + "/nosuch/model", "-p", "x"}), "nosuch/model");
}

TEST(CliErrors, PromptLongerThanTheContext) {
  std::string ids = "[0";
  for (int i = 0; i < 300; ++i) ids += ",70";
  const std::string file = write("long.json", ids + "]");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", test::tiny_llama(), "--prompt-tokens", file, "--json"}),
                        "301 tokens long");
  const auto result = r1_run({"generate", test::tiny_llama(), "--input",
                              write("long.jsonl", "{\"tokens\":" + ids + "]}\n{\"tokens\":[0,70]}\n"),
                              "--output", "-", "--max-tokens", "3"});
  EXPECT_EQ(result.status, 2);
  const auto rows = test::rows_of(result.out);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_NE(rows[0].get_string("error").find("301 tokens long"), std::string::npos) << result.out;
  EXPECT_EQ(rows[0].get_int("row"), 0);
  EXPECT_EQ(rows[1].at("tokens").size(), 3u);
}

TEST(CliErrors, TokensThatAreNotTheModels) {
  EXPECT_ONE_LINE_ERROR(
      r1_run({"run", test::tiny_llama(), "--prompt-tokens", write("far.json", "[0, 99999]"), "--json"}),
      "99999");
  EXPECT_ONE_LINE_ERROR(
      r1_run({"run", test::tiny_llama(), "--prompt-tokens", write("minus.json", "[-1]"), "--json"}), "-1");
  EXPECT_ONE_LINE_ERROR(
      r1_run({"run", test::tiny_llama(), "--prompt-tokens", write("none.json", "[]"), "--json"}),
      "no tokens");
}

TEST(CliErrors, UnknownCommandNamesTheNearest) {
  EXPECT_ONE_LINE_ERROR(r1_run({"generat"}), "did you mean generate?");
  EXPECT_ONE_LINE_ERROR(r1_run({"xyzzy"}), "unknown command xyzzy");
  EXPECT_ONE_LINE_ERROR(r1_run({"--json", "run"}), "unknown option --json");
}

TEST(CliErrors, UnknownOrMissingOptions) {
  EXPECT_ONE_LINE_ERROR(r1_run({"run", "--temprature", "1"}), "--temprature (did you mean --temperature?)");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", "--colour"}),
                        "unknown option --colour (r1 run --help lists the options)");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", "--temperature", "hot"}), "--temperature is hot; it must be a number");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", "--max-tokens", "1.5"}), "--max-tokens is 1.5; it must be an integer");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", "--max-tokens", "99999999999999999999"}),
                        "--max-tokens is 9999999999999999999");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", "--seed", "-1"}), "--seed is -1; it must be an integer from 0");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", "--threads", "1", "--seed"}), "--seed needs a value");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", "--seed", "1", "--seed", "2"}), "--seed is given more than once");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", "a", "b"}), "unexpected argument b");
  EXPECT_ONE_LINE_ERROR(r1_run({"generate", test::tiny_llama()}), "r1 generate needs --input");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", "--show-thinking", "--hide-thinking"}), "not both");
  EXPECT_ONE_LINE_ERROR(r1_run({"doctor", "--python", "python3"}),
                        "--python is only for --against-transformers");
}

TEST(CliErrors, OptionsOutOfRange) {
  const std::string model = test::tiny_llama();
  const auto with = [&](const std::string& option, const std::string& value) {
    return r1_run({"run", model, "--prompt-tokens", tokens_file(), "--json", option, value});
  };
  EXPECT_ONE_LINE_ERROR(with("--temperature", "-1"), "--temperature");
  EXPECT_ONE_LINE_ERROR(with("--temperature", "nan"), "--temperature");
  EXPECT_ONE_LINE_ERROR(with("--top-p", "0"), "--top-p");
  EXPECT_ONE_LINE_ERROR(with("--top-p", "1.5"), "--top-p");
  EXPECT_ONE_LINE_ERROR(with("--top-k", "-2"), "--top-k");
  EXPECT_ONE_LINE_ERROR(with("--min-p", "2"), "--min-p");
  EXPECT_ONE_LINE_ERROR(with("--max-tokens", "0"), "--max-tokens is 0; it must be at least 1");
  EXPECT_ONE_LINE_ERROR(with("--threads", "-3"), "--threads");
  EXPECT_ONE_LINE_ERROR(with("--threads", "100000"), "--threads is 100000; it must be between 1 and 1024");
  EXPECT_ONE_LINE_ERROR(with("--device", "tpu"), "--device tpu: unknown: the devices are cpu and cuda");
  EXPECT_ONE_LINE_ERROR(with("--device", "cuda:1"), "choose it with CUDA_VISIBLE_DEVICES");
  EXPECT_ONE_LINE_ERROR(with("--dtype", "int4"), "f32, bf16");
  EXPECT_ONE_LINE_ERROR(with("--numerics", "cpu-f16"), "cpu-f32, cpu-bf16, cpu-avx512bf16");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", model, "--prompt-tokens", tokens_file(), "--json", "--device", "cpu",
                                "--numerics", "cuda-bf16"}),
                        "run on a GPU alone: choose the device cuda");
  if (!machine_has(Numerics::cpu_avx512bf16)) {
    EXPECT_ONE_LINE_ERROR(with("--numerics", "cpu-avx512bf16"), "use cpu-bf16");
  }
  EXPECT_ONE_LINE_ERROR(with("--memory-limit", "2 chairs"), "is no size");
  EXPECT_ONE_LINE_ERROR(with("--memory-limit", "10K"), "--memory-limit");
}

TEST(CliErrors, MissingFiles) {
  const std::string gone = (scratch() / "gone.jsonl").string();
  EXPECT_ONE_LINE_ERROR(r1_run({"generate", test::tiny_llama(), "--input", gone, "--output", "-"}),
                        "gone.jsonl");
  EXPECT_ONE_LINE_ERROR(r1_run({"score", test::tiny_llama(), "--input", gone}), "gone.jsonl");
  EXPECT_ONE_LINE_ERROR(r1_run({"tokenize", test::tiny_llama(), "--input", gone}), "gone.jsonl");
  EXPECT_ONE_LINE_ERROR(r1_run({"verify", "--input", gone}), "gone.jsonl");
  EXPECT_ONE_LINE_ERROR(r1_run({"run", test::tiny_llama(), "--prompt-tokens", gone}), "gone.jsonl");
  EXPECT_ONE_LINE_ERROR(r1_run({"eval", test::tiny_llama(), "--task", gone}), "gone.jsonl");
  EXPECT_ONE_LINE_ERROR(r1_run({"pretrain", gone}), "gone.jsonl");
  EXPECT_ONE_LINE_ERROR(r1_run({"grpo", gone}), "gone.jsonl");
  EXPECT_ONE_LINE_ERROR(r1_run({"recipe", gone}), "gone.jsonl");
  EXPECT_ONE_LINE_ERROR(
      r1_run({"generate", test::tiny_llama(), "--input", write("ok.jsonl", "{\"tokens\":[0]}\n"), "--output",
              (scratch() / "no/such/folder/out.jsonl").string()}),
      "no/such/folder");
}

TEST(CliErrors, MalformedAndUnknownConfiguration) {
  EXPECT_ONE_LINE_ERROR(r1_run({"grpo", write("bad.toml", "name = \"x\"\nseed = = 3\n")}), "bad.toml:2");
  const std::string unknown = "name = \"x\"\nout = \"" + (scratch() / "run-unknown").string() +
                              "\"\nmodel = \"" + test::tiny_llama() +
                              "\"\n[rollout]\nmax_token = 5\n[optimizer]\nsteps = 1\n";
  const auto result = r1_run({"grpo", write("unknown.toml", unknown)});
  EXPECT_ONE_LINE_ERROR(result, "rollout.max_token");
  EXPECT_NE(result.err.find("did you mean rollout.max_tokens?"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("unknown.toml:5"), std::string::npos) << result.err;
}

TEST(CliErrors, UnwritableRunDirectory) {
  const std::string blocked = write("blocked", "a file where a folder is wanted");
  const std::string config =
      "name = \"x\"\nout = \"" + blocked + "/run\"\nmodel = \"" + test::tiny_llama() +
      "\"\n[rollout]\nprompts = 1\ngroup = 2\nmax_tokens = 4\n[optimizer]\nsteps = 1\nlr = 1e-4\n";
  EXPECT_ONE_LINE_ERROR(r1_run({"grpo", write("blocked.toml", config)}), "blocked");
}

TEST(CliErrors, BadRowsAreReportedAndTheRestGoOn) {
  const std::string input =
      write("mixed.jsonl",
            "{\"tokens\":[0,70]}\n{\"tokens\":[0,70]\n{\"prompt\":5}\n{}\n{\"prompt\":\"a\",\"tokens\":[1]}\n"
            "{\"tokens\":[0,70],\"key\":[1,2]}\n\n{\"tokens\":[0,71]}\n");
  const auto result =
      r1_run({"generate", test::tiny_llama(), "--input", input, "--output", "-", "--max-tokens", "2"});
  EXPECT_EQ(result.status, 2);
  const auto rows = test::rows_of(result.out);
  ASSERT_EQ(rows.size(), 7u) << result.out;
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].get_int("row"), static_cast<int64_t>(i));
    EXPECT_EQ(rows[i].contains("error"), i != 0 && i != 6) << rows[i].dump();
  }
  EXPECT_NE(rows[1].get_string("error").find("mixed.jsonl:2"), std::string::npos) << result.out;
  EXPECT_NE(rows[2].get_string("error").find("prompt"), std::string::npos) << result.out;
}

TEST(CliErrors, TheInputIsNeverOverwritten) {
  const std::string text = "{\"tokens\":[0,70]}\n";
  const std::string input = write("precious.jsonl", text);
  EXPECT_ONE_LINE_ERROR(r1_run({"generate", test::tiny_llama(), "--input", input, "--output", input}),
                        "precious.jsonl");
  EXPECT_ONE_LINE_ERROR(r1_run({"score", test::tiny_llama(), "--input", input, "--logprobs", input}),
                        "precious.jsonl");
  EXPECT_EQ(read_file(input), text);
}

TEST(CliErrors, FullOrClosedStandardOutput) {
  const std::vector<std::string> command{
      "run", test::tiny_llama(), "--prompt-tokens", tokens_file(), "--json", "--max-tokens", "2"};
  EXPECT_ONE_LINE_ERROR(r1_run(command, "", "/dev/full"), "standard output");
  EXPECT_ONE_LINE_ERROR(r1_run(command, "", test::kClosed), "standard output");
  EXPECT_ONE_LINE_ERROR(r1_run({"verify", "--input", "-"}, "{\"gold\":\"1\",\"pred\":\"1\"}\n", "/dev/full"),
                        "standard output");
}

}  // namespace
}  // namespace r1::errors_test
