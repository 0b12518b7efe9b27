#include "train/grpo.h"

#include <chrono>
#include <cmath>

#include "base/text_util.h"
#include "train/grpo_step.h"

namespace r1 {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void write_rollouts(RunDirectory& run, int64_t step, std::span<const Problem> problems,
                    std::span<const Rollout> rollouts, double temperature, const std::string& weights) {
  for (const Rollout& r : rollouts) {
    Json logprobs = Json::array();
    for (const float lp : r.old_logprobs) logprobs.push_back(hex_float(lp));
    const auto prompt = std::span(r.tokens).first(static_cast<size_t>(r.prompt_size));
    Json row = Json::object();
    row.set("step", step).set("prompt", r.problem).set("sample", r.sample);
    row.set("question", problems[static_cast<size_t>(r.problem)].question);
    row.set("prompt_tokens", Json::array_of(prompt));
    row.set("tokens", Json::array_of(std::span(r.tokens).subspan(static_cast<size_t>(r.prompt_size))));
    row.set("logprobs", std::move(logprobs)).set("temperature", temperature);
    row.set("reward", r.reward).set("advantage", r.advantage).set("correct", r.correct).set("why", r.why);
    row.set("finish_reason", name_of(r.finish))
        .set("numerics", name_of(Numerics::cpu_f32))
        .set("weights_sha256", weights);
    run.write_sample(row);
  }
}

Json metrics_row(const TrainerState& state, const GrpoStepResult& r) {
  Json row = Json::object();
  row.set("step", state.step).set("wall_s", state.wall_s).set("tokens", state.tokens).set("loss", r.loss);
  row.set("lr", r.update.lr).set("grad_norm", r.update.grad_norm);
  row.set("reward", r.reward).set("accuracy", r.accuracy).set("format", r.format).set("length", r.length);
  row.set("thinking_correct", r.thinking_correct).set("entropy", r.entropy).set("kl", r.kl);
  row.set("clip_fraction", r.clip_fraction)
      .set("truncated", r.truncated)
      .set("groups_without_signal", r.flat_groups);
  row.set("sampler_trainer_kl", r.sampler_trainer_kl)
      .set("sampler_trainer_max_abs", r.sampler_trainer_max_abs);
  row.set("sample_s", r.sample_s).set("verify_s", r.verify_s).set("score_s", r.score_s);
  row.set("train_s", r.train_s).set("update_s", r.update_s).set("step_s", r.step_s);
  return row;
}

}  // namespace

GrpoConfig read_grpo_config(ConfigFile& config) {
  GrpoConfig c;
  c.name = config.text("name");
  c.seed = static_cast<uint64_t>(config.integer_or("seed", 0, 0, INT64_MAX));
  c.out = config.text_or("out", "runs/" + c.name);
  c.task = config.text_or("data.task", c.task);
  try {
    check_task(c.task, Split::train);
  } catch (const Error& e) {
    config.fail("data.task", e.what());
  }
  c.optimizer = read_optimizer_config(config);
  c.checkpoint = read_checkpoint_config(config);
  c.prompts = config.integer_or("rollout.prompts", c.prompts, 1, 1 << 20);
  c.group = config.integer_or("rollout.group", c.group, 2, 1 << 16);
  c.max_tokens = config.integer_or("rollout.max_tokens", c.max_tokens, 1, 1 << 24);
  c.temperature = config.number_or("rollout.temperature", c.temperature, 0.01, 100);
  c.top_p = config.number_or("rollout.top_p", c.top_p, 0.01, 1);
  c.epochs = config.integer_or("rollout.epochs", c.epochs, 1, 100);
  c.minibatches = config.integer_or("rollout.minibatches", c.minibatches, 1, c.prompts);
  c.engine_batch = config.integer_or("rollout.batch", c.engine_batch, 1, 1 << 20);
  c.accuracy_weight = config.number_or("reward.accuracy", c.accuracy_weight, -1e6, 1e6);
  c.format_weight = config.number_or("reward.format", c.format_weight, -1e6, 1e6);
  config.choice_or("loss.ratio", "token", {"token"});
  c.loss.clip_low = config.number_or("loss.clip_low", c.loss.clip_low, 0, 1);
  c.loss.clip_high = config.number_or("loss.clip_high", c.loss.clip_high, 0, 1e9);
  c.loss.kl = config.number_or("loss.kl", c.loss.kl, 0, 1e6);
  c.reference_every = config.integer_or("loss.reference_every", c.reference_every, 0, int64_t{1} << 40);
  c.loss.normalise = config.choice_or("loss.normalise", "group", {"group", "none"}) == "none"
                         ? Normalise::none
                         : Normalise::group;
  c.loss.aggregate = config.choice_or("loss.aggregate", "token", {"token", "sequence"}) == "token"
                         ? Aggregate::token
                         : Aggregate::sequence;
  c.micro_tokens = config.integer_or("batch.micro", c.micro_tokens, 2, int64_t{1} << 31);
  c.samples_every = config.integer_or("log.samples_every", c.samples_every, 0, int64_t{1} << 40);
  return c;
}

void grpo(ModelBundle& bundle, const GrpoConfig& config, ConfigFile& file, ThreadPool& threads,
          Reporter& reporter, const TrainOptions& options, const GrpoHooks& hooks) {
  RunDirectory run(config.out, file, Numerics::cpu_f32, options.resume);
  if (run.finished()) {
    reporter.note(config.out.string() + " is finished: its model is used as it is");
    bundle.model.copy_weights_from(Model::load(run.model_path()));
    return;
  }
  GrpoTrainer trainer(bundle, config, threads);
  TrainerState state;
  if (const auto checkpoint = run.latest()) {
    state = run.resume_from(*checkpoint);
    trainer.load(*checkpoint, state.step);
    reporter.note("resumed from " + checkpoint->string());
  } else {
    run.start_afresh();
  }
  const double wall_before = state.wall_s;
  const auto begin = Clock::now();
  const int64_t last = options.stop_after_steps > 0
                           ? std::min(config.optimizer.steps, state.step + options.stop_after_steps)
                           : config.optimizer.steps;
  while (state.step < last) {
    const auto step_begin = Clock::now();
    const int64_t step = state.step + 1;
    const bool record = config.samples_every > 0 && (step == 1 || step % config.samples_every == 0);
    const std::string weights = record ? bundle.model.weights_sha256() : "";
    GrpoStepResult result = trainer.step(step, hooks);
    if (record)
      write_rollouts(run, step, trainer.problems(), trainer.rollouts(), config.temperature, weights);
    state.step = step;
    state.tokens += result.tokens;
    state.wall_s = wall_before + seconds_since(begin);
    result.step_s = seconds_since(step_begin);
    const Json row = metrics_row(state, result);
    run.write_metrics(row);
    reporter.step(row, config.optimizer.steps);
    if (config.checkpoint.every > 0 && step % config.checkpoint.every == 0 && step < config.optimizer.steps) {
      run.checkpoint(state, config.checkpoint.keep, [&](const std::filesystem::path& d) { trainer.save(d); });
    }
  }
  if (state.step == config.optimizer.steps)
    run.finish([&](const std::filesystem::path& d) { bundle.save(d); });
}

}  // namespace r1
