// tests/cli/cli_test_util.h: runs the program as a user does, on a tiny random model made on the spot.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"
#include "model/model.h"
#include "text/bpe_trainer.h"
#include "text/tokenizer.h"

extern char** environ;

namespace r1::test {

namespace fs = std::filesystem;

// A folder of this process's own, removed at its end.
inline const fs::path& scratch() {
  struct Folder {
    fs::path path = fs::temp_directory_path() / ("r1-cli-test-" + std::to_string(::getpid()));
    Folder() { fs::create_directories(path); }
    ~Folder() {
      std::error_code ignored;
      fs::remove_all(path, ignored);
    }
  };
  static const Folder folder;
  return folder.path;
}

inline std::string write(const std::string& name, const std::string& text) {
  const fs::path path = scratch() / name;
  FileWriter out(path);
  out.write(text);
  out.close();
  return path.string();
}

struct Result {
  int status = -1;  // exit status; 128 + signal where one ended it
  std::string out, err;
  int64_t peak_mib = 0;  // the most resident memory
};

// Standard output goes to `stdout_to` where that is given (a device, say, or kClosed), else into the result.
// Standard input comes from `stdin_from` if that is given, else from a file with `input`.
inline constexpr const char* kClosed = "closed";

// A program that is at work; its standard streams are files of scratch() whose names begin with `streams`.
struct Started {
  pid_t pid = 0;
  std::string out, err;  // paths
};

inline Started start(std::vector<std::string> words, const std::string& streams,
                     const std::string& input = "", const std::string& stdout_to = "",
                     const std::string& stdin_from = "") {
  const std::string in = stdin_from.empty() ? write(streams + "stdin", input) : stdin_from;
  Started started;
  started.out =
      stdout_to.empty() || stdout_to == kClosed ? (scratch() / (streams + "stdout")).string() : stdout_to;
  started.err = (scratch() / (streams + "stderr")).string();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, in.c_str(), O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, started.out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_addopen(&actions, 2, started.err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (stdout_to == kClosed) posix_spawn_file_actions_addclose(&actions, 1);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const int rc = ::posix_spawn(&started.pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  R1_CHECK(rc == 0, "cannot start ", words[0], ": ", rc);
  return started;
}

inline Result finish(const Started& started) {
  int status = 0;
  rusage usage{};
  R1_CHECK(::wait4(started.pid, &status, 0, &usage) == started.pid, "wait4");
  Result result;
  result.peak_mib = usage.ru_maxrss / 1024;
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (fs::is_regular_file(started.out)) result.out = read_file(started.out);
  result.err = read_file(started.err);
  return result;
}

inline constexpr const char* kNoSeed = "no seed";  // among the arguments of `r1 run`: let it draw one

// r1 with these arguments. One thread unless the test is about threads: tests run beside others. `r1 run`
// draws a random seed if it is given none; a test that depends on what a random model writes would then fail
// once in a while.
inline std::vector<std::string> r1_words(const std::vector<std::string>& arguments) {
  std::vector<std::string> words{R1_BINARY};
  words.insert(words.end(), arguments.begin(), arguments.end());
  // These commands run no model.
  constexpr const char* kWithoutThreads[] = {"tokenize", "template", "verify", "report", "schema",
                                             "data",     "samples",  "pull",   "list",   "rm"};
  const auto has = [&](const char* word) {
    return std::find(words.begin(), words.end(), word) != words.end();
  };
  if (arguments.size() > 1 && !has("--threads") && !has("--help") &&
      std::ranges::find(kWithoutThreads, arguments[0]) == std::end(kWithoutThreads))
    words.insert(words.end(), {"--threads", "1"});
  if (arguments.size() > 1 && arguments[0] == "run" && !has("--help") && !has("--seed") && !has(kNoSeed))
    words.insert(words.end(), {"--seed", "1"});
  std::erase(words, kNoSeed);
  return words;
}

inline Result r1_run(const std::vector<std::string>& arguments, const std::string& input = "",
                     const std::string& stdout_to = "", const std::string& stdin_from = "") {
  return finish(start(r1_words(arguments), "", input, stdout_to, stdin_from));
}

inline Json llama_config(int64_t vocab) {
  Json json = Json::object();
  json.set("model_type", "llama").set("architectures", Json::array().push_back("LlamaForCausalLM"));
  json.set("vocab_size", vocab)
      .set("hidden_size", 32)
      .set("intermediate_size", 48)
      .set("num_hidden_layers", 2);
  json.set("num_attention_heads", 4).set("num_key_value_heads", 2).set("head_dim", 8);
  json.set("max_position_embeddings", 256).set("rms_norm_eps", 1e-5).set("rope_theta", 10000.0);
  json.set("tie_word_embeddings", false)
      .set("initializer_range", 0.4)
      .set("bos_token_id", 0)
      .set("eos_token_id", 1);
  return json;
}

inline Json deepseek_config(int64_t vocab) {
  Json json = Json::object();
  json.set("model_type", "deepseek_v3")
      .set("architectures", Json::array().push_back("DeepseekV3ForCausalLM"));
  json.set("vocab_size", vocab)
      .set("hidden_size", 32)
      .set("intermediate_size", 48)
      .set("moe_intermediate_size", 16);
  json.set("num_hidden_layers", 2).set("first_k_dense_replace", 1);
  json.set("num_attention_heads", 4).set("num_key_value_heads", 4);
  json.set("q_lora_rank", nullptr).set("kv_lora_rank", 16);
  json.set("qk_nope_head_dim", 8).set("qk_rope_head_dim", 4).set("v_head_dim", 8);
  json.set("n_routed_experts", 8).set("num_experts_per_tok", 2).set("n_shared_experts", 1);
  json.set("n_group", 1).set("topk_group", 1).set("norm_topk_prob", true).set("routed_scaling_factor", 1.0);
  json.set("scoring_func", "sigmoid").set("topk_method", "noaux_tc");
  json.set("max_position_embeddings", 256).set("rms_norm_eps", 1e-6).set("rope_theta", 10000.0);
  json.set("tie_word_embeddings", true)
      .set("initializer_range", 0.4)
      .set("bos_token_id", 0)
      .set("eos_token_id", 1);
  return json;
}

// Stretched by YaRN from 16 positions: every prompt runs beyond those.
inline Json qwen3_config(int64_t vocab) {
  Json json = llama_config(vocab);
  json.set("model_type", "qwen3").set("architectures", Json::array().push_back("Qwen3ForCausalLM"));
  json.set("head_dim", 10).set("tie_word_embeddings", true);
  json.set("rope_scaling", Json::object()
                               .set("rope_type", "yarn")
                               .set("factor", 16.0)
                               .set("original_max_position_embeddings", 16));
  return json;
}

inline constexpr const char* kTemplate =
    "{{ bos_token }}{% for message in messages %}<|User|>{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|>{% endif %}";

// A new directory with random weights and a tokenizer of bytes and a few pairs.
inline fs::path make_model(const std::string& name, Json (*config)(int64_t vocab) = llama_config) {
  BpeTrainerOptions options;
  options.vocab_size = 300;
  options.added = {{"<bos>"},         {"<eos>"},          {"<|User|>"},
                   {"<|Assistant|>"}, {"<think>", false}, {"</think>", false}};
  options.bos = "<bos>";
  BpeTrainer trainer(options);
  trainer.feed(
      "Use 3, 5 and 7 to make 24. Use 1 2 3 to make 6. <think>3*5=15, 15+7=22 "
      "no</think><answer>3*(1+7)</answer>");
  trainer.feed("Using the numbers 4, 8 and 2, make 16. The numbers to use make the target.");
  const fs::path directory = scratch() / name;
  fs::create_directories(directory);
  TokenizerFiles files;
  files.tokenizer = trainer.train();
  files.bos = "<bos>";
  files.eos = "<eos>";
  files.chat_template = kTemplate;
  write_tokenizer(directory, files);
  const int64_t vocab = Tokenizer::load(directory).vocab_size();
  Model::create(read_model_config(parse_json(config(vocab).dump(), "tiny")), 7).save(directory, DType::f32);
  return directory;
}

// A model that answers every prompt of its template with `text`, then ends: each token of the text names the
// next one. The text may hold no token twice, and the template's prompt ends with a token that is not in it.
inline fs::path make_scripted_model(const std::string& name, const std::string& text,
                                    const std::string& chat_template = kTemplate) {
  const fs::path directory = make_model(name, [](int64_t vocab) {
    Json json = llama_config(vocab);
    json.set("hidden_size", 64).set("max_position_embeddings", 512);
    return json;
  });
  Json config = read_json(directory / "tokenizer_config.json");
  config.set("chat_template", chat_template);
  write_file_atomically(directory / "tokenizer_config.json", config.dump(2));
  const Tokenizer tokenizer = Tokenizer::load(directory);
  std::vector<int32_t> script = tokenizer.encode(text, false);
  script.push_back(*tokenizer.id_of("<eos>"));
  R1_CHECK(script.size() < 60, "the script is too long");
  Model model = Model::load(directory);
  for (Parameter& p : model.parameters()) {
    const std::span<float> values = p.value.values();
    if (p.name.ends_with("o_proj.weight") || p.name.ends_with("down_proj.weight"))
      std::ranges::fill(values, 0.0f);
    if (p.name != "model.embed_tokens.weight" && p.name != "lm_head.weight") continue;
    // Direction 0 belongs to every token that is not in the script, direction i + 1 to its token i.
    const bool embeds = p.name == "model.embed_tokens.weight";
    std::ranges::fill(values, 0.0f);
    for (int64_t id = 0; embeds && id < p.value.dim(0); ++id) values[static_cast<size_t>(id * 64)] = 1.0f;
    for (size_t i = 0; i < script.size(); ++i) {
      float* row = values.data() + static_cast<size_t>(script[i]) * 64;
      R1_CHECK(row[embeds ? i + 1 : i] == 0.0f, "a token twice");
      if (embeds) row[0] = 0.0f;
      row[embeds ? i + 1 : i] = embeds ? 1.0f : 30.0f;
    }
  }
  model.save(directory, DType::f32);
  return directory;
}

// Made once; tests that change files make their own.
inline std::string tiny_llama() {
  static const std::string path = make_model("tiny-llama").string();
  return path;
}
inline std::string tiny_deepseek() {
  static const std::string path = make_model("tiny-deepseek", deepseek_config).string();
  return path;
}
inline std::string tiny_qwen3() {
  static const std::string path = make_model("tiny-qwen3", qwen3_config).string();
  return path;
}

inline std::vector<Json> rows_of(const std::string& jsonl) {
  std::vector<Json> rows;
  size_t begin = 0;
  while (begin < jsonl.size()) {
    const size_t end = jsonl.find('\n', begin);
    rows.push_back(parse_json(jsonl.substr(begin, end - begin), "output"));
    begin = end == std::string::npos ? jsonl.size() : end + 1;
  }
  return rows;
}

// "r1: ...", one line, exit status 2.
#define EXPECT_ONE_LINE_ERROR(result, needle)                                                           \
  do {                                                                                                  \
    const ::r1::test::Result& r1_result = (result);                                                     \
    EXPECT_EQ(r1_result.status, 2) << r1_result.err;                                                    \
    EXPECT_TRUE(r1_result.err.starts_with("r1: ")) << r1_result.err;                                    \
    EXPECT_EQ(r1_result.err.find('\n') + 1, r1_result.err.size()) << "not one line: " << r1_result.err; \
    EXPECT_NE(r1_result.err.find(needle), std::string::npos) << r1_result.err << "lacks: " << (needle); \
  } while (0)

}  // namespace r1::test
