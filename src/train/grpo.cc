#include "train/grpo.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "base/process.h"
#include "base/text_util.h"
#include "formats/jsonl.h"
#include "text/think.h"
#include "train/grpo_step.h"
#include "train/step_loop.h"
#include "train/watch.h"

namespace r1 {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void write_rollouts(RunDirectory& run, int64_t step, std::span<const Problem> problems,
                    std::span<const Rollout> rollouts, const GrpoConfig& config, const ModelBundle& bundle,
                    const std::string& weights) {
  for (const Rollout& r : rollouts) {
    Json logprobs = Json::array();
    for (const float lp : r.old_logprobs) logprobs.push_back(hex_float(lp));
    const auto prompt = std::span(r.tokens).first(static_cast<size_t>(r.prompt_size));
    Json row = Json::object();
    row.set("step", step).set("prompt", static_cast<int64_t>(r.prompt)).set("sample", r.sample);
    const Problem& problem = problems[static_cast<size_t>(r.problem)];
    row.set("task", problem.task).set("question", problem.question).set("gold", problem.gold);
    row.set("text",
            response_text(bundle.tokenizer, std::span(r.tokens).subspan(static_cast<size_t>(r.prompt_size))));
    if (opens_thought(r.opening)) row.set("prompt_opened", true);
    row.set("prompt_tokens", Json::array_of(prompt));
    row.set("tokens", Json::array_of(std::span(r.tokens).subspan(static_cast<size_t>(r.prompt_size))));
    row.set("logprobs", std::move(logprobs)).set("temperature", config.temperature);
    row.set("reward", r.reward).set("advantage", r.advantage).set("correct", r.correct).set("why", r.why);
    row.set("status", name_of(r.status));
    row.set("finish_reason", name_of(r.finish))
        .set("numerics", name_of(config.run.numerics))
        .set("weights_sha256", weights);
    run.write_sample(row);
  }
}

Json metrics_row(const TrainerState& state, const GrpoStepResult& r) {
  Json row = Json::object();
  row.set("step", state.step).set("wall_s", state.wall_s).set("tokens", state.tokens).set("loss", r.loss);
  row.set("sampled_tokens", state.sampled_tokens).set("problems", state.next_problem);
  row.set("lr", r.update.lr).set("grad_norm", r.update.grad_norm);
  row.set("reward", r.reward).set("accuracy", r.accuracy).set("format", r.format).set("length", r.length);
  row.set("thinking_correct", r.thinking_correct).set("entropy", r.entropy).set("kl", r.kl);
  row.set("clip_fraction", r.clip_fraction)
      .set("truncated", r.truncated)
      .set("groups_without_signal", r.flat_groups)
      .set("verifier_failed", r.verifier_failed);
  row.set("sampler_trainer_kl", r.sampler_trainer_kl)
      .set("sampler_trainer_max_abs", r.sampler_trainer_max_abs);
  row.set("sample_s", r.sample_s).set("verify_s", r.verify_s).set("score_s", r.score_s);
  row.set("train_s", r.train_s).set("update_s", r.update_s).set("step_s", r.step_s);
  return row;
}

// Returns a watch that has seen the steps of the run's earlier parts.
TrainingWatch watch_so_far(const RunDirectory& run, int64_t steps) {
  TrainingWatch watch;
  if (steps == 0) return watch;
  for (const Json& row : read_jsonl(run.path() / "metrics.jsonl")) (void)watch.add(row);
  return watch;
}

}  // namespace

void grpo(ModelBundle& bundle, const GrpoConfig& config, ConfigFile& file, ThreadPool& threads,
          Reporter& reporter, const TrainOptions& options, const GrpoHooks& hooks) {
  R1_CHECK(config.problems.has_value(), "the problems of data.files have not been opened");
  const int64_t steps = config.optimizer.steps;
  const MemoryEstimate memory = memory_of(bundle, config, threads);
  if (!RunDirectory::finished(config.run.out, steps))
    check_memory(memory, options.memory_limit, "a step", "batch.micro, rollout.batch or rollout.max_tokens");
  RunDirectory run(config.run, file, options.resume);
  const bool begins = run.begin(steps);
  for (const std::string& line : run.notes()) reporter.note(line);
  if (!begins) {
    reporter.note(run.path().string() + " is finished: its model is used as it is");
    bundle.model.copy_weights_from(Model::load(run.model_path()));
    return;
  }
  reporter.note(memory_line(memory, "a step"));
  reset_peak_resident();
  GrpoTrainer trainer(bundle, config, threads);
  TrainerState state;
  if (const auto checkpoint = run.latest()) {
    state = run.resume_from(*checkpoint);
    trainer.load(*checkpoint, state.updates);
    reporter.note("resumed from " + checkpoint->string());
  } else {
    run.start_afresh();
  }
  options.measures.begin_at(state.step);
  TrainingWatch watch = watch_so_far(run, state.step);
  const double wall_before = state.wall_s;
  const auto begin = Clock::now();
  const auto take_step = [&](TrainerState& at) {
    const auto step_begin = Clock::now();
    const int64_t step = at.step + 1;
    const bool record = config.samples_every > 0 && (step == 1 || step % config.samples_every == 0);
    const std::string weights = record ? bundle.model.weights_sha256() : "";
    GrpoStepResult result = trainer.step(step, at.next_problem, hooks, [&] { return options.stop_asked(); });
    if (record) write_rollouts(run, step, trainer.problems(), trainer.rollouts(), config, bundle, weights);
    at.step = step;
    at.tokens += result.tokens;
    at.next_problem += result.problems;
    at.sampled_tokens += result.sampled_tokens;
    at.updates = trainer.updates();
    at.wall_s = wall_before + seconds_since(begin);
    result.step_s = seconds_since(step_begin);
    Json row = metrics_row(at, result);
    if (options.measures.is_due(step)) options.measures.measure(step, row);
    run.write_metrics(row);
    reporter.step(row, steps);
    for (const std::string& line : trainer.judging_notes(step)) reporter.note(line);
    for (const std::string& line : watch.add(row)) reporter.note(line);
  };
  run_steps(run, state, config.checkpoint,
            {.steps = steps,
             .step = take_step,
             .save_state = [&](const std::filesystem::path& d) { trainer.save(d); },
             .save_model = [&](const std::filesystem::path& d) { bundle.save(d); }},
            options);
  reporter.note(memory_line(memory, trainer.memory()));
  run.note("memory_mib", to_json(memory, trainer.memory()));
}

}  // namespace r1
