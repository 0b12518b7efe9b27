// The promises of each command except `r1 run` about its output.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "formats/safetensors.h"
#include "tests/cli/cli_test_util.h"
#include "tests/formats/gguf_builder.h"

namespace r1::commands_test {
namespace {

using test::r1_run;
using test::scratch;
using test::write;

TEST(CliTokenize, BackAndForth) {
  const std::string texts =
      "{\"text\":\"Use 3, 5 and 7 \\u00e9\\ud83d\\ude00\"}\n{\"text\":\"\"}\n{\"text\":4}\n";
  for (const std::string& model : {test::tiny_llama(), test::tiny_llama() + "/tokenizer.json"}) {
    const auto ids = r1_run({"tokenize", model, "--input", "-", "--json"}, texts);
    EXPECT_EQ(ids.status, 2) << "the third row has no text";
    const auto rows = test::rows_of(ids.out);
    ASSERT_EQ(rows.size(), 3u) << ids.out;
    EXPECT_NE(rows[0].at("tokens").at(0).integer(), 0) << "no token may be added";
    EXPECT_EQ(rows[1].at("tokens").size(), 0u);
    EXPECT_EQ(rows[2].get_int("row"), 2);
    const auto text = r1_run({"tokenize", model, "--input", "-", "--decode"}, rows[0].dump() + "\n");
    EXPECT_EQ(text.status, 0) << text.err;
    EXPECT_EQ(parse_json(text.out, "text").get_string("text"), "Use 3, 5 and 7 \u00e9\U0001F600");
  }
}

// A GGUF file serves both commands without its weights.
TEST(CliTokenize, TakesAGgufFile) {
  GgufBuilder builder;
  builder.set("tokenizer.ggml.model", "gpt2")
      .set("tokenizer.ggml.pre", "gpt-2")
      .set("tokenizer.ggml.bos_token_id", 3);
  builder.set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "ab", "<s>"});
  builder.set("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 1, 3});
  builder.set("tokenizer.ggml.merges", std::vector<std::string>{"a b"})
      .set("tokenizer.ggml.add_bos_token", true);
  builder.set("tokenizer.chat_template", "{{ bos_token }}[{{ messages[0].content }}]");
  const std::string file = write("m.gguf", builder.file());
  const auto ids =
      r1_run({"tokenize", file, "--input", "-", "--add-special-tokens"}, "{\"text\":\"abba\"}\n");
  EXPECT_EQ(ids.status, 0) << ids.err;
  EXPECT_EQ(parse_json(ids.out, "out").dump(), R"({"tokens":[3,2,1,0]})");
  const auto text =
      r1_run({"template", file, "--input", "-"}, R"({"messages":[{"role":"user","content":"hi"}]})"
                                                 "\n");
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_EQ(parse_json(text.out, "out").get_string("rendered"), "<s>[hi]");
  EXPECT_ONE_LINE_ERROR(
      r1_run({"tokenize", write("cut.gguf", builder.file().substr(0, 90)), "--input", "-"}, ""),
      "cut.gguf: ");
}

TEST(CliTokenize, EveryBadRowSaysWhatIsWrongWithIt) {
  const std::string file = test::tiny_llama() + "/tokenizer.json";
  const auto check = [&](std::vector<std::string> flags, const std::string& row, const std::string& wanted) {
    flags.insert(flags.begin(), {"tokenize", file, "--input", write("rows.jsonl", row + "\n")});
    const auto result = r1_run(flags);
    EXPECT_EQ(result.status, 2) << row;
    const auto rows = test::rows_of(result.out);
    ASSERT_EQ(rows.size(), 1u) << row << result.err;
    EXPECT_EQ(rows[0].get_int("row"), 0);
    EXPECT_NE(rows[0].get_string("error").find(wanted), std::string::npos) << rows[0].dump();
  };
  check({}, R"({"txt": "a"})", "rows.jsonl:1: txt is not a known field (did you mean text?)");
  check({}, R"({"text": "a", "colour": 1})", "colour is not a known field; the known fields are text and id");
  check({}, "{\"text\": \"a\xFF\"}", "UTF-8");
  check({}, R"({"text": "\ud800"})", "rows.jsonl:1");
  check({}, R"(["text"])", "it must be an object");
  check({"--decode"}, R"({"tokens": [1, 999999]})", "tokens[1] is 999999; the vocabulary has the ids 0 to ");
  check({"--decode"}, R"({"tokens": [-1]})", "tokens[0] is -1");
  check({"--decode"}, R"({"tokens": [5000000000]})", "tokens[0] is 5000000000");
  check({"--decode"}, R"({"tokens": [99999999999999999999]})", "tokens[0]");
  check({"--decode"}, R"({"tokens": [1.5]})", "tokens[0]");
  check({"--decode"}, R"({"tokens": [1], "text": "a"})", "text is not a known field");
}

TEST(CliTokenize, SpecialTokensAreAddedSplitAndSkipped) {
  const std::string file = test::tiny_llama() + "/tokenizer.json";
  const auto answer = [&](std::vector<std::string> flags, const std::string& row) {
    flags.insert(flags.begin(), {"tokenize", file, "--input", "-"});
    const auto result = r1_run(flags, row + "\n");
    EXPECT_EQ(result.status, 0) << result.err;
    return parse_json(result.out, "answer");
  };
  const Tokenizer tokenizer = Tokenizer::load(file);
  const auto ids = [](const std::vector<int32_t>& tokens) { return Json::array_of(tokens); };
  const std::string text = R"({"text": "<|User|>hi"})";
  EXPECT_EQ(answer({}, text).at("tokens"), ids(tokenizer.encode("<|User|>hi", false)));
  EXPECT_EQ(answer({"--add-special-tokens"}, text).at("tokens"), ids(tokenizer.encode("<|User|>hi", true)));
  EXPECT_EQ(answer({"--split-special-tokens"}, text).at("tokens"),
            ids(tokenizer.encode("<|User|>hi", false, Tokenizer::Special::as_text)));
  EXPECT_EQ(answer({}, R"({"id": "a7", "text": ""})").get_string("id"), "a7");
  const std::string row = answer({}, text).dump();
  EXPECT_EQ(answer({"--decode"}, row).get_string("text"), "<|User|>hi");
  EXPECT_EQ(answer({"--decode", "--skip-special-tokens"}, row).get_string("text"), "hi");
  EXPECT_ONE_LINE_ERROR(r1_run({"tokenize", file, "--input", "-", "--skip-special-tokens"}, row), "--decode");
}

TEST(CliTemplate, RendersByTheModelOrByAFile) {
  const std::string rows = R"({"messages":[{"role":"user","content":"hi"}]}
{"messages":[{"role":"user","content":"hi"}],"bos_token":"B","add_generation_prompt":false}
{"messages":4}
)";
  const auto result = r1_run({"template", test::tiny_llama(), "--input", "-"}, rows);
  EXPECT_EQ(result.status, 2);
  const auto out = test::rows_of(result.out);
  ASSERT_EQ(out.size(), 3u) << result.out;
  EXPECT_EQ(out[0].get_string("rendered"), "<bos><|User|>hi<|Assistant|>");
  EXPECT_EQ(out[1].get_string("rendered"), "B<|User|>hi");
  EXPECT_TRUE(out[2].contains("error")) << result.out;
  const auto file =
      r1_run({"template", write("chat.jinja", "{{ eos_token }}!{{ messages[0].content }}"), "--input", "-"},
             "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"eos_token\":\"E\"}\n");
  EXPECT_EQ(file.status, 0) << file.err;
  EXPECT_EQ(parse_json(file.out, "file").get_string("rendered"), "E!hi");
  EXPECT_ONE_LINE_ERROR(r1_run({"template", write("broken.jinja", "{% if %}"), "--input", "-"}, rows),
                        "broken.jinja");
}

