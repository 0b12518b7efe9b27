// cli/main.cc: the options of every subcommand, and how errors end the program. The only file that includes
// CLI11.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <functional>
#include <new>

#include "base/error.h"
#include "base/text_util.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "tensor/arena.h"

namespace {

using r1::CommonOptions;
using r1::SamplingFlags;

void add_common(CLI::App* app, CommonOptions& common) {
  app->add_option("--device", common.device, "cpu")->group("Machine");
  app->add_option("--dtype", common.dtype, "f32 or bf16 (default: the checkpoint's)")->group("Machine");
  app->add_option("--numerics", common.numerics, "cpu-f32, cpu-bf16, cpu-avx512bf16 (default: as --dtype)")
      ->group("Machine");
  app->add_option("--threads", common.threads, "Threads (default: all)")->group("Machine");
  app->add_option("--memory-limit", common.memory_limit, "Memory that may be used, e.g. 2G")
      ->group("Machine");
}

void add_sampling(CLI::App* app, SamplingFlags& s) {
  app->add_option("--temperature", s.temperature, "0: greedy (default: the model's)")->group("Sampling");
  app->add_option("--top-p", s.top_p, "Keep the likeliest tokens up to this mass")->group("Sampling");
  app->add_option("--top-k", s.top_k, "Keep the K likeliest tokens; 0: all")->group("Sampling");
  app->add_option("--min-p", s.min_p, "Keep tokens of at least this share of the likeliest")
      ->group("Sampling");
  app->add_option("--repetition-penalty", s.repetition_penalty,
                  "Divides the logits of tokens that the text has; 1: off")
      ->group("Sampling");
  app->add_option("--presence-penalty", s.presence_penalty,
                  "Subtracted from the logits of tokens that the answer has; 0: off")
      ->group("Sampling");
  app->add_option("--frequency-penalty", s.frequency_penalty,
                  "The same, as often as the answer has them; 0: off")
      ->group("Sampling");
  app->add_option("--max-tokens", s.max_tokens, "Longest answer (default: the model's, else 1024)")
      ->group("Sampling");
  app->add_option("--seed", s.seed, "Of the random numbers (default: 0)")->group("Sampling");
  app->add_flag("--ignore-eos", s.ignore_eos, "Go on behind the end-of-sequence token")->group("Sampling");
}

constexpr const char* kModelHelp = "A Hugging Face directory, or a shipped model's name (default: r1-nano)";

// "" is no model; the default is taken only if nothing is given.
void add_model(CLI::App* app, std::string& model, const char* help, bool required = false) {
  app->add_option("model", model, help)->required(required)->check([](const std::string& given) {
    return given.empty() ? std::string("the name is empty; give a directory or a shipped model's name")
                         : std::string();
  });
}

// Subcommands: each adds its options and says what is to be called.
struct Program {
  CLI::App app{"r1: trains and runs DeepSeek-R1-style reasoning models.", "r1"};
  std::function<int()> chosen;

  r1::RunOptions run;
  r1::GenerateOptions generate;
  r1::ScoreOptions score;
  r1::TokenizeOptions tokenize;
  r1::TemplateOptions chat_template;
  r1::VerifyOptions verify;
  std::array<r1::TrainCommandOptions, 4> train;
  r1::RecipeCommandOptions recipe;
  r1::EvalCommandOptions eval;
  r1::ReportOptions report;
  r1::SchemaOptions schema;
  r1::DoctorOptions doctor;

  template <class Options>
  CLI::App* add(const char* name, const char* help, Options& options, int (*call)(const Options&)) {
    CLI::App* sub = app.add_subcommand(name, help);
    add_common(sub, options.common);
    sub->add_flag("--json", options.common.json, "One JSON object on standard output")->group("Machine");
    sub->callback([this, call, &options] { chosen = [call, &options] { return call(options); }; });
    return sub;
  }

  void add_using() {
    CLI::App* sub = add("run", "Talk to a model, or answer one prompt", run, r1::run_run);
    add_model(sub, run.model, kModelHelp);
    sub->add_option("-p,--prompt", run.prompt, "One question");
    sub->add_option("--prompt-tokens", run.prompt_tokens, "A JSON array of token ids, used as they are");
    add_sampling(sub, run.sampling);
    CLI::Option* show = sub->add_flag("--show-thinking", run.show_thinking, "Show thoughts (default)");
    sub->add_flag("--hide-thinking", run.hide_thinking, "Leave thoughts out")->excludes(show);

    sub = add("generate", "Answer many prompts from a JSONL file", generate, r1::run_generate);
    add_model(sub, generate.model, kModelHelp, true);
    sub->add_option("--input", generate.input,
                    "Rows {\"prompt\" | \"messages\" | \"tokens\"}; -: standard input")
        ->required();
    sub->add_option("--output", generate.output, "A row a sample; -: standard output")->required();
    sub->add_option("--samples", generate.samples, "Samples of each prompt (default: 1)");
    sub->add_option("--batch", generate.batch, "Sequences at a time (default: 64); changes no bit");
    sub->add_option("--prefill-chunk", generate.prefill_chunk, "Prompt tokens at a time; changes no bit");
    sub->add_flag("--logprobs", generate.logprobs, "Write the log-prob of every token");
    add_sampling(sub, generate.sampling);

    sub = add("score", "Log-probs, logits and gradients of given tokens", score, r1::run_score);
    add_model(sub, score.model, kModelHelp, true);
    sub->add_option("--input", score.input, "Rows {\"tokens\", \"from\"?}; -: standard input")->required();
    sub->add_option("--output", score.output, "OUT.safetensors: logits.<row> [T, V]");
    sub->add_option("--logprobs", score.logprobs, "F.jsonl: a row of log-probs a row");
    sub->add_option("--gradients", score.gradients, "GRADS.safetensors: loss and grad.<name>");
    sub->add_option("--temperature", score.temperature, "Of the log-probs (default: 1)");
    sub->add_option("--logits-last", score.logits_last, "Only the logits of each row's last N tokens");
  }

