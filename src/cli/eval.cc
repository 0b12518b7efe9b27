// cli/eval.cc: `r1 eval`: a model against generated or given problems.
#include <fmt/format.h>

#include "base/error.h"
#include "cli/common.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "eval/evaluate.h"
#include "reward/problem_file.h"

namespace r1 {
namespace {

// Bounds the memory: a problem and a sample take some hundred bytes each.
constexpr size_t kMostErrorsNamed = 100;

constexpr int64_t kMostProblems = 1'000'000, kMostSamples = 10'000'000;

void check_counts(const EvalCommandOptions& options) {
  const auto check = [](std::string_view option, int64_t value, int64_t most) {
    if (value < 1 || value > most)
      throw Error(fmt::format("{} is {}; it must be between 1 and {}", option, value, most));
  };
  if (options.problems) check("--problems", *options.problems, kMostProblems);
  check("--samples", options.samples, kMostSamples);
}

// A task's name, or a file of problems.
ProblemFile problems_of(const EvalCommandOptions& options) {
  constexpr int64_t kGenerated = 200;  // +-7 points at pass@1 0.5
  std::error_code none;
  const bool looks_like_file =
      options.task.find('/') != std::string::npos || options.task.find('.') != std::string::npos;
  if (looks_like_file || std::filesystem::exists(options.task, none)) {
    ProblemFile file = read_problems(options.task);
    const size_t most = static_cast<size_t>(options.problems.value_or(INT64_MAX));
    if (file.problems.size() > most) file.problems.resize(most);
    return file;
  }
  check_task(options.task, Split::held_out);
  ProblemFile made;
  for (int64_t i = 0; i < options.problems.value_or(kGenerated); ++i) {
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
  out += fmt::format("  speed         {:.0f} tok/s\n",
                     r.seconds > 0 ? static_cast<double>(r.tokens) / r.seconds : 0.0);
  return out;
}

}  // namespace

int run_eval(const EvalCommandOptions& options) {
  check_common(options.common);
  check_counts(options);
  check_at_least("--batch", options.batch, 1);
  refuse_overwriting(options.task, options.output);
  const ProblemFile file = problems_of(options);
  const std::vector<Problem>& problems = file.problems;
  if (static_cast<int64_t>(problems.size()) > kMostSamples / options.samples) {
    throw Error(
        fmt::format("{} problems x {} samples are more than {}: give a smaller --problems or --samples",
                    problems.size(), options.samples, kMostSamples));
  }
  if (!file.refused.empty()) write_stderr("r1: " + refusal_notice(file) + "\n");
  const std::filesystem::path directory = resolve_model(options.model);
  const Numerics numerics = choose_numerics(options.common, directory);
  const ModelBundle bundle = ModelBundle::load(directory, activation_dtype(numerics));
  show_warnings(bundle.warnings);
  const Request base = base_request(options.sampling, bundle.sampling, bundle.stop_tokens, bundle.max_tokens);
  Runtime runtime(options.common, bundle.model, numerics);
  EvalOptions eval;
  eval.samples = options.samples;
  eval.sampling = base.sampling;
  eval.max_tokens = base.max_tokens;
  eval.seed = options.sampling.seed;
  eval.batch = options.batch;
  eval.kv_bytes = runtime.kv_bytes();
  std::optional<RowOutput> rows;
  if (!options.output.empty())
    rows.emplace(options.output);  // before the work: an unwritable file is known at once
  Counter counter("samples", static_cast<int64_t>(problems.size()) * eval.samples);
  const EvalResult result =
      evaluate(bundle, runtime.ctx, problems, eval, [&](int64_t, int64_t) { counter.add(1); });
  counter.clear();
  if (rows) {
    for (const EvalSample& row : result.rows)
      rows->write(sample_row(problems[static_cast<size_t>(row.problem)], row));
    rows->close();
  }
  if (!options.common.json) {
    std::string text = table(result, directory.string(), options.task);
    if (!file.refused.empty()) text += fmt::format("  rows refused  {}\n", file.refused.size());
    write_stdout(text);
    return 0;
  }
  Json json = Json::object();
  json.set("model", directory.string())
      .set("task", options.task)
      .set("seed", static_cast<int64_t>(eval.seed));
  const auto set = [&](const char* name, float value) { json.set(name, static_cast<double>(value)); };
  const SamplingParams& sampling = eval.sampling;
  set("temperature", sampling.temperature);
  set("top_p", sampling.top_p);
  json.set("max_tokens", eval.max_tokens);
  if (sampling.top_k > 0) json.set("top_k", sampling.top_k);
  if (sampling.min_p > 0) set("min_p", sampling.min_p);
  if (sampling.repetition_penalty != 1) set("repetition_penalty", sampling.repetition_penalty);
  if (sampling.presence_penalty != 0) set("presence_penalty", sampling.presence_penalty);
  if (sampling.frequency_penalty != 0) set("frequency_penalty", sampling.frequency_penalty);
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
