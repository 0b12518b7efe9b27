#include "train/grpo_step.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>

#include "base/process.h"
#include "ops/loss/loss.h"

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

// Converts steps and warmup from steps, as in the file, to updates: a step may make several updates.
OptimizerConfig by_updates(OptimizerConfig config, int64_t updates) {
  config.steps *= updates;
  config.warmup *= updates;
  return config;
}

constexpr int64_t kPrefillChunk = 4096;

}  // namespace

MemoryEstimate memory_of(const ModelBundle& bundle, const GrpoConfig& config, ThreadPool& threads) {
  const ModelConfig& model = bundle.model.config();
  const Numerics numerics = config.run.numerics;
  MemoryEstimate memory = trained_model(model, numerics);
  memory.program = program_bytes(memory);
  if (config.loss.kl > 0) {
    const MemoryEstimate reference = used_model(model, numerics, DType::f32, WeightUse::training);  // a clone
    memory.weights += reference.weights;
    memory.packed += reference.packed;
  }
  SamplingLoad load{.max_batch = config.engine_batch,
                    .prefill_chunk = kPrefillChunk,
                    .samples = config.prompts * config.group,
                    .prompt_tokens = 0,
                    .longest_prompt = 0,
                    .max_tokens = config.max_tokens};
  constexpr int64_t kLookedAt = 256;  // later prompts may be longer than those of the first step
  std::vector<int64_t> prompts;
  for (int64_t i = 0; i < std::max(config.prompts, kLookedAt); ++i) {
    const Problem problem = config.problems->at(i);
    const auto prompt =
        static_cast<int64_t>(make_prompt(bundle, config.prompt, problem.question).tokens.size());
    load.longest_prompt = std::max(load.longest_prompt, prompt);
    load.prompt_tokens += i < config.prompts ? prompt : 0;
    prompts.push_back(prompt);
  }
  std::ranges::sort(prompts, std::greater());
  prompts.resize(static_cast<size_t>(config.prompts));
  const int64_t room = model.max_positions - *std::ranges::max_element(prompts);
  const int64_t answer = std::clamp<int64_t>(room, 1, config.max_tokens);
  memory.activations = step_activations(
      model, numerics, load.prompt_tokens + load.samples * answer,
      largest_family(prompts, config.group, answer), config.micro_tokens,
      [&](int64_t tokens) { return full_micro_batch_of_groups(prompts, config.group, answer, tokens); },
      {.backward = true, .entropy = true, .balance = false}, threads);
  add_sampling(memory, model, numerics, load, threads);
  return memory;
}

GrpoTrainer::GrpoTrainer(ModelBundle& bundle, const GrpoConfig& config, ThreadPool& threads)
    : bundle_(bundle),
      config_(config),
      threads_(threads),
      optimizer_(bundle.model, by_updates(config.optimizer, config.epochs * config.minibatches)),
      sampling_{.arena = arena_, .threads = threads, .numerics = config.run.numerics},
      lanes_(threads, config.run.numerics),
      engine_(bundle.model, sampling_,
              {.max_batch = config.engine_batch,
               .prefill_chunk = kPrefillChunk,
               .kv_bytes = 0,
               .reserve = true}),
      reward_(config.reward, config.max_tokens) {
  if (config.loss.kl > 0) reference_ = bundle.model.clone();
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
  bundle_.save(directory);
  optimizer_.save(directory);
  if (reference_) {
    std::filesystem::create_directory(directory / "reference");
    reference_->save(directory / "reference", DType::f32);
  }
}

void GrpoTrainer::load(const std::filesystem::path& directory, int64_t updates) {
  bundle_.model.copy_weights_from(Model::load(directory, DType::f32, WeightUse::inference));
  optimizer_.load(directory, updates);
  if (reference_) reference_->copy_weights_from(Model::load(directory / "reference", DType::f32, WeightUse::inference));
}

MemoryMeasured GrpoTrainer::memory() const {
  return {.activations = static_cast<int64_t>(arena_.peak()) + lanes_.peak() + engine_.part_bytes(),
          .kv = engine_.kv_bytes(),
          .resident = peak_resident_bytes()};
}

namespace {

std::vector<ScoredRow> rows_of(std::span<const Rollout* const> rollouts) {
  std::vector<ScoredRow> rows;
  for (const Rollout* r : rollouts) rows.push_back({r->tokens, r->prompt_size});
  return rows;
}

std::vector<const Rollout*> pointers_to(std::span<const Rollout> rollouts) {
  std::vector<const Rollout*> out;
  for (const Rollout& r : rollouts) out.push_back(&r);
  return out;
}

}  // namespace

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

// The figures of one rollout in one update.
struct GrpoTrainer::RowResult {
  double loss = 0, kl = 0, entropy = 0;  // sums over the rollout's tokens
  int64_t clipped = 0;
  double max_abs = 0, sampler_kl = 0;  // of the trainer's log-probs against the sampler's
};

// Compares the trainer's log-probs with the sampler's. Equal bits give exactly 0 in both figures.
void GrpoTrainer::compare(std::span<const float> scored, const Rollout& rollout, RowResult& row) {
  const std::vector<float>& old = rollout.old_logprobs;
  R1_CHECK(old.size() == scored.size(), old.size(), " and ", scored.size(), " log-probs");
  for (size_t t = 0; t < old.size(); ++t) {
    const double d = static_cast<double>(scored[t]) - static_cast<double>(old[t]);
    row.max_abs = std::max(row.max_abs, std::fabs(d));
    row.sampler_kl += std::exp(d) - d - 1.0;
  }
}

