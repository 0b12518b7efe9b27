#include "recipe/training_evals.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "data/row_selection.h"
#include "engine/ask.h"
#include "formats/jsonl.h"
#include "model/lanes.h"
#include "model/scoring.h"
#include "reward/problem_file.h"
#include "train/out_folder.h"

namespace r1 {
namespace fs = std::filesystem;

namespace {

constexpr const char* kValidation = "validation";

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

TrainingEval read_eval(ConfigFile& file, int64_t index, const RunConfig& run, int64_t max_tokens) {
  TrainingEval e;
  e.key = fmt::format("eval[{}]", index);
  const auto key = [&](const char* name) { return e.key + "." + name; };
  e.task = file.text(key("task"));
  e.every = file.integer(key("every"), 1, int64_t{1} << 40);
  e.name = file.text_or(key("name"), "");
  const char* named = e.name.empty() ? "task" : "name";
  if (e.name.empty()) e.name = fs::path(e.task).stem().string();
  if (!is_folder_name(e.name)) file.fail(key(named), "makes no name for figures: give the [[eval]] a name");
  if (e.name == kValidation)
    file.fail(key(named), "is \"validation\", which names the validation loss: give another name");
  e.problems = file.integer_or(key("problems"), 128, 1, 1 << 20);
  SamplingSettings fallback = e.options.sampling;
  fallback.samples = 1;
  fallback.max_tokens = max_tokens;
  e.options.sampling = read_sampling_settings(file, e.key, fallback, {.top_p = false, .batch = false});
  e.options.seed = run.seed;
  return e;
}

bool has_figure(const TrainingEvalConfig& c, const std::string& name) {
  if (name == kValidation) return c.validates();
  return std::ranges::find(c.evals, name, &TrainingEval::name) != c.evals.end();
}

// Returns the key in rows of metrics.jsonl.
std::string figure_of(const std::string& name) {
  return name == kValidation ? "validation.loss" : "eval." + name + ".pass_at_1";
}

// Returns the path of a file of problems, or "" if `task` names a task. Throws Error that names the key if it
// is neither.
fs::path file_of_eval(const ConfigFile& file, const std::string& key, const std::string& task) {
  const fs::path path = file.beside(task, key);
  std::error_code ec;
  if (fs::is_regular_file(path, ec)) return path;
  try {
    check_task(task, Split::held_out);
  } catch (const Error& error) {
    file.fail(key, fmt::format("is no file, and {}", error.what()));
  }
  return {};
}

// Loads the problems of a file, or a task's held-out problems.
std::vector<Problem> problems_of_eval(const TrainingEval& e, const ConfigFile& file, GoldIs gold,
                                      Reporter& reporter) {
  const fs::path path = file_of_eval(file, e.key + ".task", e.task);
  std::vector<Problem> problems;
  if (!path.empty()) {
    ProblemFile read = read_problems(path.string(), {}, gold);
    if (!read.refused.empty()) reporter.note(refusal_notice(read));
    problems = std::move(read.problems);
    if (std::ssize(problems) > e.problems) problems.resize(static_cast<size_t>(e.problems));
    return problems;
  }
  for (int64_t i = 0; i < e.problems; ++i)
    problems.push_back(make_problem(e.task, 0, static_cast<uint64_t>(i), Split::held_out));
  return problems;
}

void check_prompts(const TrainingEval& e, const ConfigFile& file, const ModelBundle& bundle,
                   const PromptFormat& format, std::span<const Problem> problems) {
  const int64_t context = bundle.model.config().max_positions;
  for (const Problem& problem : problems) {
    const int64_t prompt = std::ssize(make_prompt(bundle, format, problem.question).tokens);
    if (prompt + 1 > context) {
      file.fail(e.key + ".task",
                fmt::format("has a prompt of {} tokens; the model's context is {}, so nothing is "
                            "left for an answer",
                            prompt, context));
    }
  }
}

// Returns the number of leading rows that belong to steps up to `step`.
int64_t rows_until(const fs::path& path, int64_t step) {
  std::error_code ec;
  if (!fs::exists(path, ec)) return 0;
  JsonlReader reader(path);
  int64_t rows = 0;
  for (JsonlRow row; reader.next(row); ++rows) {
    if (!row.error.empty() || row.value.get_int_or("step", INT64_MAX) > step) break;
  }
  return rows;
}

}  // namespace

TrainingEvalConfig read_training_evals(ConfigFile& file, const RunConfig& run, int64_t max_tokens,
                                       bool documents) {
  TrainingEvalConfig c;
  const int64_t count = file.array_size("eval", false);
  for (int64_t i = 0; i < count; ++i) {
    TrainingEval e = read_eval(file, i, run, max_tokens);
    if (has_figure(c, e.name))
      file.fail(
          e.key + ".task",
          fmt::format("has the name \"{}\", as an earlier [[eval]]: give this one another name", e.name));
    c.evals.push_back(std::move(e));
  }
  if (documents) {
    // data.held_out also affects data.split (data/row_selection.h). It makes a validation set only if the
    // file gives it.
    for (const std::string& name : file.texts_or("validation.files", {}))
      c.files.push_back(file.beside(name, "validation.files").string());
    if (file.has("data.held_out") && c.files.empty())
      c.held_out = file.number_or("data.held_out", RowSelection().held_out, 0, 1);
    const std::optional<int64_t> every = file.integer_if("validation.every", 1, int64_t{1} << 40);
    constexpr int64_t kEvery = 10;
    if (c.held_out > 0 || !c.files.empty()) {
      c.validation_every = every.value_or(kEvery);
    } else if (every) {
      file.fail("validation.every", "is given without documents: give data.held_out or validation.files");
    }
  }
  c.best = file.text_or("checkpoint.best", "");
  if (!c.best.empty() && !has_figure(c, c.best)) {
    std::string known;
    for (const TrainingEval& e : c.evals) known += (known.empty() ? "" : ", ") + e.name;
    if (c.validates()) known += (known.empty() ? "" : ", ") + std::string(kValidation);
    file.fail("checkpoint.best", fmt::format("is \"{}\"; it must name an [[eval]]{} ({})", c.best,
                                             documents ? " or be \"validation\"" : "",
                                             known.empty() ? "there is none" : "there are: " + known));
  }
  return c;
}

void check_eval_tasks(const ConfigFile& file) {
  const Json settings = file.settings();
  for (int64_t i = 0; file.has(fmt::format("eval[{}]", i)); ++i) {
    const std::string key = fmt::format("eval[{}].task", i);
    (void)file_of_eval(file, key, settings.get_string(key));
  }
}

bool is_held_out(const Document& document, double share) {
  // The hash covers the prompt only, so that all answers to one question are on the same side. Without a
  // prompt it covers all tokens.
  const int64_t size = document.prompt_size() > 1 ? document.prompt_size() : std::ssize(document.tokens);
  std::string bytes;
  for (int64_t i = 0; i < size; ++i) bytes += std::to_string(document.tokens[static_cast<size_t>(i)]) + " ";
  const std::string hex = sha256_hex(bytes).substr(0, 13);  // 52 bits: exact in a double
  return static_cast<double>(std::stoull(hex, nullptr, 16)) < share * 0x1p52;
}

std::vector<Document> take_held_out(std::vector<Document>& documents, const ConfigFile& file, double share) {
  std::vector<Document> held, kept;
  for (Document& d : documents) (is_held_out(d, share) ? held : kept).push_back(std::move(d));
  if (held.empty() || kept.empty()) {
    file.fail("data.held_out", fmt::format("is {}: of {} documents that leaves {} to train on and {} for the "
                                           "validation loss; there must be one at least of both",
                                           share, held.size() + kept.size(), kept.size(), held.size()));
  }
  documents = std::move(kept);
  return held;
}

TrainingEvals::TrainingEvals(const TrainingEvalConfig& config, const ConfigFile& file, const RunConfig& run,
                             const ModelBundle& bundle, std::vector<Document> validation,
                             int64_t micro_tokens, int64_t steps, ThreadPool& threads, Reporter& reporter)
    : config_(config),
      run_(run),
      bundle_(bundle),
      validation_(std::move(validation)),
      micro_tokens_(micro_tokens),
      steps_(steps),
      threads_(threads),
      reporter_(reporter) {
  for (const TrainingEval& e : config.evals) {
    problems_.push_back(
        problems_of_eval(e, file, config.judge ? GoldIs::optional : GoldIs::required, reporter));
    check_prompts(e, file, bundle, config.prompt, problems_.back());
  }
  if (config.judge && !config.evals.empty()) reward_.emplace(*config.judge, config.max_tokens);
}

StepMeasures TrainingEvals::measures() {
  return {.begin = [this](int64_t step) { begin(step); },
          .due = [this](int64_t step) { return due(step); },
          .measure = [this](int64_t step, Json& row) { measure(step, row); }};
}

void TrainingEvals::check_memory_with(MemoryEstimate step, int64_t limit) const {
  int64_t most = 0;
  for (size_t i = 0; i < config_.evals.size(); ++i) {
    const std::vector<int64_t> prompts = prompt_lengths(bundle_, problems_[i], config_.prompt);
    const SamplingLoad load = sampling_load(config_.evals[i].options.sampling, prompts);
    MemoryEstimate sampling;
    add_sampling(sampling, bundle_.model.config(), run_.numerics, load, threads_);
    most = std::max(most, sampling.total());
  }
  if (most == 0) return;
  step.activations += most;
  check_memory(step, limit, "a step with an [[eval]] beside it",
               "the eval's problems, samples or max_tokens, or batch.micro", run_.device);
}

void TrainingEvals::begin(int64_t step) {
  const fs::path samples = run_.out / "evals.jsonl", best = run_.out / "best";
  std::error_code ec;
  if (fs::exists(samples, ec)) truncate_lines(samples, rows_until(samples, step));
  recover_directory(best);
  best_.reset();
  if (config_.best.empty() || step == 0) return;
  // If OUT/best is from a step after `step`, the repeated steps write it again.
  if (!fs::exists(best / "best.json", ec) || read_json(best / "best.json").get_string("eval") != config_.best)
    return;
  for (const Json& row : read_jsonl(run_.out / "metrics.jsonl")) {
    const Json* figure = row.find(figure_of(config_.best));
    if (figure == nullptr || !figure->is_number()) continue;
    const double value = config_.best == kValidation ? -figure->number() : figure->number();
    best_ = std::max(value, best_.value_or(value));
  }
}

bool TrainingEvals::due(int64_t step) const {
  const auto falls = [&](int64_t every) { return every > 0 && (step % every == 0 || step == steps_); };
  return falls(config_.validation_every) || std::ranges::any_of(config_.evals, falls, &TrainingEval::every);
}

void TrainingEvals::measure(int64_t step, Json& row) {
  for (size_t i = 0; i < config_.evals.size(); ++i) {
    const int64_t every = config_.evals[i].every;
    if (step % every == 0 || step == steps_) evaluate_one(i, step, row);
  }
  if (config_.validates() && (step % config_.validation_every == 0 || step == steps_)) validate(step, row);
  keep_best(step, row);
}

void TrainingEvals::evaluate_one(size_t index, int64_t step, Json& row) {
  const TrainingEval& e = config_.evals[index];
  Workspace work(threads_, run_.numerics, bundle_.model.memory());
  EvalOptions options = e.options;
  options.prompt = config_.prompt;
  if (reward_) {
    options.judge = [&](std::span<const RewardSample> samples) {
      std::vector<RewardSample> named(samples.begin(), samples.end());
      for (RewardSample& sample : named) sample.id = fmt::format("{}/{}/{}", e.name, step, sample.id);
      return verdicts_of(*reward_, threads_, named);
    };
  }
  const EvalResult result = evaluate(bundle_, work.ctx, problems_[index], options);
  const int64_t failed = std::ranges::count_if(
      result.rows, [](const EvalSample& s) { return s.verdict.status == SampleStatus::verifier_failed; });
  if (failed > 0)
    reporter_.note(
        fmt::format("step {}: held-out {}: the verifier failed for {} answers, which count as wrong", step,
                    e.name, failed));
  JsonlWriter samples(run_.out / "evals.jsonl", FileWriter::Mode::append);
  for (const EvalSample& s : result.rows) {
    Json line = Json::object();
    line.set("step", step).set("eval", e.name);
    const Json fields = sample_row(problems_[index][static_cast<size_t>(s.problem)], s);
    for (const auto& [key, value] : fields.members()) line.set(key, value);
    samples.write(line);
  }
  samples.close();
  const std::string stem = "eval." + e.name + ".";
  row.set(stem + "pass_at_1", result.pass_at_1).set(stem + "low", result.low).set(stem + "high", result.high);
  row.set(stem + "length", result.mean_length).set(stem + "truncated", result.truncated);
  row.set(stem + "seconds", result.seconds);
  reporter_.note(
      fmt::format("step {}: held-out {}: pass@1 {:.3f} (95 % interval {:.3f} to {:.3f}; {} problems x {})",
                  step, e.name, result.pass_at_1, result.low, result.high, result.problems, result.samples));
}

void TrainingEvals::validate(int64_t step, Json& row) {
  const double begin = seconds_now();
  std::vector<ScoredRow> rows;
  for (const Document& d : validation_) rows.emplace_back(d.tokens, d.trained);
  Lanes lanes(threads_, run_.numerics, Arena::kDefaultLimit, bundle_.model.memory());
  const auto scored =
      score(bundle_.model, lanes, rows, {.micro_tokens = micro_tokens_, .prompts = Prompts::repeated});
  double loss = 0;
  int64_t tokens = 0;
  for (const std::vector<float>& logprobs : scored) {
    for (const float lp : logprobs) loss -= static_cast<double>(lp);
    tokens += std::ssize(logprobs);
  }
  loss /= static_cast<double>(std::max<int64_t>(1, tokens));
  row.set("validation.loss", loss).set("validation.seconds", seconds_now() - begin);
  reporter_.note(fmt::format("step {}: validation loss {:.4f} ({} documents, {} tokens)", step, loss,
                             validation_.size(), tokens));
}

void TrainingEvals::keep_best(int64_t step, const Json& row) {
  if (config_.best.empty()) return;
  const Json* figure = row.find(figure_of(config_.best));
  if (figure == nullptr) return;
  const double value = config_.best == kValidation ? -figure->number() : figure->number();
  if (best_ && value <= *best_) return;
  write_directory_atomically(run_.out / "best", [&](const fs::path& d) {
    bundle_.save(d);
    const Json json =
        Json::object().set("eval", config_.best).set("step", step).set("value", figure->number());
    write_file_atomically(d / "best.json", json.dump(2) + "\n");
  });
  best_ = value;
}

}  // namespace r1