TEST(CliTemplate, FurtherFieldsAreVariables) {
  const std::string file =
      write("kwargs.jinja", "{{ enable_thinking }} {{ a }} {{ n }} {{ documents[0].t }} {{ tools is none }}");
  const auto result =
      r1_run({"template", file, "--input", "-"},
             R"({"messages":[{"role":"user"}],"enable_thinking":false,"chat_template_kwargs":{"a":1.0},)"
             R"("n":[1e3,12345678901234567890],"documents":[{"t":2}]}
{"messages":[{"role":"user"}],"a":1,"chat_template_kwargs":{"a":2}}
)");
  const auto out = test::rows_of(result.out);
  ASSERT_EQ(out.size(), 2u) << result.out;
  EXPECT_EQ(out[0].get_string("rendered"), "False 1.0 [1000.0, 12345678901234567890] 2 True");
  EXPECT_NE(out[1].get_string("error").find("a is given"), std::string::npos) << result.out;
}

TEST(CliTemplate, TheDateCanBeFixed) {
  const std::string row = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n";
  const std::string file = write("date.jinja", "{{ strftime_now('%d %b %Y') }}");
  const auto result = r1_run({"template", file, "--input", "-", "--date", "2025-01-20"}, row);
  EXPECT_EQ(test::rows_of(result.out)[0].get_string("rendered"), "20 Jan 2025");
  for (const char* date : {"2025-02-30", "20 Jan 2025", "2025-1-2", "2025-01-20T00:00"}) {
    EXPECT_ONE_LINE_ERROR(r1_run({"template", file, "--input", "-", "--date", date}, row), "YYYY-MM-DD");
  }
}

