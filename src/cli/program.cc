// cli/program.cc: the options of every subcommand.
#include "cli/program.h"

#include <fmt/format.h>

#include <charconv>

#include "base/text_util.h"

namespace r1 {
namespace {

void add_machine(CLI::App* app, CommonOptions& common, Machine machine) {
  constexpr const char* kGroup = "Machine";
  if (machine == Machine::none) return;
  app->add_option("--threads", common.threads, "Threads (default: one per core)")->group(kGroup);
  if (machine == Machine::threads) return;
  app->add_option("--device", common.device,
                  machine == Machine::training
                      ? "Where it runs: cpu or cuda (default: as the configuration says)"
                      : "Where it runs: cpu or cuda (default: cuda if there is a GPU)")
      ->group(kGroup);
  if (machine == Machine::doctor) return;
  app->add_option("--memory-limit", common.memory_limit,
                  "Memory that may be used, for example 2G (default: no limit)")
      ->group(kGroup);
  // A training has its numerics in its configuration; the options are known so that the error can say so.
  const char* group = machine == Machine::model ? kGroup : "";
  app->add_option("--dtype", common.dtype, "What it computes in: f32 or bf16 (default: the checkpoint's)")
      ->group(group);
  app->add_option("--numerics", common.numerics,
                  "cpu-f32, cpu-bf16, cpu-avx512bf16, cpu-q8act or cuda-bf16 (default: as --dtype says)")
      ->group(group);
  app->add_option("--kv-type", common.kv_type,
                  "Type of keys and values in memory: f32, bf16 or q8 (default: that of the numerics)")
      ->group(group);
}

void add_sampling(CLI::App* app, SamplingFlags& s, const char* longest) {
  constexpr const char* kGroup = "Sampling";
  app->add_option("--temperature", s.temperature, "0 is greedy (default: the model's)")->group(kGroup);
  app->add_option("--top-p", s.top_p,
                  "Keep the likeliest tokens up to this probability (default: the model's)")
      ->group(kGroup);
  app->add_option("--top-k", s.top_k, "Keep the K likeliest tokens; 0 keeps all (default: the model's)")
      ->group(kGroup);
  app->add_option(
         "--min-p", s.min_p,
         "Keep tokens with at least this share of the likeliest one's probability (default: the model's)")
      ->group(kGroup);
  app->add_option("--repetition-penalty", s.repetition_penalty,
                  "Divides the logits of tokens that the text has; 1 is off (default: the model's)")
      ->group(kGroup);
  app->add_option("--presence-penalty", s.presence_penalty,
                  "Subtracted from the logits of tokens that the answer has; 0 is off (default: the model's)")
      ->group(kGroup);
  app->add_option("--frequency-penalty", s.frequency_penalty,
                  "The same, as often as the answer has them; 0 is off (default: the model's)")
      ->group(kGroup);
  app->add_option("--max-tokens", s.max_tokens, longest)->group(kGroup);
  app->add_flag("--ignore-eos", s.ignore_eos, "Go on after the end-of-sequence token")->group(kGroup);
}

void add_grammar_options(CLI::App* app, GrammarFlags& flags) {
  app->add_option("--grammar", flags.grammar, "The answer follows this grammar, a file in GBNF")
      ->group("Sampling");
  app->add_option("--json-schema", flags.json_schema,
                  "The answer is JSON that fulfils this JSON Schema, a file")
      ->group("Sampling");
  app->add_option("--regex", flags.regex, "This regular expression matches the whole answer")
      ->group("Sampling");
}

// CLI11 reads -1 as 2^64 - 1 and takes what is too large for the largest integer.
template <class Integer>
bool is_integer(const std::string& text) {
  Integer value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return problem == std::errc() && end == text.data() + text.size();
}

void check_integers(CLI::App* app) {
  for (CLI::Option* option : app->get_options()) {
    const std::string type = option->get_type_name(), name = option->get_name();
    if (type != "INT" && type != "UINT") continue;
    option->check(CLI::Validator(
        [type, name](std::string& value) {
          if (type == "INT" ? is_integer<int64_t>(value) : is_integer<uint64_t>(value)) return std::string();
          return fmt::format("{} is {}; it must be an integer from {}", name, shell_word(value),
                             type == "INT" ? "-2^63 to 2^63 - 1" : "0 to 2^64 - 1");
        },
        ""));
  }
}

constexpr const char* kLongestAnswerHelp =
    "Longest answer, in tokens (default: the model's max_new_tokens, else 1024)";
constexpr const char* kLongestTalkHelp =
    "Longest answer, in tokens (default: the model's max_new_tokens, else what its context leaves, at most "
    "8192)";

constexpr const char* kModelHelp =
    "A Hugging Face directory, a GGUF file, a pulled model's org/name[:quant], or a shipped model's name "
    "(default: r1-nano)";

constexpr std::array<std::array<const char*, 2>, 3> kLabels = {
    {{"SUBCOMMAND", "COMMAND"}, {"Positionals", "Arguments"}, {"OPTIONS", "options"}}};

constexpr const char* kTypesHelp =
    "Q8_0, Q6_K, Q5_K_M, Q5_K_S, Q5_1, Q5_0, Q4_K_M, Q4_K_S, IQ4_NL, IQ4_XS, Q4_1, Q4_0, Q3_K_M, Q2_K (or "
    "F32, F16, BF16)";

void add_lookahead(CLI::App* app, CommonOptions& common) {
  app->add_option("--lookahead", common.lookahead,
                  "Most tokens that are guessed per step, because they followed the same words before or by "
                  "the model's MTP "
                  "head (default: 7; 0 to 64; 0 also leaves the head unloaded); it changes no bit");
}

void add_quantize(CLI::App* app, CommonOptions& common) {
  app->add_option(
         "--quantize", common.quantize,
         "Quantise the weights when they are loaded, for example Q8_0; the results are those of r1 quantize")
      ->group("Machine");
}

constexpr const char* kLogprobFormatHelp =
    "hex: C's %a form (default); decimal: the shortest decimal number that reads back to the same bits";

constexpr const char* kSet =
    "Set a key of the configuration, for example --set rollout.group=8; may be repeated";

}  // namespace

template <class Options>
CLI::App* Program::add(const char* name, const char* help, Options& options, int (*call)(const Options&),
                       Machine machine, const char* json) {
  CLI::App* sub = app.add_subcommand(name, help);
  sub->group("Commands");
  add_machine(sub, options.common, machine);
  sub->add_flag("--json", options.common.json, json)->group(*json == '\0' ? "" : "Output");
  sub->callback([this, call, &options] {
    options.common.command_line = command_line;
    chosen = [call, &options] { return call(options); };
  });
  return sub;
}

void Program::add_model(CLI::App* sub, std::string& model, const char* help) {
  if (help == nullptr) help = kModelHelp;
  sub->add_option("MODEL", model, help)->type_name("")->check([](const std::string& name) {
    return name.empty() ? "the MODEL argument is empty: name a model, or leave it out" : "";
  });
}

void Program::add_run() {
  CLI::App* sub =
      add("run", "Talk with a model, or answer one prompt", run, run_run, Machine::model,
          "One JSON object: tokens, text, content, reasoning, finish_reason, seed, usage, timings");
  sub->footer(
      "Without -p, --file and --prompt-tokens, r1 run talks on a terminal; elsewhere all of standard input "
      "is "
      "one prompt.");
  add_model(sub, run.model);
  sub->add_option("-p,--prompt", run.prompt, "Answer this prompt and end");
  sub->add_option("-f,--file", run.file,
                  "Answer a file's text and end; after -p's text if both are given; -: standard input");
  sub->add_option("--prompt-tokens", run.prompt_tokens,
                  "A file with a JSON array of token ids, used as they are");
  sub->add_option("--system", run.system, "The system prompt");
  sub->add_option("--turns", run.turns,
                  "Earlier turns of a conversation that the model is shown (default: all that fit its "
                  "context; 0 for a model trained on single questions)");
  sub->add_flag("--no-history", run.no_history, "Keep no typed lines for the next conversation");
  CLI::Option* show =
      sub->add_flag("--show-thinking", run.show_thinking, "Show thoughts (default)")->group("Output");
  sub->add_flag("--hide-thinking", run.hide_thinking, "Leave thoughts out")->excludes(show)->group("Output");
  sub->add_flag("--verbose", run.verbose, "Print tokens, tokens per second and the seed after each answer")
      ->group("Output");
  add_sampling(sub, run.sampling, kLongestTalkHelp);
  add_grammar_options(sub, run.grammar);
  add_quantize(sub, run.common);
  add_lookahead(sub, run.common);
  sub->add_option("--seed", run.seed, "Repeats an answer to the byte (default: a random one)")
      ->group("Sampling");
}

void Program::add_using() {
  CLI::App* sub =
      add("generate", "Answer many prompts from a JSONL file", generate, run_generate, Machine::model, "");
  add_model(sub, generate.model);
  sub->add_option("--input", generate.input,
                  "Rows {\"prompt\" | \"messages\" | \"tokens\"}; -: standard input")
      ->required();
  sub->add_option("--output", generate.output, "A row per sample; -: standard output")->required();
  sub->add_flag("--resume", generate.resume, "Go on with the samples that OUTPUT.journal has");
  sub->add_option("--samples", generate.samples, "Samples of each prompt (default: 1)");
  sub->add_option("--batch", generate.batch, "Sequences sampled at a time (default: 64); it changes no bit");
  sub->add_option("--prefill-chunk", generate.prefill_chunk,
                  "Prompt tokens taken at a time (default: 2048); it changes no bit");
  sub->add_flag("--logprobs", generate.logprobs, "Write the log-prob of every token");
  sub->add_option("--logprob-format", generate.logprob_format, kLogprobFormatHelp);
  add_sampling(sub, generate.sampling, kLongestAnswerHelp);
  add_grammar_options(sub, generate.grammar);
  add_quantize(sub, generate.common);
  sub->add_option("--seed", generate.sampling.seed, "Seed of the random numbers (default: 0)")
      ->group("Sampling");

  sub = add("score", "Log-probs, logits and gradients of given tokens", score, run_score, Machine::model, "");
  add_model(sub, score.model);
  sub->add_option("--input", score.input, "Rows {\"tokens\", \"from\"?}; -: standard input")->required();
  sub->add_option("--output", score.output, "OUT.safetensors: logits.<row> [T, V]");
  sub->add_option("--logprobs", score.logprobs, "F.jsonl: a row of log-probs per row");
  sub->add_option("--logprob-format", score.logprob_format, kLogprobFormatHelp);
  sub->add_flag("--resume", score.resume, "Go on with the rows that the journal beside --logprobs has");
  sub->add_option("--gradients", score.gradients, "GRADS.safetensors: loss and grad.<name>");
  sub->add_option("--temperature", score.temperature, "Temperature of the log-probs (default: 1)");
  sub->add_option("--logits-last", score.logits_last, "Write only the logits of each row's last N tokens");
  add_quantize(sub, score.common);
}

void Program::add_converting() {
  constexpr const char* kForce = "Replace an output that exists";
  constexpr const char* kKeepMtp =
      "Keep the MTP head of a DeepSeek-V3 checkpoint in a GGUF file, for r1 alone (llama.cpp refuses the "
      "file)";
  constexpr const char* kBare = "Write the weights and sizes alone, without tokenizer and chat template";
  CLI::App* sub = add("convert", "A model as a GGUF file, or as a Hugging Face directory", convert,
                      run_convert, Machine::threads, "One JSON object: output, bytes, types");
  sub->add_option("IN", convert.model, "A Hugging Face directory or a GGUF file")->type_name("")->required();
  sub->add_option("OUT", convert.output, "FILE.gguf, or a directory")->type_name("")->required();
  sub->add_option("--dtype", convert.common.dtype,
                  "Type of the matrices: f32, bf16 or f16 (default: the input's; bf16 for a directory made "
                  "of quantised ones)");
  sub->add_flag("--no-tokenizer", convert.no_tokenizer, kBare);
  sub->add_flag("--keep-mtp", convert.keep_mtp, kKeepMtp);
  sub->add_flag("--force", convert.force, kForce);

  sub = add("quantize", "A model as a GGUF file with quantised weights", quantize, run_quantize,
            Machine::threads, "One JSON object: output, bytes, bits per weight, types with their errors");
  sub->add_option("IN", quantize.model, "A Hugging Face directory or a GGUF file")->type_name("")->required();
  sub->add_option("OUT", quantize.output, "FILE.gguf")->type_name("")->required();
  sub->add_option("--type", quantize.type, kTypesHelp)->required();
  sub->add_option("--imatrix", quantize.imatrix,
                  "Which columns matter: a file of r1 imatrix, or of llama.cpp");
  sub->add_option("--tensor-type", quantize.tensor_types,
                  "The type of the tensors whose names match, for example 'blk.*.ffn_down.weight=Q6_K'; "
                  "may be repeated, "
                  "the first that matches counts")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->type_name("PATTERN=TYPE");
  sub->add_flag("--pure", quantize.pure, "Every matrix gets the type: no better ones where errors cost most");
  sub->add_flag("--no-tokenizer", quantize.no_tokenizer, kBare);
  sub->add_flag("--keep-mtp", quantize.keep_mtp, kKeepMtp);
  sub->add_flag("--force", quantize.force, kForce);

  sub = add("imatrix", "Find which columns of the weights matter, for r1 quantize --imatrix", imatrix,
            run_imatrix, Machine::model, "One JSON object: output, tensors, tokens, chunks");
  add_model(sub, imatrix.model);
  sub->add_option("--input", imatrix.input,
                  "A text, or a JSONL file with rows {\"text\" | \"messages\" | \"tokens\"}")
      ->required();
  sub->add_option("-o,--output", imatrix.output, "FILE.gguf")->required();
  sub->add_option("--chunk", imatrix.chunk, "Tokens that the model reads at a time (default: 512)");
  sub->add_option("--chunks", imatrix.chunks, "Chunks to read, at most (default: all whole ones)");
}

void Program::add_serve() {
  CLI::App* sub = add("serve", "Answer requests of OpenAI's API over HTTP", serve, run_serve, Machine::model,
                      "Print where it listens as one JSON object");
  sub->footer("docs/server.md describes the routes and fields. SIGTERM lets the answers in progress end.");
  add_model(sub, serve.model);
  sub->add_option("--host", serve.host, "Address to listen on (default: 127.0.0.1, this machine alone)");
  sub->add_option("--port", serve.port, "Port (default: 8000; 0: any free one)");
  sub->add_option("--name", serve.name, "The model's name for clients (default: its directory's)");
  sub->add_option("--api-key-file", serve.keys,
                  "Keys, one per line, each with its limits, if any (default: any key is accepted)");
  sub->add_option("--server-name", serve.server_names,
                  "A name of a reverse proxy that browsers know the server by; may be repeated")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->type_name("NAME");
  sub->add_option("--runs", serve.runs,
                  "A directory of training runs that the page shows, read-only; may be repeated")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->type_name("DIR");
  sub->add_option("--max-batch", serve.max_batch, "Answers at a time (default: 64); it changes no bit");
  sub->add_option("--max-queue", serve.max_queue, "Requests that wait; more get 429 (default: 256)");
  sub->add_option("--prefill-chunk", serve.prefill_chunk,
                  "Prompt tokens taken at a time (default: 512); it changes no bit");
  add_lookahead(sub, serve.common);
  sub->add_option("--timeout", serve.timeout_s, "Seconds of a request, waiting included (default: 600)");
  sub->add_option("--drain", serve.drain_s, "Seconds that answers have to end at SIGTERM (default: 60)");
}

void Program::add_tools() {
  CLI::App* sub = add("tokenize", "Text to token ids, or back", tokenize, run_tokenize, Machine::none, "");
  add_model(sub, tokenize.model, "A model, a tokenizer.json or a GGUF file (default: r1-nano)");
  sub->add_option("--input", tokenize.input, "Rows {\"text\"} (--decode: {\"tokens\"}); -: standard input")
      ->required();
  CLI::Option* decode = sub->add_flag("--decode", tokenize.decode, "Token ids to text");
  sub->add_flag("--add-special-tokens", tokenize.add_special_tokens,
                "Add the tokens that the post-processor puts around a text (begin of text)")
      ->excludes(decode);
  sub->add_flag("--split-special-tokens", tokenize.split_special_tokens,
                "Read special tokens in the text as ordinary text")
      ->excludes(decode);
  sub->add_flag("--skip-special-tokens", tokenize.skip_special_tokens, "Leave special tokens out of the text")
      ->needs(decode);

  sub = add("template", "Render chat templates", chat_template, run_template, Machine::none, "");
  add_model(sub, chat_template.model, "A model, a template's file or a GGUF file (default: r1-nano)");
  sub->add_option("--input", chat_template.input,
                  "Rows {\"messages\", ...}; further fields are template variables; -: standard input")
      ->required();
  sub->add_option("--date", chat_template.date, "YYYY-MM-DD for strftime_now (default: the clock's time)");

  sub = add("verify", "Check answers", verify, run_verify, Machine::none, "");
  sub->add_option("--input", verify.input,
                  "Rows {\"task\"?, \"gold\", \"pred\", \"options\"?}; -: standard input")
      ->required();

  sub = add("reward", "Score answers with the reward of a grpo or ppo configuration", reward, run_reward,
            Machine::threads, "");
  sub->add_option("CONFIG", reward.config, "The configuration, a TOML file (r1 schema lists its keys)")
      ->type_name("")
      ->required();
  sub->add_option("--input", reward.input,
                  "Rows {\"question\", \"gold\", \"response\"} or those of samples.jsonl; -: standard input")
      ->required();
  add_set(sub, reward.set, kSet);

  sub = add("eval", "Measure a model on problems with checkable answers", eval, run_eval, Machine::model,
            "One JSON object instead of a table");
  add_model(sub, eval.model);
  sub->add_option("--task", eval.task, "A task (countdown, arithmetic:2, ...: docs/guide.md), or a file")
      ->required();
  sub->add_option("--samples", eval.samples, "Samples of each problem (default: 4)");
  sub->add_option("--problems", eval.problems, "Problems to draw (default: 200; of a file: all)");
  sub->add_option("--split", eval.split,
                  "Side of a file that is asked: all (default), train or held_out (see data.split)");
  sub->add_option("--held-out", eval.held_out, "Share of a file that is held out (default: 0.05)");
  sub->add_option("--question", eval.question,
                  "Jinja expression over a row's fields that gives the question (files only)");
  sub->add_option("--answer", eval.answer, "Jinja expression that gives the answer (files only)");
  sub->add_option("--output", eval.output, "A JSONL file: every sample as a row");
  sub->add_flag("--resume", eval.resume, "Go on with the samples that OUTPUT.journal has");
  sub->add_option("--batch", eval.batch, "Sequences sampled at a time (default: 256); it changes no bit");
  constexpr const char* kPrompt = "Prompt";
  sub->add_option("--prompt-template", eval.prompt_template,
                  "chat (default: the model's chat template), r1-zero (the R1 paper's plain text), raw (the "
                  "question alone), or FILE.jinja")
      ->group(kPrompt);
  sub->add_option("--system", eval.system, "The system message")->group(kPrompt);
  sub->add_option(
      "--reward", eval.reward,
      "A grpo configuration whose [reward] judges, programs included, instead of the tasks' verifiers");
  sub->add_option("--think", eval.think,
                  "open: the prompt ends inside <think>; off: it ends with an empty thought; free (default): "
                  "as the template ends it")
      ->group(kPrompt);
  add_sampling(sub, eval.sampling, kLongestAnswerHelp);
  add_quantize(sub, eval.common);
  sub->add_option("--seed", eval.sampling.seed, "Seed of the problems and of the random numbers (default: 0)")
      ->group("Sampling");
}

void Program::add_data() {
  CLI::App* data = app.add_subcommand("data", "Look at data before training on it");
  data->group("Commands");
  data->require_subcommand(1);
  CLI::App* sub = data->add_subcommand(
      "check", "Report formats, dropped rows, lengths, duplicates and overlap of data files");
  sub->group("Commands");
  sub->add_option("FILES", data_check.files, "JSONL, .gz, or a JSON array (docs/guide.md lists the formats)")
      ->type_name("")
      ->required();
  sub->add_option("--against", data_check.against,
                  "Evaluation files: rows that share ten consecutive words with them are counted");
  sub->add_option("--model", data_check.model, "Count tokens as this model does");
  sub->add_option("--question", data_check.question,
                  "Jinja expression over a row's fields that gives the question");
  sub->add_option("--answer", data_check.answer, "Jinja expression that gives the answer");
  sub->add_flag("--json", data_check.common.json, "One JSON object instead of a table")->group("Output");
  sub->callback([this] { chosen = [this] { return run_data_check(data_check); }; });

  sub = data->add_subcommand("show",
                             "The first documents or prompts of a configuration, trained tokens marked");
  sub->add_option("CONFIG", data_show.config, "The configuration of pretrain, sft, grpo, ppo or distill")
      ->type_name("")
      ->required();
  sub->add_option("-n", data_show.count, "Documents or prompts (default: 3)");
  add_set(sub, data_show.set, kSet);
  sub->add_option("--kind", data_show.kind,
                  "pretrain, sft, grpo, ppo or distill, if the file alone does not show it")
      ->check(CLI::IsMember({"pretrain", "sft", "grpo", "ppo", "distill"}));
  sub->add_flag("--json", data_show.common.json, "One JSON object: every token with its id, text and flags")
      ->group("Output");
  sub->callback([this] { chosen = [this] { return run_data_show(data_show); }; });
  for (CLI::App* each : data->get_subcommands(nullptr)) check_integers(each);
}

void Program::add_hub() {
  constexpr const char* kHubName =
      "org/name[:quant][@revision], for example Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M";
  CLI::App* sub = add("pull", "Download a model from the Hugging Face hub", pull, run_pull, Machine::none,
                      "One JSON object: model, commit, path, bytes, downloaded, seconds, files");
  sub->add_option("MODEL", pull.model, kHubName)->type_name("")->required();
  sub->add_option("--connections", pull.connections, "Connections at a time for a large file (default: 8)");
  sub->footer(
      "HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE are read as huggingface_hub reads "
      "them.");
  add("list", "The downloaded models, and what r1 can do with each", list, run_list, Machine::none,
      "One JSON object: cache, models");
  sub = add("rm", "Remove a downloaded model", rm, run_rm, Machine::none,
            "One JSON object: model, removed, bytes");
  sub->add_option("MODEL", rm.model, "org/name[:quant][@revision], as r1 list shows it")
      ->type_name("")
      ->required();
  sub->add_flag("--yes", rm.yes, "Do not ask");
}

void Program::add_measuring() {
  CLI::App* sub = add("plan", "What a model needs and how fast it will be, before it is loaded", plan,
                      run_plan, Machine::model, "One JSON object instead of tables");
  add_model(
      sub, plan.model,
      "A model as for r1 run, or deepseek-ai/DeepSeek-R1 or one of its distills, which need not be here "
      "(default: r1-nano)");
  sub->add_option("--quantize", plan.common.quantize,
                  "Plan for weights of this type, for example Q4_K_M (default: as they are stored)");
  sub->add_flag("--train", plan.train, "GPU hours and dollars of the published training of DeepSeek-R1");
  sub->add_option("--utilisation", plan.utilisation, "Share of the GPUs' peak in training (default: 0.4)");
  sub->add_option("--price", plan.price, "Dollars per GPU hour (default: 2)");

  sub = add("bench", "Measure how fast a model reads prompts and decodes, or trains", bench, run_bench,
            Machine::model, "One JSON object instead of a table");
  add_model(sub, bench.model);
  add_quantize(sub, bench.common);
  sub->add_option("--depth", bench.depths,
                  "Tokens of context, separated by commas (default: 0,1024,4096,16384)");
  sub->add_option("--batch", bench.batches, "Sequences at a time, separated by commas (default: 1,8,32)");
  sub->add_option("--repeat", bench.repeat, "Measurements of each; the median is shown (default: 5)");
  sub->add_option("--llama-cpp-depth", bench.peer_depth,
                  "Measure llama.cpp up to this depth (default: 4096); it must read the context first");
  sub->add_flag(
      "--random-weights", bench.random_weights,
      "Measure the model's shape with random weights: its configuration is enough, and MODEL may be a "
      "name that r1 plan knows");
  sub->add_flag(
      "--no-exact", bench.no_exact,
      "Let cuBLASLt choose the order of sums in products on a GPU, to measure what a fixed order costs");
  sub->add_flag("--no-llama-cpp", bench.no_llama_cpp, "Do not measure llama.cpp on a GGUF file");
  sub->add_option("--python", bench.python, "A Python with llama-cpp-python (default: python3)");
  CLI::Option* train =
      sub->add_flag("--train", bench.train, "Measure steps of training; MODEL may be a config.json alone");
  sub->add_option("--rows", bench.rows, "Rows of a step of training (default: 8)")->needs(train);
  sub->add_option("--length", bench.length, "Tokens of a row (default: 1024)")->needs(train);
  sub->add_option("--micro", bench.micro, "Tokens whose activations are held at a time (default: 8192)")
      ->needs(train);
  sub->add_flag(
         "--recompute", bench.recompute,
         "Compute a layer's activations again for its backward, to hold fewer (activation checkpointing)")
      ->needs(train);
  for (const char* other :
       {"--depth", "--batch", "--llama-cpp-depth", "--no-llama-cpp", "--python", "--random-weights"})
    train->excludes(sub->get_option(other));
}

void Program::add_help() {
  CLI::App* check = add("doctor", "What this machine is, and whether everything works", doctor, run_doctor,
                        Machine::doctor, "One JSON object instead of lines");
  add_model(check, doctor.model);
  CLI::Option* peer = check->add_flag("--against-transformers", doctor.against_transformers,
                                      "Compare logits with those of transformers");
  check->add_option("--python", doctor.python, "A Python with torch and transformers (default: python3)")
      ->needs(peer);
  CLI::App* sub = add("schema", "The JSON schema of a file that r1 reads or writes", schema, run_schema,
                      Machine::none, "On one line; without NAME: one object of names and summaries");
  sub->add_option("NAME", schema.name, "grpo, metrics.jsonl, ... (default: a list of all)")->type_name("");
}

void Program::add_set(CLI::App* sub, std::vector<std::string>& set, const char* help) {
  sub->add_option("--set", set, help)
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
}

void Program::add_training() {
  constexpr const char* kForce = "Train although the preflight refuses the run";
  constexpr const char* kConfig = "The configuration, a TOML file (r1 schema lists its keys)";
  constexpr const char* kModelAsJson = "The path of the model as {\"model\": PATH}";
  constexpr std::array<std::array<const char*, 2>, 5> kStages = {
      {{"pretrain", "Train on generated documents"},
       {"sft", "Fine-tune on JSONL files of conversations"},
       {"grpo", "Reinforcement learning with GRPO (R1-Zero)"},
       {"ppo", "Reinforcement learning with PPO and a critic, the baseline of GRPO"},
       {"distill", "Fine-tune on a teacher's verified answers (distillation, rejection sampling)"}}};
  for (size_t i = 0; i < kStages.size(); ++i) {
    train[i].kind = kStages[i][0];
    CLI::App* stage =
        add(kStages[i][0], kStages[i][1], train[i], run_train_command, Machine::training, kModelAsJson);
    stage->add_option("CONFIG", train[i].config, kConfig)->type_name("")->required();
    stage->add_flag("--resume", train[i].resume, "Go on with an interrupted run");
    stage->add_option("--out", train[i].out, "Run directory, instead of the configuration's");
    add_set(stage, train[i].set, kSet);
    if (train[i].kind == "grpo" || train[i].kind == "ppo") stage->add_flag("--force", train[i].force, kForce);
  }
  CLI::App* sub = add("recipe", "A whole pipeline of stages", recipe, run_recipe_command, Machine::training,
                      "What its stages gave, as one JSON object");
  sub->add_option("CONFIG", recipe.config, kConfig)->type_name("")->required();
  sub->add_flag("--resume", recipe.resume, "Go on with an interrupted run");
  sub->add_flag("--all", recipe.all, "Run the optional stages too");
  sub->add_option("--seed", recipe.seed, "Seed, instead of the recipe's");
  sub->add_option("--out", recipe.out, "Run directory, instead of the recipe's");
  add_set(sub, recipe.set,
          "Set a key of the recipe, or with --set STAGE.KEY=VALUE one of a stage's file; may be repeated");
  sub->add_flag("--force", recipe.force, kForce);
  sub = add("preflight", "Try a GRPO or PPO run before anything is trained: lengths, signal, time and memory",
            preflight, run_preflight, Machine::training, "One JSON object instead of a table");
  sub->add_option("CONFIG", preflight.config, kConfig)->type_name("")->required();
  add_set(sub, preflight.set, kSet);
  sub->add_option("--groups", preflight.groups,
                  "Groups of answers to sample (default: 8, or more if a refusal is near)");
  sub->add_option("--seconds", preflight.seconds, "Begin no group that would end later (default: 30)");
  sub = add("samples", "The answers of a run, with their verdicts", samples, run_samples, Machine::none,
            "One JSON object instead of text");
  sub->add_option("RUN", samples.run, "The directory of one stage, or a file of samples")
      ->type_name("")
      ->required();
  sub->add_option("--step", samples.step, "Answers of this step (default: the last one that has any)");
  CLI::Option* wrong = sub->add_flag("--wrong", samples.wrong, "Only wrong answers");
  sub->add_flag("--right", samples.right, "Only right answers")->excludes(wrong);
  sub->add_option("--task", samples.task, "Only answers of this task, or of the [[eval]] of this name");
  sub->add_option("--limit", samples.limit, "Answers, or problems, that are shown (default: 10)");
  sub->add_option("--diff", samples.diff,
                  "Beside the answers of this earlier step to the same problems; changed verdicts first");
  sub = add("report", "A run, or several side by side, as one HTML page", report, run_report, Machine::none,
            "The path of the page as {\"report\": PATH}");
  sub->add_option("RUN", report.runs, "The directory of a recipe, or of one stage; several are compared")
      ->type_name("")
      ->required();
  sub->add_option("--output", report.output,
                  "FILE.html (default: RUN/report.html; for several runs report.html here)");
}

Program::Program() {
  app.require_subcommand(1);
  app.footer("r1 COMMAND --help lists a command's options.");
  app.set_version_flag("--version", version_text(), "Print the version, the numerics and the compiler");
  for (const auto& [theirs, ours] : kLabels) app.get_formatter()->label(theirs, ours);
  add_run();
  add_using();
  add_serve();
  add_converting();
  add_training();
  add_tools();
  add_data();
  add_hub();
  add_measuring();
  add_help();
  for (CLI::App* sub : app.get_subcommands(nullptr)) check_integers(sub);
}

}  // namespace r1
