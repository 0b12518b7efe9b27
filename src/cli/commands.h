// cli/commands.h: the options and the entry function of every subcommand. A subcommand returns the exit
// status: 0, or 2 if some rows of its input were bad (`r1 doctor`: 1 if a check failed). It throws Error if
// it cannot go on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace r1 {

struct CommonOptions {
  std::string device;        // "": the GPU if there is one; for a training, its configuration's
  std::string dtype;         // "": the checkpoint's
  std::string numerics;      // "": follows from dtype
  int64_t threads = 0;       // 0: all threads that the process may use
  std::string memory_limit;  // "2G"; empty: none
  int64_t lookahead = 7;     // most guesses per step (engine/lookahead.h); 0: none
  std::string kv_type;       // of keys and values: f32, bf16 or q8; "": the numerics' own
  std::string quantize;      // a type that the weights get when they are loaded; "": as they are
  bool json = false;
  std::string command_line;  // as it was typed, for messages that say how to resume
};

// Values that are not given come from the model's generation_config.json.
struct SamplingFlags {
  std::optional<double> temperature, top_p, min_p;
  std::optional<double> repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int64_t> top_k;
  std::optional<int64_t> max_tokens;
  uint64_t seed = 0;
  bool ignore_eos = false;
};

// The form that answers keep: two files and a regular expression; "": none.
struct GrammarFlags {
  std::string grammar, json_schema, regex;
  int given() const { return !grammar.empty() + !json_schema.empty() + !regex.empty(); }
};

struct RunOptions {
  CommonOptions common;
  SamplingFlags sampling;
  GrammarFlags grammar;
  std::string model;
  std::optional<std::string> prompt;
  std::string file;              // its text follows the prompt; "-": standard input
  std::string prompt_tokens;     // a file
  std::string system;            // "": none
  std::optional<uint64_t> seed;  // unset: a random one
  std::optional<int64_t> turns;  // earlier turns that the model is shown
  bool show_thinking = false, hide_thinking = false;
  bool verbose = false, no_history = false;
};
int run_run(const RunOptions& options);

struct GenerateOptions {
  CommonOptions common;
  SamplingFlags sampling;
  GrammarFlags grammar;
  std::string model, input, output;
  int64_t samples = 1;
  int64_t batch = 64;
  int64_t prefill_chunk = 2048;
  bool logprobs = false;
  std::string logprob_format;  // "hex" or "decimal"; "": hex
  bool resume = false;
};
int run_generate(const GenerateOptions& options);

struct ScoreOptions {
  CommonOptions common;
  std::string model, input;
  std::string output, logprobs, gradients;  // files; none given: log-probs to standard output
  double temperature = 1.0;
  std::optional<int64_t> logits_last;
  std::string logprob_format;  // "hex" or "decimal"; "": hex
  bool resume = false;
};
int run_score(const ScoreOptions& options);

struct ConvertOptions {
  CommonOptions common;  // dtype: the output's
  std::string model, output;
  bool no_tokenizer = false, keep_mtp = false, force = false;
};
int run_convert(const ConvertOptions& options);

struct QuantizeOptions {
  CommonOptions common;
  std::string model, output, type;
  std::vector<std::string> tensor_types;  // PATTERN=TYPE
  std::string imatrix;                    // "": none
  bool pure = false, no_tokenizer = false, keep_mtp = false, force = false;
};
int run_quantize(const QuantizeOptions& options);

struct ImatrixOptions {
  CommonOptions common;
  std::string model, input, output;
  int64_t chunk = 512;            // tokens
  std::optional<int64_t> chunks;  // at most
};
int run_imatrix(const ImatrixOptions& options);

struct TokenizeOptions {
  CommonOptions common;
  std::string model, input;
  bool decode = false;
  bool add_special_tokens = false;
  bool split_special_tokens = false;
  bool skip_special_tokens = false;
};
int run_tokenize(const TokenizeOptions& options);

struct TemplateOptions {
  CommonOptions common;
  std::string model, input, date;
};
int run_template(const TemplateOptions& options);

struct VerifyOptions {
  CommonOptions common;
  std::string input;
};
int run_verify(const VerifyOptions& options);

struct RewardOptions {
  CommonOptions common;
  std::string config, input;
  std::vector<std::string> set;  // KEY=VALUE
};
int run_reward(const RewardOptions& options);