TEST(CliTemplate, ToolsChooseToolUse) {
  const std::filesystem::path directory = scratch() / "named-templates";
  std::filesystem::create_directories(directory);
  write(
      "named-templates/tokenizer_config.json",
      R"({"chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]})");
  const auto result = r1_run({"template", directory.string(), "--input", "-"},
                             R"({"messages":[{"role":"user"}]}
{"messages":[{"role":"user"}],"tools":[{"type":"function","function":{"name":"add"}}]}
)");
  const auto out = test::rows_of(result.out);
  ASSERT_EQ(out.size(), 2u) << result.out << result.err;
  EXPECT_EQ(out[0].get_string("rendered"), "D");
  EXPECT_EQ(out[1].get_string("rendered"), "T");
}

TEST(CliVerify, ExpressionsAndResponses) {
  const auto result = r1_run({"verify", "--input", "-"}, R"J({"gold":"24","pred":"3*(1+7)"}
{"gold":24,"pred":"3*8","options":{"numbers":[3,1,7]}}
{"gold":{"numbers":[3,1,7],"target":24},"pred":"<think>x</think><answer>3*(1+7)</answer>"}
{"gold":{"numbers":[3,1,7],"target":24},"pred":"3*(1+7)"}
{"gold":"","pred":"1"}
{"reward":"format","text":"<think>a</think><answer>b</answer>"}
{"gold":"-3","pred":"1-4"}
)J");
  EXPECT_EQ(result.status, 2);
  const auto rows = test::rows_of(result.out);
  ASSERT_EQ(rows.size(), 7u) << result.out;
  EXPECT_TRUE(rows[0].get_bool("correct"));
  EXPECT_EQ(rows[0].get_string("why"), "ok");
  EXPECT_FALSE(rows[1].get_bool("correct"));
  EXPECT_EQ(rows[1].get_string("why"), "number_not_given");
  EXPECT_TRUE(rows[2].get_bool("correct"));
  EXPECT_FALSE(rows[3].get_bool("correct"));
  EXPECT_EQ(rows[4].get_int("row"), 4);
  EXPECT_TRUE(rows[4].contains("error"));
  EXPECT_EQ(rows[5].get_number("score"), 1.0);
  EXPECT_TRUE(rows[6].get_bool("correct"));
}

