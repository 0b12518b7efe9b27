#include "train/grpo_step.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>

#include "base/process.h"
#include "engine/ask.h"

namespace r1 {
namespace {

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    begin_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace

MemoryEstimate memory_of(const ModelBundle& bundle, const GrpoConfig& config, ThreadPool& threads) {
  const ModelConfig& model = bundle.model.config();
  const Numerics numerics = config.run.numerics;
  MemoryEstimate memory = trained_model(model, numerics);
  memory.program = program_bytes(memory);
  if (config.has_reference()) {
    const MemoryEstimate reference = used_model(model, numerics, DType::f32, WeightUse::training);  // a clone
    memory.weights += reference.weights;
    memory.packed += reference.packed;
  }
  constexpr int64_t kLookedAt = 256;  // later prompts may be longer than those of the first step
  std::vector<Problem> problems;
  for (int64_t i = 0; i < std::max(config.prompts, kLookedAt); ++i)
    problems.push_back(config.problems->at(i));
  std::vector<int64_t> prompts = prompt_lengths(bundle, problems, config.prompt);
  SamplingLoad load =
      sampling_load(config.rollout, std::span(prompts).first(static_cast<size_t>(config.prompts)));
  std::ranges::sort(prompts, std::greater());
  load.longest_prompt = prompts.front();
  prompts.resize(static_cast<size_t>(config.prompts));
  const int64_t room = model.max_positions - load.longest_prompt;
  const int64_t answer = std::clamp<int64_t>(room, 1, config.rollout.max_tokens);
  const auto activations = [&](const ModelConfig& of, bool entropy) {
    return step_activations(
        of, numerics, load.prompt_tokens + load.samples * answer,
        largest_family(prompts, config.rollout.samples, answer), config.micro_tokens,
        [&](int64_t tokens) {
          return full_micro_batch_of_groups(prompts, config.rollout.samples, answer, tokens);
        },
        {.backward = true, .entropy = entropy, .balance = false, .recompute = config.recompute}, threads);
  };
  memory.activations = activations(model, true);
  if (config.critic) {  // it works after the policy, in the same memory
    memory.critic = critic_memory(model, numerics);
    memory.activations = std::max(memory.activations, activations(value_model_config(model), false));
  }
  add_sampling(memory, model, numerics, load, threads);
  return memory;
}

GrpoTrainer::GrpoTrainer(ModelBundle& bundle, const GrpoConfig& config, ThreadPool& threads)
    : bundle_(bundle),
      config_(config),
      threads_(threads),
      optimizer_(bundle.model, by_updates(config.optimizer, config.epochs * config.minibatches)),
      sampling_(threads, config.run.numerics, bundle.model.memory()),
      lanes_(threads, config.run.numerics, Arena::kDefaultLimit, bundle.model.memory()),
      engine_(bundle.model, sampling_.ctx, config.rollout.engine()),
      reward_(config.reward, config.rollout.max_tokens) {
  if (config.has_reference()) reference_ = bundle.model.clone();
  if (config.critic) critic_.emplace(bundle.model, config);
}

std::vector<std::string> GrpoTrainer::judging_notes(int64_t step) {
  std::vector<std::string> notes = reward_.take_notes();
  const RolloutTotals& t = set_.totals;
  if (t.failed == 0) return notes;
  notes.push_back(fmt::format("step {}: the verifier failed for {} of {} samples; they are left out:", step,
                              t.failed, t.samples));
  for (const std::string& failure : t.failures) notes.push_back("  " + failure);
  if (t.failed > std::ssize(t.failures))
    notes.push_back(fmt::format("  and {} more", t.failed - std::ssize(t.failures)));
  return notes;
}

void GrpoTrainer::save(const std::filesystem::path& directory) const {
  optimizer_.save(directory);
  if (reference_) {
    std::filesystem::create_directory(directory / "reference");
    reference_->save(directory / "reference", DType::f32);
  }
  if (critic_) critic_->save(directory);
}

void GrpoTrainer::load(const std::filesystem::path& directory, int64_t updates) {
  optimizer_.load(directory, updates);
  if (reference_) reference_->read_weights(directory / "reference");
  if (critic_) critic_->load(directory, updates);
}

MemoryMeasured GrpoTrainer::memory() const {
  return {.activations = static_cast<int64_t>(sampling_.arena.peak()) + lanes_.peak() + engine_.part_bytes(),
          .kv = engine_.kv_bytes(),
          .resident = peak_resident_bytes()};
}

void GrpoTrainer::describe(GrpoStepResult& result) const {
  const RolloutTotals& t = set_.totals;
  const auto share = [&](int64_t count) {
    return static_cast<double>(count) / static_cast<double>(t.samples);
  };
  result.problems = t.problems;
  result.sampled_tokens = t.sampled_tokens;
  const auto judged = static_cast<double>(t.samples - t.failed);  // not 0: the step would have thrown
  result.reward = t.reward / judged;
  result.accuracy = static_cast<double>(t.correct) / judged;
  result.format = static_cast<double>(t.well_formed) / judged;
  result.verifier_failed = share(t.failed);
  result.truncated = share(t.truncated);
  result.length = share(t.tokens);
  result.thinking_correct =
      t.correct == 0 ? 0 : static_cast<double>(t.thinking) / static_cast<double>(t.correct);
  result.flat_groups = static_cast<double>(t.flat_groups) / static_cast<double>(t.problems);
  for (const Rollout& r : set_.rollouts) result.tokens += static_cast<int64_t>(r.tokens.size()) - 1;
}

void GrpoTrainer::add(const RolloutFigures& row, GrpoStepResult& result) const {
  const double all = static_cast<double>(scored_tokens_);
  const double epochs = static_cast<double>(config_.epochs),
               updates = epochs * static_cast<double>(config_.minibatches);
  result.loss += row.loss / updates;
  result.kl += row.kl / (all * epochs);
  result.clip_fraction += static_cast<double>(row.clipped) / (all * epochs);
  result.entropy += row.entropy / (all * epochs);
  result.sampler_trainer_max_abs = std::max(result.sampler_trainer_max_abs, row.max_abs);
  result.sampler_trainer_kl += row.sampler_kl / all;
}

// The critic's values of all tokens, and the advantages that follow from them.
void GrpoTrainer::judge_tokens(const std::vector<ScoredRow>& rows, GrpoStepResult& result) {
  Stopwatch watch;
  CriticResult& critic = result.critic.emplace();
  const ValueFigures figures = set_advantages(set_.rollouts, critic_->values(lanes_, rows), config_);
  critic.explained_variance = explained_variance(figures.returns, figures.advantages);
  critic.value = figures.values.mean();
  critic.advantage_mean = figures.advantages.mean();
  critic.advantage_std = std::sqrt(figures.advantages.variance());
  critic.value_s = watch.lap();
}

// One update of the policy, and of the critic if there is one.
void GrpoTrainer::train_on(std::span<const Rollout> minibatch, bool compare, GrpoStepResult& result) {
  Stopwatch watch;
  const MinibatchFigures figures =
      differentiate_minibatch(bundle_.model, lanes_, minibatch, config_, compare);
  for (const RolloutFigures& row : figures.rollouts) add(row, result);
  result.train_s += watch.lap();
  // If there is nothing to learn from, neither the optimizers' moments nor the schedules may move.
  if (!figures.moves) return;
  Context ctx = lanes_.context();
  result.update = optimizer_.update(ctx);
  result.update_s += watch.lap();
  if (!critic_) return;
  CriticResult& critic = *result.critic;
  const double epochs = static_cast<double>(config_.epochs);
  const ValueLoss loss = critic_->differentiate(lanes_, minibatch);
  critic.value_loss += loss.loss / (epochs * static_cast<double>(config_.minibatches));
  critic.value_clip_fraction +=
      static_cast<double>(loss.clipped) / (static_cast<double>(scored_tokens_) * epochs);
  critic.train_s += watch.lap();
  critic.update = critic_->update(lanes_);
  critic.update_s += watch.lap();
}

GrpoStepResult GrpoTrainer::step(int64_t step, int64_t first_problem, const GrpoHooks& hooks,
                                 const std::function<bool()>& stop) {
  GrpoStepResult result;
  Stopwatch watch;
  try {
    engine_.weights_changed();
    set_ = collect_rollouts(
        bundle_, engine_, reward_, threads_, config_,
        {.step = step, .first_problem = first_problem, .weights = optimizer_.steps_done()}, stop);
  } catch (const NothingJudged& e) {
    throw Error(fmt::format("step {}: {}; mend it, then go on with --resume", step, e.what()));
  }
  scored_tokens_ = 0;
  for (const Rollout& r : set_.rollouts) {
    scored_tokens_ += r.policy_tokens();
    for (const RolloutSegment& s : r.segments) {
      R1_CHECK(!s.policy || s.weights == updates(), "weights of update ", s.weights, " at update ",
               updates());
    }
  }
  describe(result);
  result.verify_s = set_.totals.verify_s;
  result.sample_s = watch.lap() - result.verify_s;
  if (hooks.after_sampling) hooks.after_sampling(bundle_.model);

  const std::vector<ScoredRow> rows = scored_rows(set_.rollouts);
  if (reference_) {
    auto scored = score(*reference_, lanes_, rows, rollout_scoring(config_));
    for (size_t i = 0; i < rows.size(); ++i) set_.rollouts[i].ref_logprobs = std::move(scored[i]);
  }
  // With one update per step, the training forward is also the scoring before the update. With several,
  // scoring is a separate pass.
  const bool one_update = config_.epochs * config_.minibatches == 1;
  if (!one_update) {
    const auto scored = score(bundle_.model, lanes_, rows, rollout_scoring(config_));
    for (size_t i = 0; i < rows.size(); ++i) add(compared(scored[i], set_.rollouts[i]), result);
  }
  result.score_s = watch.lap();
  if (critic_) judge_tokens(rows, result);
  const auto groups = static_cast<int64_t>(set_.problems.size());
  for (int64_t epoch = 0; epoch < config_.epochs; ++epoch) {
    for (int64_t m = 0; m < config_.minibatches; ++m) {
      // Minibatches hold whole groups.
      const auto begin = static_cast<size_t>(groups * m / config_.minibatches * config_.rollout.samples);
      const auto end = static_cast<size_t>(groups * (m + 1) / config_.minibatches * config_.rollout.samples);
      train_on(std::span<const Rollout>(set_.rollouts).subspan(begin, end - begin), one_update, result);
    }
  }
  if (reference_ && config_.reference_every > 0 && step % config_.reference_every == 0) {
    reference_->copy_weights_from(bundle_.model);
  }
  return result;
}

}  // namespace r1