struct TrainCommandOptions {
  CommonOptions common;
  std::string kind;  // pretrain, sft, grpo, ppo, distill
  std::string config, out;
  std::vector<std::string> set;  // KEY=VALUE
  bool resume = false, force = false;
};
int run_train_command(const TrainCommandOptions& options);

struct PreflightOptions {
  CommonOptions common;
  std::string config;
  std::vector<std::string> set;   // KEY=VALUE
  std::optional<int64_t> groups;  // the least number
  std::optional<double> seconds;  // approximate time limit
};
int run_preflight(const PreflightOptions& options);

struct SamplesOptions {
  CommonOptions common;
  std::string run, task;
  std::optional<int64_t> step, diff;
  int64_t limit = 10;
  bool wrong = false, right = false;
};
int run_samples(const SamplesOptions& options);

struct RecipeCommandOptions {
  CommonOptions common;
  std::string config;
  bool resume = false, all = false, force = false;
  std::optional<uint64_t> seed;
  std::string out;
  std::vector<std::string> set;  // KEY=VALUE
};
int run_recipe_command(const RecipeCommandOptions& options);

struct ReportOptions {
  CommonOptions common;
  std::vector<std::string> runs;
  std::string output;
};
int run_report(const ReportOptions& options);

struct SchemaOptions {
  CommonOptions common;
  std::string name;  // "": a list
};
int run_schema(const SchemaOptions& options);

struct PullCommandOptions {
  CommonOptions common;
  std::string model;  // org/name[:quant][@revision]
  int64_t connections = 8;
};
int run_pull(const PullCommandOptions& options);

struct ListOptions {
  CommonOptions common;
};
int run_list(const ListOptions& options);

struct RmOptions {
  CommonOptions common;
  std::string model;
  bool yes = false;
};
int run_rm(const RmOptions& options);

struct PlanOptions {
  CommonOptions common;
  std::string model;
  bool train = false;
  std::optional<double> utilisation, price;  // only for train
};
int run_plan(const PlanOptions& options);

struct BenchOptions {
  CommonOptions common;
  std::string model;
  std::string depths = "0,1024,4096,16384", batches = "1,8,32";  // numbers, separated by commas
  int64_t repeat = 5;
  int64_t peer_depth = 4096;  // llama.cpp is not measured deeper, because it must read the context first
  bool no_llama_cpp = false;
  bool random_weights = false;
  bool no_exact = false;
  std::string python = "python3";
  bool train = false;
  int64_t rows = 8, length = 1024, micro = 8192;  // only for train
  bool recompute = false;                         // likewise
};
int run_bench(const BenchOptions& options);

struct DoctorOptions {
  CommonOptions common;
  std::string model;
  bool against_transformers = false;
  std::string python = "python3";
};
int run_doctor(const DoctorOptions& options);

struct DataCheckOptions {
  CommonOptions common;
  std::vector<std::string> files, against;
  std::string model;             // "": tokens are not counted
  std::string question, answer;  // expressions of data/record.h's mapping; "": none
};
int run_data_check(const DataCheckOptions& options);

struct DataShowOptions {
  CommonOptions common;
  std::string config;
  std::string kind;              // "": found from the configuration's keys
  std::vector<std::string> set;  // KEY=VALUE
  int64_t count = 3;
};
int run_data_show(const DataShowOptions& options);

struct EvalCommandOptions {
  CommonOptions common;
  SamplingFlags sampling;
  std::string prompt_template, system, think;  // "": the default
  std::string model, task, output;
  std::string reward;              // a grpo configuration whose [reward] judges; "": the tasks' verifiers
  std::string question, answer;    // expressions of data/record.h's mapping, for a file of problems; "": none
  std::string split;               // all, train or held_out, for a file of problems; "": all
  std::optional<double> held_out;  // share of the questions that are held out
  int64_t samples = 4;
  std::optional<int64_t> problems;
  int64_t batch = 256;
  bool resume = false;
};
int run_eval(const EvalCommandOptions& options);

struct ServeOptions {
  CommonOptions common;
  std::string model;
  std::string host = "127.0.0.1";
  int64_t port = 8000;
  std::string name;               // "": the model's directory
  std::string keys;               // a file; "": every key is accepted
  std::vector<std::string> runs;  // directories
  std::vector<std::string> server_names;
  int64_t max_queue = 256, max_batch = 64, prefill_chunk = 512;
  double timeout_s = 600, drain_s = 60;
};
int run_serve(const ServeOptions& options);

}  // namespace r1