void GrpoTrainer::add(const RowResult& row, GrpoStepResult& result) const {
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

ScoringOptions GrpoTrainer::scoring() const {
  return {.temperature = static_cast<float>(config_.temperature), .micro_tokens = config_.micro_tokens};
}

// Forward, loss and backward. `weights` has the token weight of each rollout. Idle rollouts have zero
// gradient; they are only scored, for the metrics.
void GrpoTrainer::train(const Rollouts& moving, std::span<const double> weights, const Rollouts& idle,
                        bool compare_first, GrpoStepResult& result) {
  Rollouts all = moving;
  all.insert(all.end(), idle.begin(), idle.end());
  std::vector<RowResult> results(all.size());
  ScoringOptions options = scoring();
  options.entropy = true;
  const auto set = [&](const RowGradient& row) {
    const Rollout& r = *all[row.row];
    RowResult& out = results[row.row];
    if (compare_first) compare(row.logprobs, r, out);
    for (const float e : row.entropy) out.entropy += static_cast<double>(e);
    if (row.row >= moving.size()) return;
    std::vector<double> gradient(r.old_logprobs.size());
    const SampleLoss loss = sample_loss(config_.loss, row.logprobs, r.old_logprobs, r.ref_logprobs,
                                        r.advantage, weights[row.row], gradient);
    std::ranges::transform(gradient, row.gradient.begin(), [](double g) { return static_cast<float>(g); });
    out.loss = loss.loss;
    out.kl = loss.kl;
    out.clipped = loss.clipped;
  };
  differentiate(bundle_.model, lanes_, rows_of(all), options, set, {}, idle.size());
  for (const RowResult& row : results) add(row, result);
}

bool GrpoTrainer::differentiate_minibatch(std::span<const Rollout> minibatch, bool compare_first,
                                          GrpoStepResult& result) {
  Rollouts trained, idle;
  int64_t tokens = 0, samples = 0;
  for (const Rollout& r : minibatch) {
    const bool moves = !r.masked && (r.advantage != 0 || config_.loss.kl > 0);
    (moves ? trained : idle).push_back(&r);
    samples += r.masked ? 0 : 1;
    tokens += r.masked ? 0 : static_cast<int64_t>(r.old_logprobs.size());
  }
  std::vector<double> weights;
  for (const Rollout* r : trained) {
    weights.push_back(token_weight(config_.loss.aggregate, static_cast<int64_t>(r->old_logprobs.size()),
                                   samples, tokens, config_.max_tokens));
  }
  if (!minibatch.empty()) train(trained, weights, idle, compare_first, result);
  return !trained.empty();
}

GrpoStepResult GrpoTrainer::step(int64_t step, int64_t first_problem, const GrpoHooks& hooks,
                                 const std::function<bool()>& stop) {
  GrpoStepResult result;
  Stopwatch watch;
  try {
    engine_.weights_changed();
    set_ = collect_rollouts(bundle_, engine_, reward_, threads_, config_, step, first_problem, stop);
  } catch (const NothingJudged& e) {
    throw Error(fmt::format("step {}: {}; mend it, then go on with --resume", step, e.what()));
  }
  scored_tokens_ = 0;
  for (const Rollout& r : set_.rollouts) scored_tokens_ += static_cast<int64_t>(r.old_logprobs.size());
  describe(result);
  result.verify_s = set_.totals.verify_s;
  result.sample_s = watch.lap() - result.verify_s;
  if (hooks.after_sampling) hooks.after_sampling(bundle_.model);

  const Rollouts all = pointers_to(set_.rollouts);
  const std::vector<ScoredRow> rows = rows_of(all);
  if (reference_) {
    auto scored = score(*reference_, lanes_, rows, scoring());
    for (size_t i = 0; i < all.size(); ++i) set_.rollouts[i].ref_logprobs = std::move(scored[i]);
  }
  // With one update per step, the training forward is also the scoring before the update. With several,
  // scoring is a separate pass.
  const bool one_update = config_.epochs * config_.minibatches == 1;
  if (!one_update) {
    const auto scored = score(bundle_.model, lanes_, rows, scoring());
    for (size_t i = 0; i < all.size(); ++i) {
      RowResult row;
      compare(scored[i], *all[i], row);
      add(row, result);
    }
  }
  result.score_s = watch.lap();
  const auto groups = static_cast<int64_t>(set_.problems.size());
  for (int64_t epoch = 0; epoch < config_.epochs; ++epoch) {
    for (int64_t m = 0; m < config_.minibatches; ++m) {
      // Minibatches hold whole groups.
      const auto begin = static_cast<size_t>(groups * m / config_.minibatches * config_.group);
      const auto end = static_cast<size_t>(groups * (m + 1) / config_.minibatches * config_.group);
      const bool moves = differentiate_minibatch(
          std::span<const Rollout>(set_.rollouts).subspan(begin, end - begin), one_update, result);
      result.train_s += watch.lap();
      // If there is nothing to learn from, neither the optimizer's moments nor the schedule may move.
      if (!moves) continue;
      result.update = optimizer_.update(threads_);
      result.update_s += watch.lap();
    }
  }
  if (reference_ && config_.reference_every > 0 && step % config_.reference_every == 0) {
    reference_->copy_weights_from(bundle_.model);
  }
  return result;
}

}  // namespace r1
