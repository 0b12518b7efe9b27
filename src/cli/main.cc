// cli/main.cc: the options of every subcommand, and how errors end the program. The only file that includes
// CLI11.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <new>
#include <type_traits>

#include "base/error.h"
#include "base/machine.h"
#include "base/text_util.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "tensor/numerics.h"

namespace {

#if defined(__clang__)
constexpr const char* kCompiler = "clang " __clang_version__;
#else
constexpr const char* kCompiler = "gcc " __VERSION__;
#endif
#if defined(__aarch64__)
constexpr const char* kMachine = "on arm64";
#else
constexpr const char* kMachine = "on x86-64";
#endif

using r1::CommonOptions;
using r1::SamplingFlags;

// Which options of the machine a command has: those that it uses, and no others.
enum class Machine : uint8_t { none, threads, doctor, training, model };

void add_machine(CLI::App* app, CommonOptions& common, Machine machine) {
  constexpr const char* kGroup = "Machine";
  if (machine == Machine::none) return;
  app->add_option("--threads", common.threads, "Threads (default: one per core)")->group(kGroup);
  if (machine == Machine::threads) return;
  app->add_option("--device", common.device,
                  machine == Machine::training
                      ? "Where it runs: cpu or cuda (default: as the configuration says)"
                      : "Where it runs: cpu, or cuda in f32 (default: cpu)")
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
                  "cpu-f32, cpu-bf16 or cpu-avx512bf16 (default: as --dtype says)")
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
          return fmt::format("{} is {}; it must be an integer from {}", name, r1::shell_word(value),
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

constexpr const char* kModelHelp = "A Hugging Face directory, or a shipped model's name (default: r1-nano)";

constexpr std::array<std::array<const char*, 2>, 3> kLabels = {
    {{"SUBCOMMAND", "COMMAND"}, {"Positionals", "Arguments"}, {"OPTIONS", "options"}}};

constexpr const char* kTypesHelp =
    "Q8_0, Q6_K, Q5_K_M, Q5_K_S, Q5_1, Q5_0, Q4_K_M, Q4_K_S, IQ4_NL, IQ4_XS, Q4_1, Q4_0, Q3_K_M, Q2_K (or "
    "F32, F16, BF16)";

void add_quantize(CLI::App* app, CommonOptions& common) {
  app->add_option(
         "--quantize", common.quantize,
         "Quantise the weights when they are loaded, for example Q8_0; the results are those of r1 quantize")
      ->group("Machine");
}

constexpr const char* kLogprobFormatHelp =
    "hex: C's %a form (default); decimal: the shortest decimal number that reads back to the same bits";

// Subcommands: each adds its options and says what is to be called.
struct Program {
  std::string command_line;
  CLI::App app{"r1: trains and runs DeepSeek-R1-style reasoning models.", "r1"};
  std::function<int()> chosen;

  r1::RunOptions run;
  r1::GenerateOptions generate;
  r1::ScoreOptions score;
  r1::ConvertOptions convert;
  r1::QuantizeOptions quantize;
  r1::ImatrixOptions imatrix;
  r1::TokenizeOptions tokenize;
  r1::TemplateOptions chat_template;
  r1::VerifyOptions verify;
  r1::RewardOptions reward;
  std::array<r1::TrainCommandOptions, 4> train;
  r1::RecipeCommandOptions recipe;
  r1::PreflightOptions preflight;
  r1::SamplesOptions samples;
  r1::EvalCommandOptions eval;
  r1::DataCheckOptions data_check;
  r1::DataShowOptions data_show;
  r1::ReportOptions report;
  r1::SchemaOptions schema;
  r1::DoctorOptions doctor;

  // `json`: what --json does; "": the output is JSON with and without it.
  template <class Options>
  CLI::App* add(const char* name, const char* help, Options& options, int (*call)(const Options&),
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

  void add_model(CLI::App* sub, std::string& model, const char* help = kModelHelp) {
    sub->add_option("MODEL", model, help)->type_name("")->check([](const std::string& name) {
      return name.empty() ? "the MODEL argument is empty: name a model, or leave it out" : "";
    });
  }

  void add_run() {
    CLI::App* sub =
        add("run", "Talk with a model, or answer one prompt", run, r1::run_run, Machine::model,
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
    sub->add_flag("--hide-thinking", run.hide_thinking, "Leave thoughts out")
        ->excludes(show)
        ->group("Output");
    sub->add_flag("--verbose", run.verbose, "Print tokens, tokens per second and the seed after each answer")
        ->group("Output");
    add_sampling(sub, run.sampling, kLongestTalkHelp);
    add_quantize(sub, run.common);
    sub->add_option("--seed", run.seed, "Repeats an answer to the byte (default: a random one)")
        ->group("Sampling");
  }

  void add_using() {
    CLI::App* sub = add("generate", "Answer many prompts from a JSONL file", generate, r1::run_generate,
                        Machine::model, "");
    add_model(sub, generate.model);
    sub->add_option("--input", generate.input,
                    "Rows {\"prompt\" | \"messages\" | \"tokens\"}; -: standard input")
        ->required();
    sub->add_option("--output", generate.output, "A row per sample; -: standard output")->required();
    sub->add_flag("--resume", generate.resume, "Go on with the samples that OUTPUT.journal has");
    sub->add_option("--samples", generate.samples, "Samples of each prompt (default: 1)");
    sub->add_option("--batch", generate.batch,
                    "Sequences sampled at a time (default: 64); it changes no bit");
    sub->add_option("--prefill-chunk", generate.prefill_chunk,
                    "Prompt tokens taken at a time (default: 2048); it changes no bit");
    sub->add_flag("--logprobs", generate.logprobs, "Write the log-prob of every token");
    sub->add_option("--logprob-format", generate.logprob_format, kLogprobFormatHelp);
    add_sampling(sub, generate.sampling, kLongestAnswerHelp);
    add_quantize(sub, generate.common);
    sub->add_option("--seed", generate.sampling.seed, "Seed of the random numbers (default: 0)")
        ->group("Sampling");

    sub = add("score", "Log-probs, logits and gradients of given tokens", score, r1::run_score,
              Machine::model, "");
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

  void add_converting() {
    constexpr const char* kForce = "Replace an output that exists";
    constexpr const char* kBare = "Write the weights and sizes alone, without tokenizer and chat template";
    CLI::App* sub = add("convert", "A model as a GGUF file, or as a Hugging Face directory", convert,
                        r1::run_convert, Machine::threads, "One JSON object: output, bytes, types");
    sub->add_option("IN", convert.model, "A Hugging Face directory or a GGUF file")
        ->type_name("")
        ->required();
    sub->add_option("OUT", convert.output, "FILE.gguf, or a directory")->type_name("")->required();
    sub->add_option("--dtype", convert.common.dtype,
                    "Type of the matrices: f32, bf16 or f16 (default: the input's; bf16 for a directory made "
                    "of quantised ones)");
    sub->add_flag("--no-tokenizer", convert.no_tokenizer, kBare);
    sub->add_flag("--force", convert.force, kForce);

    sub = add("quantize", "A model as a GGUF file with quantised weights", quantize, r1::run_quantize,
              Machine::threads, "One JSON object: output, bytes, bits per weight, types with their errors");
    sub->add_option("IN", quantize.model, "A Hugging Face directory or a GGUF file")
        ->type_name("")
        ->required();
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
    sub->add_flag("--pure", quantize.pure,
                  "Every matrix gets the type: no better ones where errors cost most");
    sub->add_flag("--no-tokenizer", quantize.no_tokenizer, kBare);
    sub->add_flag("--force", quantize.force, kForce);

    sub = add("imatrix", "Find which columns of the weights matter, for r1 quantize --imatrix", imatrix,
              r1::run_imatrix, Machine::model, "One JSON object: output, tensors, tokens, chunks");
    add_model(sub, imatrix.model);
    sub->add_option("--input", imatrix.input,
                    "A text, or a JSONL file with rows {\"text\" | \"messages\" | \"tokens\"}")
        ->required();
    sub->add_option("-o,--output", imatrix.output, "FILE.gguf")->required();
    sub->add_option("--chunk", imatrix.chunk, "Tokens that the model reads at a time (default: 512)");
    sub->add_option("--chunks", imatrix.chunks, "Chunks to read, at most (default: all whole ones)");
  }

  void add_tools() {
    CLI::App* sub =
        add("tokenize", "Text to token ids, or back", tokenize, r1::run_tokenize, Machine::none, "");
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
    sub->add_flag("--skip-special-tokens", tokenize.skip_special_tokens,
                  "Leave special tokens out of the text")
        ->needs(decode);

    sub = add("template", "Render chat templates", chat_template, r1::run_template, Machine::none, "");
    add_model(sub, chat_template.model, "A model, a template's file or a GGUF file (default: r1-nano)");
    sub->add_option("--input", chat_template.input,
                    "Rows {\"messages\", ...}; further fields are template variables; -: standard input")
        ->required();
    sub->add_option("--date", chat_template.date, "YYYY-MM-DD for strftime_now (default: the clock's time)");

    sub = add("verify", "Check answers", verify, r1::run_verify, Machine::none, "");
    sub->add_option("--input", verify.input,
                    "Rows {\"task\"?, \"gold\", \"pred\", \"options\"?}; -: standard input")
        ->required();

    sub = add("reward", "Score answers with the reward of a grpo configuration", reward, r1::run_reward,
              Machine::threads, "");
    sub->add_option("CONFIG", reward.config, "The configuration, a TOML file (r1 schema lists its keys)")
        ->type_name("")
        ->required();
    sub->add_option(
           "--input", reward.input,
           "Rows {\"question\", \"gold\", \"response\"} or those of samples.jsonl; -: standard input")
        ->required();
    add_set(sub, reward.set, kSet);

    sub = add("eval", "Measure a model on problems with checkable answers", eval, r1::run_eval,
              Machine::model, "One JSON object instead of a table");
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
    sub->add_option(
           "--prompt-template", eval.prompt_template,
           "chat (default: the model's chat template), r1-zero (the R1 paper's plain text), raw (the "
           "question alone), or FILE.jinja")
        ->group(kPrompt);
    sub->add_option("--system", eval.system, "The system message")->group(kPrompt);
    sub->add_option(
        "--reward", eval.reward,
        "A grpo configuration whose [reward] judges, programs included, instead of the tasks' verifiers");
    sub->add_option(
           "--think", eval.think,
           "open: the prompt ends inside <think>; off: it ends with an empty thought; free (default): "
           "as the template ends it")
        ->group(kPrompt);
    add_sampling(sub, eval.sampling, kLongestAnswerHelp);
    add_quantize(sub, eval.common);
    sub->add_option("--seed", eval.sampling.seed,
                    "Seed of the problems and of the random numbers (default: 0)")
        ->group("Sampling");
  }

  void add_data() {
    CLI::App* data = app.add_subcommand("data", "Look at data before training on it");
    data->group("Commands");
    data->require_subcommand(1);
    CLI::App* sub = data->add_subcommand(
        "check", "Report formats, dropped rows, lengths, duplicates and overlap of data files");
    sub->group("Commands");
    sub->add_option("FILES", data_check.files,
                    "JSONL, .gz, or a JSON array (docs/guide.md lists the formats)")
        ->type_name("")
        ->required();
    sub->add_option("--against", data_check.against,
                    "Evaluation files: rows that share ten consecutive words with them are counted");
    sub->add_option("--model", data_check.model, "Count tokens as this model does");
    sub->add_option("--question", data_check.question,
                    "Jinja expression over a row's fields that gives the question");
    sub->add_option("--answer", data_check.answer, "Jinja expression that gives the answer");
    sub->add_flag("--json", data_check.common.json, "One JSON object instead of a table")->group("Output");
    sub->callback([this] { chosen = [this] { return r1::run_data_check(data_check); }; });

    sub = data->add_subcommand("show",
                               "The first documents or prompts of a configuration, trained tokens marked");
    sub->add_option("CONFIG", data_show.config, "The configuration of pretrain, sft, grpo or distill")
        ->type_name("")
        ->required();
    sub->add_option("-n", data_show.count, "Documents or prompts (default: 3)");
    add_set(sub, data_show.set, kSet);
    sub->add_option("--kind", data_show.kind,
                    "pretrain, sft, grpo or distill, if the file alone does not show it")
        ->check(CLI::IsMember({"pretrain", "sft", "grpo", "distill"}));
    sub->add_flag("--json", data_show.common.json, "One JSON object: every token with its id, text and flags")
        ->group("Output");
    sub->callback([this] { chosen = [this] { return r1::run_data_show(data_show); }; });
    for (CLI::App* each : data->get_subcommands(nullptr)) check_integers(each);
  }

  void add_help() {
    CLI::App* check = add("doctor", "What this machine is, and whether everything works", doctor,
                          r1::run_doctor, Machine::doctor, "One JSON object instead of lines");
    add_model(check, doctor.model);
    CLI::Option* peer = check->add_flag("--against-transformers", doctor.against_transformers,
                                        "Compare logits with those of transformers");
    check->add_option("--python", doctor.python, "A Python with torch and transformers (default: python3)")
        ->needs(peer);
    CLI::App* sub = add("schema", "The JSON schema of a file that r1 reads or writes", schema, r1::run_schema,
                        Machine::none, "On one line; without NAME: one object of names and summaries");
    sub->add_option("NAME", schema.name, "grpo, metrics.jsonl, ... (default: a list of all)")->type_name("");
  }

  static void add_set(CLI::App* sub, std::vector<std::string>& set, const char* help) {
    sub->add_option("--set", set, help)
        ->expected(1)
        ->take_all()
        ->allow_extra_args(false)
        ->type_name("KEY=VALUE");
  }

  static constexpr const char* kSet =
      "Set a key of the configuration, for example --set rollout.group=8; may be repeated";

  void add_training() {
    constexpr const char* kForce = "Train although the preflight refuses the run";
    constexpr const char* kConfig = "The configuration, a TOML file (r1 schema lists its keys)";
    constexpr const char* kModelAsJson = "The path of the model as {\"model\": PATH}";
    constexpr std::array<std::array<const char*, 2>, 4> kStages = {
        {{"pretrain", "Train on generated documents"},
         {"sft", "Fine-tune on JSONL files of conversations"},
         {"grpo", "Reinforcement learning with GRPO (R1-Zero)"},
         {"distill", "Fine-tune on a teacher's verified answers (distillation, rejection sampling)"}}};
    for (size_t i = 0; i < kStages.size(); ++i) {
      train[i].kind = kStages[i][0];
      CLI::App* stage =
          add(kStages[i][0], kStages[i][1], train[i], r1::run_train_command, Machine::training, kModelAsJson);
      stage->add_option("CONFIG", train[i].config, kConfig)->type_name("")->required();
      stage->add_flag("--resume", train[i].resume, "Go on with an interrupted run");
      stage->add_option("--out", train[i].out, "Run directory, instead of the configuration's");
      add_set(stage, train[i].set, kSet);
      if (train[i].kind == "grpo") stage->add_flag("--force", train[i].force, kForce);
    }
    CLI::App* sub = add("recipe", "A whole pipeline of stages", recipe, r1::run_recipe_command,
                        Machine::training, "What its stages gave, as one JSON object");
    sub->add_option("CONFIG", recipe.config, kConfig)->type_name("")->required();
    sub->add_flag("--resume", recipe.resume, "Go on with an interrupted run");
    sub->add_flag("--all", recipe.all, "Run the optional stages too");
    sub->add_option("--seed", recipe.seed, "Seed, instead of the recipe's");
    sub->add_option("--out", recipe.out, "Run directory, instead of the recipe's");
    add_set(sub, recipe.set,
            "Set a key of the recipe, or with --set STAGE.KEY=VALUE one of a stage's file; may be repeated");
    sub->add_flag("--force", recipe.force, kForce);
    sub = add("preflight", "Try a GRPO run before anything is trained: lengths, signal, time and memory",
              preflight, r1::run_preflight, Machine::training, "One JSON object instead of a table");
    sub->add_option("CONFIG", preflight.config, kConfig)->type_name("")->required();
    add_set(sub, preflight.set, kSet);
    sub->add_option("--groups", preflight.groups,
                    "Groups of answers to sample (default: 8, or more if a refusal is near)");
    sub->add_option("--seconds", preflight.seconds, "Begin no group that would end later (default: 30)");
    sub = add("samples", "The answers of a run, with their verdicts", samples, r1::run_samples, Machine::none,
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
    sub = add("report", "A run, or several side by side, as one HTML page", report, r1::run_report,
              Machine::none, "The path of the page as {\"report\": PATH}");
    sub->add_option("RUN", report.runs, "The directory of a recipe, or of one stage; several are compared")
        ->type_name("")
        ->required();
    sub->add_option("--output", report.output,
                    "FILE.html (default: RUN/report.html; for several runs report.html here)");
  }

  Program() {
    app.require_subcommand(1);
    app.footer("r1 COMMAND --help lists a command's options.");
    app.set_version_flag("--version", version_text(), "Print the version, the numerics and the compiler");
    for (const auto& [theirs, ours] : kLabels) app.get_formatter()->label(theirs, ours);
    add_run();
    add_using();
    add_converting();
    add_training();
    add_tools();
    add_data();
    add_help();
    for (CLI::App* sub : app.get_subcommands(nullptr)) check_integers(sub);
  }

  // CLI11 would only say that a subcommand is missing.
  void check_command(int argc, char** argv) const {
    if (argc < 2 || argv[1][0] == '-') return;
    std::vector<std::string> names;
    for (const CLI::App* sub : app.get_subcommands(nullptr)) names.push_back(sub->get_name());
    if (std::ranges::find(names, argv[1]) != names.end()) return;
    throw r1::Error("unknown command " + std::string(argv[1]) +
                    hint(r1::nearest_name(argv[1], names), "r1 --help lists the commands"));
  }

  // The command that was named, or the program.
  const CLI::App& named() const {
    const auto given = app.get_subcommands();
    return given.empty() ? app : *given.front();
  }

  static std::string version_text() {
    std::vector<std::string_view> numerics;
    for (const r1::Numerics n : r1::kAllNumerics) numerics.push_back(r1::name_of(n));
    return fmt::format("r1 {} (numerics {}; {} {})", R1_VERSION, fmt::join(numerics, ", "), kCompiler,
                       kMachine);
  }

  static std::string hint(const std::string& near, const std::string& otherwise) {
    return near.empty() ? " (" + otherwise + ")" : " (did you mean " + near + "?)";
  }

  std::string how_to_list() const {
    return "r1 " + (&named() == &app ? "" : named().get_name() + " ") + "--help lists the options";
  }

  // CLI11's words are for those who know CLI11. Its messages begin with the option's name, mostly.
  std::string words_for(const CLI::ParseError& e) const {
    const std::string text = e.what();
    const std::string name = text.substr(0, text.find_first_of(": "));
    const std::string last = text.substr(text.rfind(' ') + 1);
    const auto is = [&]<class Kind>(std::type_identity<Kind>) {
      return dynamic_cast<const Kind*>(&e) != nullptr;
    };
    if (is(std::type_identity<CLI::ExtrasError>())) return unknown_argument();
    if (is(std::type_identity<CLI::ConversionError>())) return wrong_value(text);
    if (is(std::type_identity<CLI::ValidationError>()))
      return text.substr(std::min(text.find(": ") + 2, text.size()));
    if (is(std::type_identity<CLI::ArgumentMismatch>()))
      return name + (text.ends_with("missing") ? " needs a value" : " is given more than once");
    if (is(std::type_identity<CLI::ExcludesError>()))
      return "give either " + name + " or " + last + ", not both";
    if (is(std::type_identity<CLI::RequiresError>())) return name + " is only for " + last;
    if (is(std::type_identity<CLI::RequiredError>())) {
      const std::vector<std::string> unknown = app.remaining(true);
      const auto is_option = [](const std::string& word) { return word.starts_with('-'); };
      if (&named() == &app || std::ranges::any_of(unknown, is_option)) return unknown_argument();
      return "r1 " + named().get_name() + " needs " + name + " (" + how_to_list() + ")";
    }
    return text + " (" + how_to_list() + ")";
  }

  std::string unknown_argument() const {
    std::vector<std::string> unknown = app.remaining(true);
    std::ranges::stable_partition(unknown, [](const std::string& word) { return word.starts_with('-'); });
    const std::string word = unknown.empty() ? "" : unknown.front();
    if (!word.starts_with('-'))
      return "unexpected argument " + r1::shell_word(word) + " (" + how_to_list() + ")";
    std::vector<std::string> names;
    for (const CLI::Option* option : named().get_options()) {
      for (const std::string& n : option->get_lnames()) names.push_back("--" + n);
    }
    const std::string given = word.substr(0, word.find('='));
    return "unknown option " + given + hint(r1::nearest_name(given, names), how_to_list());
  }

  // "Could not convert: --top-p = much"
  std::string wrong_value(const std::string& text) const {
    const size_t begin = text.find("--"), equals = text.find(" = ");
    if (begin == std::string::npos || equals == std::string::npos) return text;
    const std::string name = text.substr(begin, equals - begin);
    return name + " is " + r1::shell_word(text.substr(equals + 3)) + "; it must be a number";
  }
};

int fail(std::string line, int status) {
  std::ranges::replace(line, '\n', ' ');
  r1::write_stderr("r1: " + line + "\n");
  return status;
}

void check_cpu() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi2")) {
    throw r1::Error("this CPU lacks AVX2, FMA or BMI2, which this build needs (x86-64-v3)");
  }
#endif
}

int run_program(int argc, char** argv) {
  r1::prepare_standard_streams();
  check_cpu();
  Program program;
  if (argc < 2) {
    r1::write_stdout(program.app.help());
    return 0;
  }
  program.check_command(argc, argv);
  for (int i = 0; i < argc; ++i) program.command_line += (i > 0 ? " " : "") + r1::shell_word(argv[i]);
  try {
    program.app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const CLI::App& named = program.named();
    r1::write_stdout(&named == &program.app ? named.help() : named.help("r1"));
    return 0;
  } catch (const CLI::CallForVersion&) {
    r1::write_stdout(Program::version_text() + "\n");
    return 0;
  } catch (const CLI::ParseError& e) {
    throw r1::Error(program.words_for(e));
  }
  return program.chosen();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run_program(argc, argv);
  } catch (const r1::Error& e) {
    return fail(e.what(), 2);
  } catch (const std::bad_alloc&) {
    const std::string scarce = r1::ulimit_advice();
    return fail("out of memory" +
                    (scarce.empty() ? ": lower --batch or --max-tokens, or give --memory-limit" : scarce),
                2);
  } catch (const std::exception& e) {  // BrokenInvariant among them
    return fail(std::string("internal error: ") + e.what(), 3);
  }
}