TEST(CliVerify, RowsWithoutATaskAreFreeText) {
  const auto result = r1_run({"verify", "--input", "-"},
                             R"J({"gold":"\\frac{1}{2}","pred":"<think>1 or 2?</think>It is \\boxed{0.5}."}
{"gold":"72","pred":"48+24 = 72\n#### 72"}
{"gold":"72","pred":"The answer is 71."}
{"gold":"[0,1)","pred":"$[0, 1)$"}
{"gold":"x","pred":"1"}
{"gold":"40","pred":"40%","options":{"percent":"value"}}
{"gold":"1/3","pred":"0.3333","options":{"precision":4,"match_types":["latex","expr"],"language":"Language.ENGLISH"}}
{"gold":"B","pred":"Therefore I think it's B","options":{"match_types":["NativeLetters"]}}
{"gold":"7","pred":"hm, 7","prompt_opened":true}
{"gold":"7","pred":"hm</think>7","prompt_opened":true}
{"gold":"7","pred":"7","options":{"precison":4}}
{"gold":"24","pred":"3*8","options":{"numbers":[3,8],"precision":4}}
)J");
  EXPECT_EQ(result.status, 2);
  const auto rows = test::rows_of(result.out);
  ASSERT_EQ(rows.size(), 12u) << result.out;
  for (const size_t i : {0, 1, 3, 6, 7, 9}) EXPECT_TRUE(rows[i].get_bool("correct")) << i << result.out;
  EXPECT_EQ(rows[2].get_string("why"), "wrong_value");
  EXPECT_EQ(rows[4].get_string("why"), "wrong_value");
  EXPECT_EQ(rows[5].get_string("why"), "wrong_value");
  EXPECT_EQ(rows[8].get_string("why"), "no_answer") << "a thought that does not end has no answer";
  EXPECT_NE(rows[10].get_string("error").find("precison"), std::string::npos) << result.out;
  EXPECT_NE(rows[11].get_string("error").find("together with numbers"), std::string::npos) << result.out;
}

TEST(CliVerify, RowsMayNameATask) {
  const auto result =
      r1_run({"verify", "--input", "-"},
             R"J({"task":"arithmetic","gold":"-7","pred":"<think>x</think><answer>-7</answer>"}
{"task":"arithmetic:3","gold":-7,"pred":"<think>x</think><answer>7</answer>"}
{"task":"equations","gold":{"unknown":"x","value":"7/2"},"pred":"<think>x</think><answer>x = 3.5</answer>"}
{"task":"base_conversion","gold":{"base":16,"digits":"ff"},"pred":"<think></think><answer>FF</answer>"}
{"task":"calendar","gold":{"weekday":"Friday"},"pred":"<think></think><answer>friday</answer>"}
{"task":"knights_knaves","gold":{"Ann":"knight","Bob":"knave"},"pred":"<think></think><answer>Bob is a knave, Ann is a knight</answer>"}
{"task":"countdown3","gold":{"numbers":[3,1,7],"target":24},"pred":"<think>x</think><answer>3*(1+7)</answer>"}
{"task":"sequences","gold":"5","pred":"5"}
{"task":"sequence","gold":"5","pred":"5"}
{"task":"sequences","gold":"five","pred":"5"}
{"task":"sequences","gold":"5","pred":"5","options":{"numbers":[5]}}
)J");
  EXPECT_EQ(result.status, 2);
  const auto rows = test::rows_of(result.out);
  ASSERT_EQ(rows.size(), 11u) << result.out;
  for (const size_t i : {0, 2, 3, 4, 5, 6}) EXPECT_TRUE(rows[i].get_bool("correct")) << i << result.out;
  EXPECT_EQ(rows[1].get_string("why"), "wrong_value");
  EXPECT_EQ(rows[7].get_string("why"), "no_think");
  EXPECT_NE(rows[8].get_string("error").find("did you mean sequences?"), std::string::npos) << result.out;
  EXPECT_NE(rows[9].get_string("error").find("gold"), std::string::npos) << result.out;
  EXPECT_NE(rows[10].get_string("error").find("options"), std::string::npos) << result.out;
}

