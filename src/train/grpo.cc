#include "train/grpo.h"

#include <fmt/format.h>

#include <memory>

#include "formats/jsonl.h"
#include "train/grpo_step.h"
#include "train/training_run.h"
#include "train/watch.h"

namespace r1 {
namespace {

Json metrics_row(const TrainerState& state, const GrpoStepResult& r, double seconds) {
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
  if (r.critic) {
    const CriticResult& c = *r.critic;
    row.set("value_loss", c.value_loss).set("value_clip_fraction", c.value_clip_fraction);
    row.set("explained_variance", c.explained_variance).set("value", c.value);
    row.set("advantage_mean", c.advantage_mean).set("advantage_std", c.advantage_std);
    row.set("critic_lr", c.update.lr).set("critic_grad_norm", c.update.grad_norm);
    row.set("value_s", c.value_s).set("critic_train_s", c.train_s).set("critic_update_s", c.update_s);
  }
  row.set("sample_s", r.sample_s).set("verify_s", r.verify_s).set("score_s", r.score_s);
  row.set("train_s", r.train_s).set("update_s", r.update_s).set("step_s", seconds);
  return row;
}

class GrpoStage : public StageTrainer {
 public:
  GrpoStage(ModelBundle& bundle, const GrpoConfig& config, RunDirectory& run, ThreadPool& threads,
            const TrainOptions& options, const GrpoHooks& hooks)
      : bundle_(bundle),
        config_(config),
        run_(run),
        options_(options),
        hooks_(hooks),
        trainer_(bundle, config, threads) {}

  // The watch sees the steps of the run's earlier parts.
  void begin(const TrainerState& state) override {
    if (state.step == 0) return;
    for (const Json& row : read_jsonl(run_.path() / "metrics.jsonl")) (void)watch_.add(row);
  }

  void step(TrainerState& state) override {
    step_ = state.step + 1;
    const bool record = config_.samples_every > 0 && (step_ == 1 || step_ % config_.samples_every == 0);
    const std::string weights = record ? bundle_.model.weights_sha256() : "";
    result_ = trainer_.step(step_, state.next_problem, hooks_, [this] { return options_.stop_asked(); });
    if (record) {
      for (const Rollout& r : trainer_.rollouts()) {
        const Problem& problem = trainer_.problems()[static_cast<size_t>(r.problem)];
        run_.write_sample(rollout_row(r, problem, step_, weights, bundle_.tokenizer, config_));
      }
    }
    state.tokens += result_.tokens;
    state.next_problem += result_.problems;
    state.sampled_tokens += result_.sampled_tokens;
    state.updates = trainer_.updates();
  }

  Json row(const TrainerState& state, double seconds) const override {
    return metrics_row(state, result_, seconds);
  }

  std::vector<std::string> notes(const Json& row) override {
    std::vector<std::string> lines = trainer_.judging_notes(step_);
    for (std::string& line : watch_.add(row)) lines.push_back(std::move(line));
    return lines;
  }

  void save(const std::filesystem::path& checkpoint) const override { trainer_.save(checkpoint); }
  void load(const std::filesystem::path& checkpoint, const TrainerState& state) override {
    trainer_.load(checkpoint, state.updates);
  }
  MemoryMeasured memory() const override { return trainer_.memory(); }

 private:
  ModelBundle& bundle_;
  const GrpoConfig& config_;
  RunDirectory& run_;
  const TrainOptions& options_;
  const GrpoHooks& hooks_;
  GrpoTrainer trainer_;
  TrainingWatch watch_;
  GrpoStepResult result_;  // of step step_
  int64_t step_ = 0;
};

}  // namespace

void grpo(ModelBundle& bundle, const GrpoConfig& config, RunDirectory& run, const MemoryEstimate& memory,
          ThreadPool& threads, Reporter& reporter, const TrainOptions& options, const GrpoHooks& hooks) {
  R1_CHECK(config.problems.has_value(), "the problems of data.files have not been opened");
  run_training(
      {.run = run,
       .bundle = bundle,
       .checkpoint = config.checkpoint,
       .memory = memory,
       .steps = config.optimizer.steps},
      [&] { return std::make_unique<GrpoStage>(bundle, config, run, threads, options, hooks); }, reporter,
      options);
}

}  // namespace r1
