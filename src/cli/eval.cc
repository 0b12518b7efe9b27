// cli/eval.cc: `r1 eval`: a model against generated or given problems.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "cli/bounds.h"
#include "cli/common.h"
#include "cli/job_identity.h"
#include "cli/ordered_output.h"
#include "cli/progress.h"
#include "data/problem_source.h"
#include "engine/ask.h"
#include "eval/evaluate.h"
#include "recipe/stages.h"
#include "reward/problem_file.h"
#include "reward/reward.h"

namespace r1 {
namespace {

constexpr size_t kMostErrorsNamed = 100;

bool is_file(const std::string& task) {
  std::error_code none;
  return task.find('/') != std::string::npos || task.find('.') != std::string::npos ||
         std::filesystem::exists(task, none);
}

// Reads a file of problems and keeps those on the side that --split names, as [data] split does.
ProblemFile file_of(const EvalCommandOptions& options, GoldIs gold) {
  ProblemFile file = read_problems(options.task, RecordMapping(options.question, options.answer, ""), gold);
  if (options.split.empty() || options.split == "all") return file;
  const double share = options.held_out.value_or(RowSelection().held_out);
  ProblemFile side = file;
  side.problems.clear();
  side.lines.clear();
  for (size_t i = 0; i < file.problems.size(); ++i) {
    const bool held_out = is_held_out_question(file.problems[i].question, share);
    if (held_out != (options.split == "held_out")) continue;
    side.problems.push_back(std::move(file.problems[i]));
    side.lines.push_back(file.lines[i]);
  }
  if (side.problems.empty())
    throw Error(fmt::format("{}: none of its {} problems is on the side --split {}", options.task,
                            file.problems.size(), options.split));
  return side;
}

void check_file_options(const EvalCommandOptions& options) {
  if (!options.split.empty() && options.split != "all" && options.split != "train" &&
      options.split != "held_out")
    throw Error(fmt::format("--split is {}; it must be all, train or held_out", options.split));
  if (options.held_out && !(*options.held_out >= 0 && *options.held_out <= 1))
    throw Error(fmt::format("--held-out is {}; it must be between 0 and 1", *options.held_out));
  if (options.held_out && options.split.empty())
    throw Error("--held-out is given without --split; --split says which side is asked: train or held_out");
  const bool given = !options.split.empty() || !options.question.empty() || !options.answer.empty();
  if (given && !is_file(options.task))
    throw Error(fmt::format("--split, --question and --answer are for files; {} is a task", options.task));
}

// Loads the problems of --task: a task's name or a file of problems.
ProblemFile problems_of(const EvalCommandOptions& options, GoldIs gold) {
  constexpr int64_t kGenerated = 200;  // +-7 points at pass@1 0.5
  if (is_file(options.task)) return file_of(options, gold);
  check_task(options.task, Split::held_out);
  const int64_t count = options.problems.value_or(kGenerated);
  check_row_count(count * options.samples);  // before time and memory go into the problems
  ProblemFile made;
  for (int64_t i = 0; i < count; ++i) {
    made.problems.push_back(
        make_problem(options.task, options.sampling.seed, static_cast<uint64_t>(i), Split::held_out));
  }
  return made;
}

std::string table(const EvalResult& r, const std::string& model, const std::string& task) {
  std::string out = fmt::format("{} on {}: {} problems x {} samples\n", model, task, r.problems, r.samples);
  out += fmt::format("  pass@1        {:.3f}   95 % interval {:.3f} to {:.3f}\n", r.pass_at_1, r.low, r.high);
  for (const PassAtK& p : r.pass_at) {
    if (p.k > 1) out += fmt::format("  {:<13} {:.3f}\n", fmt::format("pass@{}", p.k), p.value);
  }
  out += fmt::format("  length        {:.1f} tokens; of correct answers {:.1f} are thinking\n", r.mean_length,
                     r.mean_thinking);
  out += fmt::format("  well formed   {:.3f}   truncated {:.3f}\n", r.well_formed, r.truncated);
  out += fmt::format("  speed         {:.0f} tok/s\n", r.tokens_per_s());
  return out;
}

// Returns a hash of the problems' content, which does not depend on where they came from.
std::string problems_sha256(std::span<const Problem> problems) {
  std::string text;
  for (const Problem& p : problems)
    text += Json::array().push_back(p.task).push_back(p.question).push_back(p.gold).dump() + "\n";
  return sha256_hex(text);
}

// The samples as rows of an output, if there is one.
class SampleRows {
 public:
  SampleRows(const EvalCommandOptions& options, const ModelBundle& bundle, Numerics numerics,
             const std::filesystem::path& directory, std::span<const Problem> problems,
             const PromptFormat& prompt, const std::optional<RewardConfig>& judge)
      : samples_(options.samples), problems_(problems) {
    if (options.output.empty()) return;
    Journal::Job job;
    job.output = options.output;
    job.slots = std::ssize(problems) * samples_;
    job.resume = options.resume;
    job.resume_command = resume_command(options.common, options.resume);
    job.slot_of = [this](const Json& row) {
      const EvalSample sample = sample_of_row(row);
      const bool known = sample.problem >= 0 && sample.problem < std::ssize(problems_) &&
                         sample.sample >= 0 && sample.sample < samples_;
      return known ? slot(sample) : -1;
    };
    if (has_journal(options.output)) {
      job.identity = job_identity("eval", directory, bundle.model, numerics);
      job.identity.set("problems", problems_sha256(problems)).set("--samples", samples_);
      add_flags(job.identity, options.sampling);
      if (judge) {
        std::string content = read_file(options.reward);
        for (const ProgramConfig& program : judge->programs) {
          for (const std::string& file : files_of(program)) content += "\n" + sha256_hex(read_file(file));
        }
        job.identity.set("--reward", sha256_hex(content));
      }
      if (!prompt.is_default()) job.identity.set("--prompt-template, --system, --think", to_json(prompt));
    }
    out_.emplace(std::move(job), "samples");
  }