TEST(CliVerify, AnUnknownFieldIsAnErrorThatNamesTheNearestKnownOne) {
  const auto result = r1_run({"verify", "--input", "-"}, R"J({"gold":"24","pred":"24"}
{"gold":"24","prde":"24"}
{"gold":"24","pred":"24","opts":{}}
{"task":"arithmetic","gold":"7","pred":"<think></think><answer>7</answer>","comment":"x"}
{"reward":"format","txt":"x"}
{"reward":"format","text":"<think></think><answer>7</answer>","gold":"7"}
{"gold":"24","pred":"24"}
)J");
  EXPECT_EQ(result.status, 2);
  const auto rows = test::rows_of(result.out);
  ASSERT_EQ(rows.size(), 7u) << result.out;
  for (const size_t i : {0, 6}) EXPECT_TRUE(rows[i].get_bool("correct")) << i;
  EXPECT_EQ(rows[1].get_int("row"), 1);
  EXPECT_EQ(rows[1].get_string("error"), "unknown field prde (did you mean pred?)");
  EXPECT_TRUE(rows[2].get_string("error").starts_with("unknown field opts (")) << result.out;
  EXPECT_EQ(rows[3].get_string("error"),
            "unknown field comment (known: task, gold, pred, options, prompt_opened)");
  EXPECT_EQ(rows[4].get_string("error"), "unknown field txt (did you mean text?)");
  EXPECT_TRUE(rows[5].get_string("error").starts_with("unknown field gold (")) << result.out;
}

TEST(CliVerify, GoldsAreReadAsTheyAreWritten) {
  const auto result =
      r1_run({"verify", "--input", "-"},
             R"J({"gold":123456789012345678901234567890,"pred":"123456789012345678901234567890"}
{"gold":123456789012345678901234567890,"pred":"123456789012345678901234567891"}
{"gold":0.1000,"pred":"1/10"}
{"gold":"0.4","pred":".4"}
{"task":"arithmetic","gold":"073","pred":"<think>x</think><answer>73</answer>"}
{"task":"arithmetic","gold":"7425000","pred":"<think>x</think>\\boxed{7,425,000}"}
)J");
  EXPECT_EQ(result.status, 0) << result.out;
  const auto rows = test::rows_of(result.out);
  ASSERT_EQ(rows.size(), 6u) << result.out;
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(rows[i].get_bool("correct"), i != 1) << i << result.out;
}

std::vector<float> tensor(const SafetensorsFile& file, const std::string& name, std::vector<int64_t> shape) {
  const TensorInfo* info = file.find(name);
  if (info == nullptr) {
    ADD_FAILURE() << "no tensor " << name;
    return {};
  }
  EXPECT_EQ(info->shape, shape) << name;
  std::vector<float> values(static_cast<size_t>(info->count()));
  read_as_f32(file, *info, values);
  return values;
}

TEST(CliScore, LogitsAndLogProbsAgree) {
  const std::string out = (scratch() / "logits.safetensors").string(),
                    last = (scratch() / "last.safetensors").string();
  const std::string logprobs = (scratch() / "lp.jsonl").string();
  const std::string input = write("score.jsonl",
                                  "{\"tokens\":[0,70,71,72,90,91]}\n{\"tokens\":[0,1,2],\"from\":9}\n{"
                                  "\"tokens\":[5,6,7],\"from\":2}\n{\"tokens\":[8]}\n");
  const auto result =
      r1_run({"score", test::tiny_llama(), "--input", input, "--output", out, "--logprobs", logprobs});
  EXPECT_EQ(result.status, 2) << "the second row is bad";
  const auto rows = test::rows_of(read_file(logprobs));
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_TRUE(rows[1].contains("error"));
  EXPECT_EQ(rows[2].at("logprobs").size(), 1u);
  EXPECT_EQ(rows[3].at("logprobs").size(), 0u);
  const SafetensorsFile file(out);
  EXPECT_EQ(file.tensors().size(), 3u);
  const int64_t V = read_json(test::tiny_llama() + "/config.json").get_int("vocab_size");
  const std::vector<float> logits = tensor(file, "logits.0", {6, V});
  tensor(file, "logits.2", {3, V});
  tensor(file, "logits.3", {1, V});
  const std::vector<int> tokens{0, 70, 71, 72, 90, 91};
  for (size_t t = 0; t + 1 < tokens.size(); ++t) {
    double sum = 0;
    const float* z = logits.data() + t * static_cast<size_t>(V);
    for (int64_t n = 0; n < V; ++n) sum += std::exp(static_cast<double>(z[n]));
    const double want = static_cast<double>(z[tokens[t + 1]]) - std::log(sum);
    const double got = std::strtod(rows[0].at("logprobs").at(t).string().c_str(), nullptr);
    EXPECT_NEAR(got, want, 1e-4) << "token " << t;
  }
  ASSERT_EQ(
      r1_run({"score", test::tiny_llama(), "--input", input, "--output", last, "--logits-last", "2"}).status,
      2);
  const SafetensorsFile tail(last);
  const std::vector<float> two = tensor(tail, "logits.0", {2, V});
  EXPECT_TRUE(std::equal(two.begin(), two.end(), logits.end() - 2 * V));
}