  void add_tools() {
    CLI::App* sub = add("tokenize", "Text to token ids, or back", tokenize, r1::run_tokenize);
    add_model(sub, tokenize.model, "A model, or a tokenizer.json", true);
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

    sub = add("template", "Render chat templates", chat_template, r1::run_template);
    add_model(sub, chat_template.model, "A model, or a template's file", true);
    sub->add_option("--input", chat_template.input,
                    "Rows {\"messages\", ...}; further fields are template variables; -: standard input")
        ->required();
    sub->add_option("--date", chat_template.date, "YYYY-MM-DD for strftime_now (default: the clock's time)");

    sub = add("verify", "Check answers", verify, r1::run_verify);
    sub->add_option("--input", verify.input,
                    "Rows {\"task\"?, \"gold\", \"pred\", \"options\"?}; -: standard input")
        ->required();

    sub = add("eval", "Measure a model on problems with checkable answers", eval, r1::run_eval);
    add_model(sub, eval.model, kModelHelp);
    sub->add_option("--task", eval.task, "A task (countdown, arithmetic:2, ...: docs/guide.md), or a file")
        ->required();
    sub->add_option("--samples", eval.samples, "Samples of each problem (default: 4)");
    sub->add_option("--problems", eval.problems, "How many (default: 200; all of a file)");
    sub->add_option("--output", eval.output, "Every sample as a JSONL row");
    sub->add_option("--batch", eval.batch, "Sequences at a time (default: 256); changes no bit");
    add_sampling(sub, eval.sampling);
  }

  void add_help() {
    CLI::App* check =
        add("doctor", "What this machine is, and whether everything works", doctor, r1::run_doctor);
    add_model(check, doctor.model, kModelHelp);
    check->add_flag("--against-transformers", doctor.against_transformers,
                    "Compare logits with transformers");
    check->add_option("--python", doctor.python, "With torch and transformers (default: python3)");
    CLI::App* sub =
        add("schema", "The JSON schema of a file that r1 reads or writes", schema, r1::run_schema);
    sub->add_option("name", schema.name, "grpo, metrics.jsonl, ... (default: a list)");
  }

  void add_training() {
    constexpr const char* kConfig = "CONFIG.toml";
    constexpr std::array<std::array<const char*, 2>, 4> kStages = {
        {{"pretrain", "Train on generated documents"},
         {"sft", "Fine-tune on JSONL files of conversations"},
         {"grpo", "Reinforcement learning with GRPO (R1-Zero)"},
         {"distill", "Fine-tune on a teacher's verified answers (distillation, rejection sampling)"}}};
    for (size_t i = 0; i < kStages.size(); ++i) {
      train[i].kind = kStages[i][0];
      CLI::App* stage = add(kStages[i][0], kStages[i][1], train[i], r1::run_train_command);
      stage->add_option("config", train[i].config, kConfig)->required();
      stage->add_flag("--resume", train[i].resume, "Go on with an interrupted run");
      stage->add_option("--out", train[i].out, "Run directory, instead of the configuration's");
    }
    CLI::App* sub = add("recipe", "A whole pipeline of stages", recipe, r1::run_recipe_command);
    sub->add_option("config", recipe.config, kConfig)->required();
    sub->add_flag("--resume", recipe.resume, "Go on with an interrupted run");
    sub->add_flag("--all", recipe.all, "Its optional stages too");
    sub->add_option("--seed", recipe.seed, "Instead of the recipe's");
    sub->add_option("--out", recipe.out, "Run directory, instead of the recipe's");
    sub = add("report", "A run, or several side by side, as one HTML page", report, r1::run_report);
    sub->add_option("run", report.runs, "The directory of a recipe, or of one stage; several are compared")
        ->required();
    sub->add_option("--output", report.output,
                    "FILE.html (default: RUN/report.html; for several runs report.html here)");
  }

  Program() {
    app.require_subcommand(1);
    app.footer("r1 COMMAND --help lists a command's options.");
    add_using();
    add_training();
    add_tools();
    add_help();
  }

  // CLI11 would only say that a subcommand is missing.
  void check_command(int argc, char** argv) const {
    if (argc < 2 || argv[1][0] == '-') return;
    std::vector<std::string> names;
    for (const CLI::App* sub : app.get_subcommands(nullptr)) names.push_back(sub->get_name());
    if (std::ranges::find(names, argv[1]) != names.end()) return;
    const std::string near = r1::nearest_name(argv[1], names);
    throw r1::Error("unknown command " + std::string(argv[1]) +
                    (near.empty() ? " (r1 --help lists them)" : " (did you mean " + near + "?)"));
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
  program.check_command(argc, argv);
  try {
    program.app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const auto given = program.app.get_subcommands();
    r1::write_stdout(given.empty() ? program.app.help() : given.front()->help());
    return 0;
  } catch (const CLI::ParseError& e) {
    throw r1::Error(std::string(e.what()) + " (r1 --help says how)");
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