  std::vector<EvalSample> finished() const {
    std::vector<EvalSample> rows;
    if (!out_) return rows;
    for (int64_t s = 0; s < std::ssize(problems_) * samples_; ++s) {
      if (out_->is_finished(s)) rows.push_back(sample_of_row(parse_json(out_->line(s), "journal")));
    }
    return rows;
  }

  void add(const EvalSample& sample) {
    if (out_)
      out_->finish(slot(sample), sample_row(problems_[static_cast<size_t>(sample.problem)], sample).dump());
  }

  void close() {
    if (out_) out_->close();
  }

 private:
  int64_t slot(const EvalSample& sample) const { return sample.problem * samples_ + sample.sample; }

  int64_t samples_;
  std::span<const Problem> problems_;
  std::optional<OrderedOutput> out_;
};

// Returns [reward] of the configuration that --reward names, or nothing without --reward.
std::optional<RewardConfig> judge_of(const EvalCommandOptions& options) {
  if (options.reward.empty()) return std::nullopt;
  ConfigFile config = ConfigFile::read(options.reward);
  RewardConfig reward = read_grpo_settings(config).reward;
  check_programs(config, reward);
  return reward;
}

std::string first_failure(const EvalResult& result) {
  for (const EvalSample& s : result.rows) {
    if (s.verdict.status == SampleStatus::verifier_failed) return s.verdict.why;
  }
  return "";
}

void check_options(const EvalCommandOptions& options) {
  check_common(options.common);
  if (options.problems) check_between("--problems", *options.problems, 1, kMostProblems);
  check_between("--samples", options.samples, 1, kMostSamples);
  check_between("--batch", options.batch, 1, kMostBatch);
  if (options.output == "-" && options.common.json)
    throw Error("--output - and --json would both write to standard output: give the rows a file");
  if (!options.output.empty()) {
    check_output(options.output, {options.task, options.reward}, options.resume);
  } else if (options.resume) {
    throw Error("--resume goes on with the rows of --output, which is missing");
  }
}

}  // namespace

int run_eval(const EvalCommandOptions& options) {
  check_options(options);
  check_file_options(options);
  EvalOptions eval;
  eval.prompt = prompt_format_of(options.prompt_template, options.system, options.think);
  load_prompt_format(eval.prompt);
  const std::optional<RewardConfig> judge = judge_of(options);
  ProblemFile file =
      problems_of(options, judge && judge->decided_outside() ? GoldIs::optional : GoldIs::required);
  const std::vector<Problem>& problems = file.problems;
  const std::filesystem::path directory = resolve_model(options.model);
  const Numerics numerics = numerics_to_load(options.common, directory);
  const ModelBundle bundle = ModelBundle::load(directory, activation_dtype(numerics), WeightUse::inference,
                                               device_memory(options.common), options.common.quantize);
  show_warnings(bundle.warnings);
  if (const std::string note = check_prompt_format(bundle, eval.prompt, directory.string()); !note.empty())
    show_warnings({&note, 1});
  check_max_tokens(options.sampling, bundle.model.config());
  if (is_file(options.task)) {
    refuse_problems(file, options.task,
                    [&](const Problem& problem) { check_room(bundle, problem, eval.prompt); });
    const auto most = static_cast<size_t>(options.problems.value_or(INT64_MAX));
    if (file.problems.size() > most) file.problems.resize(most);
    if (!file.refused.empty()) write_stderr("r1: " + refusal_notice(file) + "\n");
  }
  check_row_count(std::ssize(problems) * options.samples);
  eval.sampling = sampling_settings(options.sampling, bundle.sampling, bundle.max_tokens);
  Runtime runtime(options.common, bundle.model, numerics);
  eval.seed = options.sampling.seed;
  eval.sampling.samples = options.samples;
  eval.sampling.batch = options.batch;
  eval.sampling.kv_bytes = runtime.kv_bytes();
  std::optional<Reward> reward;
  if (judge) {
    reward.emplace(*judge, eval.sampling.max_tokens);
    eval.judge = [&](std::span<const RewardSample> samples) {
      return verdicts_of(*reward, runtime.threads, samples);
    };
  }
  SampleRows rows(options, bundle, numerics, directory, problems, eval.prompt, judge);
  std::vector<EvalSample> finished = rows.finished();
  Counter counter("samples", std::ssize(problems) * options.samples - std::ssize(finished));
  const EvalResult result = evaluate(
      bundle, runtime.ctx, problems, eval,
      [&](const EvalSample& sample, int64_t, int64_t) {
        rows.add(sample);
        counter.add(1);
      },
      std::move(finished));
  counter.clear();
  rows.close();
  const int64_t failed = std::ranges::count_if(
      result.rows, [](const EvalSample& s) { return s.verdict.status == SampleStatus::verifier_failed; });
  if (failed > 0) {
    write_stderr(fmt::format(
        "r1: the verifier failed for {} of {} answers, which count as wrong; the first reason: {}\n", failed,
        result.rows.size(), first_failure(result)));
  }
  if (!options.common.json) {
    std::string text = table(result, directory.string(), options.task);
    if (!file.refused.empty()) text += fmt::format("  rows refused  {}\n", file.refused.size());
    options.output == "-" ? write_stderr(text) : write_stdout(text);
    return 0;
  }
  Json json = Json::object();
  json.set("model", directory.string())
      .set("task", options.task)
      .set("seed", static_cast<int64_t>(eval.seed));
  const auto set = [&](const char* name, float value) { json.set(name, static_cast<double>(value)); };
  const SamplingParams& sampling = eval.sampling.params;
  set("temperature", sampling.temperature);
  set("top_p", sampling.top_p);
  json.set("max_tokens", eval.sampling.max_tokens);
  if (sampling.top_k > 0) json.set("top_k", sampling.top_k);
  if (sampling.min_p > 0) set("min_p", sampling.min_p);
  if (sampling.repetition_penalty != 1) set("repetition_penalty", sampling.repetition_penalty);
  if (sampling.presence_penalty != 0) set("presence_penalty", sampling.presence_penalty);
  if (sampling.frequency_penalty != 0) set("frequency_penalty", sampling.frequency_penalty);
  if (!eval.prompt.is_default()) json.set("prompt", to_json(eval.prompt));
  if (judge) json.set("reward", options.reward).set("verifier_failed", failed);
  if (!file.refused.empty()) {
    json.set("rows_refused", file.refused.size());
    Json errors = Json::array();
    for (size_t i = 0; i < std::min(file.refused.size(), kMostErrorsNamed); ++i)
      errors.push_back(file.refused[i].error);
    json.set("row_errors", std::move(errors));
  }
  json.set("numerics", name_of(numerics)).set("weights_sha256", bundle.model.weights_sha256());
  const Json figures = to_json(result);
  for (const auto& [key, value] : figures.members()) json.set(key, value);
  write_stdout(json.dump() + "\n");
  return 0;
}

}  // namespace r1