// The same model as a GGUF file and as a directory: equal log-probs, sampled and scored, in f32 and in bf16.
TEST(CliScore, AGgufFileGivesTheBitsOfItsDirectory) {
  for (const char* name :
       {"llama-llama3", "qwen2-yarn", "qwen3-tied", "deepseek2-groups", "deepseek2-split"}) {
    const std::string gguf = std::string(R1_SOURCE_DIR) + "/tests/golden/gguf/" + name + ".gguf";
    const std::string directory = (scratch() / (std::string("from-gguf-") + name)).string();
    std::filesystem::create_directories(directory);
    Model::load(gguf).save(directory, DType::f32);
    const std::string input =
        write("gguf-score.jsonl", "{\"tokens\":[5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]}\n");
    for (const char* dtype : {"f32", "bf16"}) {
      const auto bits = [&](const std::string& model) {
        const std::string out = (scratch() / "gguf-lp.jsonl").string();
        const auto result = r1_run({"score", model, "--input", input, "--logprobs", out, "--dtype", dtype});
        EXPECT_EQ(result.status, 0) << result.err;
        return test::rows_of(read_file(out)).at(0).at("logprobs").dump();
      };
      EXPECT_EQ(bits(gguf), bits(directory)) << name << " " << dtype;
    }
    const std::string sampled = (scratch() / "gguf-generated.jsonl").string();
    const auto result = r1_run(
        {"generate", gguf, "--input", input, "--output", sampled, "--max-tokens", "4", "--ignore-eos"});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(test::rows_of(read_file(sampled)).at(0).at("tokens").size(), 4u) << name;
  }
}

// The file's gradient is that of the loss that the file states: a central difference on one weight must
// agree.
TEST(CliScore, GradientsMatchTheLoss) {
  for (const auto config : {test::llama_config, test::deepseek_config}) {
    const bool deepseek = config == test::deepseek_config;
    const auto model = test::make_model(deepseek ? "gradient-deepseek" : "gradient-llama", config);
    const std::string input =
        write("grad.jsonl", "{\"tokens\":[0,70,71,72,90,91]}\n{\"tokens\":[5,6,7,8],\"from\":3}\n");
    const std::string grads = (scratch() / "grads.safetensors").string();
    const auto loss_at = [&] {
      const auto result = r1_run({"score", model.string(), "--input", input, "--gradients", grads});
      EXPECT_EQ(result.status, 0) << result.err;
      const SafetensorsFile file(grads);
      return static_cast<double>(tensor(file, "loss", {}).at(0));
    };
    const double loss = loss_at();
    const std::string name = "model.norm.weight";
    const std::vector<float> g = tensor(SafetensorsFile(grads), "grad." + name, {32});
    EXPECT_GT(loss, 0);
    Model weights = Model::load(model);
    for (Parameter& p : weights.parameters()) {
      if (p.name == name) p.value.f32()[3] += 0.02f;
    }
    weights.save(model, DType::f32);
    const double up = loss_at();
    for (Parameter& p : weights.parameters()) {
      if (p.name == name) p.value.f32()[3] -= 0.04f;
    }
    weights.save(model, DType::f32);
    const double down = loss_at();
    EXPECT_NEAR((up - down) / 0.04, static_cast<double>(g[3]),
                2e-3 + 0.02 * std::fabs(static_cast<double>(g[3])));
    // Tied weights appear once; a router's selection bias has no gradient.
    const SafetensorsFile file(grads);
    EXPECT_EQ(file.find("grad.lm_head.weight") != nullptr, !deepseek);
    for (const TensorInfo& info : file.tensors())
      EXPECT_EQ(info.name.find("e_score_correction_bias"), std::string::npos);
  }
}

TEST(CliEval, ARowThatCannotBeReadIsCountedAndNamedAndTheRestGoOn) {
  const std::string bad = "{\"task\":\"arithmetic\",\"question\":\"Q\",\"gold\":\"seven\"}\n";
  const std::string file = write("spoilt.jsonl", "{\"question\":\"1+1?\",\"answer\":\"02\"}\n" + bad +
                                                     "{\"numbers\":[1,2],\"target\":3}\n");
  const auto result =
      r1_run({"eval", test::tiny_llama(), "--task", file, "--samples", "1", "--max-tokens", "4", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = parse_json(result.out, "eval");
  EXPECT_EQ(json.get_int("problems"), 2);
  EXPECT_EQ(json.get_int("rows_refused"), 1);
  EXPECT_TRUE(json.at("row_errors").at(0).string().starts_with(file + ":2: gold is no number")) << result.out;
  EXPECT_NE(
      result.err.find("r1: 1 of 3 rows cannot be used and are left out; the first: " + file + ":2: gold"),
      std::string::npos)
      << result.err;
  EXPECT_EQ(json.get_number("low"), 0.0);
  EXPECT_NEAR(json.get_number("high"), 0.657629, 1e-6) << "0 of 2: Wilson's";
}

TEST(CliEval, CountsEverySampleAndRepeats) {
  const std::string rows = (scratch() / "eval.jsonl").string();
  const std::vector<std::string> command{"eval", test::tiny_llama(), "--task", "countdown3", "--problems",
                                         "5",    "--samples",        "3",      "--json",     "--max-tokens",
                                         "8",    "--output",         rows};
  const auto result = r1_run(command);
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = parse_json(result.out, "eval");
  EXPECT_EQ(json.get_int("problems"), 5);
  EXPECT_EQ(json.get_number("pass_at_1"), 0.0) << "random weights solve nothing";
  EXPECT_LE(json.get_number("pass_at_1"), json.get_number("pass_at_3"));
  const std::string first = read_file(rows);
  EXPECT_EQ(test::rows_of(first).size(), 15u);
  EXPECT_EQ(r1_run(command).status, 0);
  EXPECT_EQ(read_file(rows), first);
  EXPECT_ONE_LINE_ERROR(r1_run({"eval", test::tiny_llama(), "--task", "countdwn3"}),
                        "did you mean countdown3?");
  EXPECT_ONE_LINE_ERROR(r1_run({"eval", test::tiny_llama(), "--task", "calendar:4"}),
                        "did you mean calendar:3?");
}

TEST(CliEval, KnowsEveryTask) {
  for (const char* task : {"arithmetic:1", "equations", "base_conversion", "calendar", "knights_knaves:2",
                           "sequences", "word_problems", "game24"}) {
    const auto result = r1_run({"eval", test::tiny_llama(), "--task", task, "--problems", "2", "--samples",
                                "1", "--max-tokens", "4", "--json"});
    ASSERT_EQ(result.status, 0) << task << result.err;
    EXPECT_EQ(parse_json(result.out, "eval").get_string("task"), task);
  }
}

}  // namespace
}  // namespace r1::commands_test
