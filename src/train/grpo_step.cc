#include "train/grpo_step.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "ops/loss/loss.h"
#include "reward/answer.h"

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

// A step makes several updates; the file's steps and warmup count steps.
OptimizerConfig by_updates(OptimizerConfig config, int64_t updates) {
  config.steps *= updates;
  config.warmup *= updates;
  return config;
}

}  // namespace

GrpoTrainer::GrpoTrainer(ModelBundle& bundle, const GrpoConfig& config, ThreadPool& threads)
    : bundle_(bundle),
      config_(config),
      threads_(threads),
      optimizer_(bundle.model, by_updates(config.optimizer, config.epochs * config.minibatches)),
      tape_(arena_),
      sampling_{.arena = arena_, .threads = threads},
      engine_(bundle.model, sampling_,
              {.max_batch = config.engine_batch, .prefill_chunk = 4096, .kv_bytes = 0}) {
  if (config.loss.kl > 0) reference_ = bundle.model.clone();
}

void GrpoTrainer::save(const std::filesystem::path& directory) const {
  bundle_.save(directory);
  optimizer_.save(directory);
  if (reference_) {
    std::filesystem::create_directory(directory / "reference");
    reference_->save(directory / "reference", DType::f32);
  }
}

void GrpoTrainer::load(const std::filesystem::path& directory, int64_t step) {
  bundle_.model.copy_weights_from(Model::load(directory));
  optimizer_.load(directory, step * config_.epochs * config_.minibatches);
  if (reference_) reference_->copy_weights_from(Model::load(directory / "reference"));
}

void GrpoTrainer::sample(int64_t step, GrpoStepResult& result) {
  problems_.clear();
  rollouts_.clear();
  std::vector<Request> requests;
  for (int64_t i = 0; i < config_.prompts; ++i) {
    const uint64_t index = static_cast<uint64_t>((step - 1) * config_.prompts + i);
    problems_.push_back(make_problem(config_.task, config_.seed, index, Split::train));
    Request& r = requests.emplace_back();
    r.prompt = bundle_.chat_prompt(problems_.back().question);
    r.samples = config_.group;
    r.max_tokens = config_.max_tokens;
    r.sampling.temperature = static_cast<float>(config_.temperature);
    r.sampling.top_p = static_cast<float>(config_.top_p);
    r.key = {.seed = config_.seed, .step = static_cast<uint32_t>(step), .prompt = static_cast<uint32_t>(i)};
    r.stop_tokens = bundle_.stop_tokens;
  }
  for (Completion& c : engine_.run(requests)) {
    Rollout& r = rollouts_.emplace_back();
    r.problem = c.request;
    r.sample = c.sample;
    r.tokens = requests[static_cast<size_t>(c.request)].prompt;
    r.prompt_size = static_cast<int64_t>(r.tokens.size());
    r.tokens.insert(r.tokens.end(), c.tokens.begin(), c.tokens.end());
    r.old_logprobs = std::move(c.logprobs);
    r.finish = c.finish;
    result.tokens += static_cast<int64_t>(r.tokens.size()) - 1;
  }
}

void GrpoTrainer::judge(GrpoStepResult& result) {
  const double n = static_cast<double>(rollouts_.size());
  int64_t thinking = 0, thoughts = 0;
  scored_tokens_ = 0;
  std::vector<double> rewards;
  for (Rollout& r : rollouts_) {
    const auto answer = std::span(r.tokens).subspan(static_cast<size_t>(r.prompt_size));
    const Verdict verdict = verify_answer(bundle_.tokenizer, problems_[static_cast<size_t>(r.problem)],
                                          answer, r.finish == FinishReason::stop);
    r.correct = verdict.correct;
    r.well_formed = verdict.well_formed;
    r.why = verdict.why;
    r.reward =
        config_.accuracy_weight * (r.correct ? 1 : 0) + config_.format_weight * (r.well_formed ? 1 : 0);
    rewards.push_back(r.reward);
    scored_tokens_ += static_cast<int64_t>(answer.size());
    result.reward += r.reward / n;
    result.accuracy += (r.correct ? 1 : 0) / n;
    result.format += (r.well_formed ? 1 : 0) / n;
    result.truncated += (r.finish == FinishReason::length ? 1 : 0) / n;
    if (r.correct) {
      thinking += thinking_tokens(bundle_.tokenizer, answer);
      ++thoughts;
    }
  }
  result.length = static_cast<double>(scored_tokens_) / n;
  result.thinking_correct = thoughts == 0 ? 0 : static_cast<double>(thinking) / static_cast<double>(thoughts);
  const std::vector<double> advantages = group_advantages(rewards, config_.group, config_.loss.normalise);
  for (size_t i = 0; i < rollouts_.size(); ++i) rollouts_[i].advantage = advantages[i];
  for (size_t g = 0; g < rewards.size(); g += static_cast<size_t>(config_.group)) {
    const auto group = std::span(rewards).subspan(g, static_cast<size_t>(config_.group));
    const bool flat = std::ranges::all_of(group, [&](double r) { return r == group.front(); });
    result.flat_groups += (flat ? 1.0 : 0.0) / static_cast<double>(config_.prompts);
  }
}

std::vector<ScoredRow> GrpoTrainer::rows_of(std::span<const Rollout> rollouts) const {
  std::vector<ScoredRow> rows;
  for (const Rollout& r : rollouts) rows.push_back({r.tokens, r.prompt_size});
  return rows;
}

// How far the trainer's log-probs of rollouts [first, ...) are from the sampler's. Equal bits give exactly 0
// in both figures.
void GrpoTrainer::compare(const std::vector<std::vector<float>>& scored, size_t first,
                          GrpoStepResult& result) const {
  for (size_t i = 0; i < scored.size(); ++i) {
    const std::vector<float>& old = rollouts_[first + i].old_logprobs;
    R1_CHECK(old.size() == scored[i].size(), old.size(), " and ", scored[i].size(), " log-probs");
    for (size_t t = 0; t < old.size(); ++t) {
      const double d = static_cast<double>(scored[i][t]) - static_cast<double>(old[t]);
      result.sampler_trainer_max_abs = std::max(result.sampler_trainer_max_abs, std::fabs(d));
      result.sampler_trainer_kl += (std::exp(d) - d - 1.0) / static_cast<double>(scored_tokens_);
    }
  }
}

void GrpoTrainer::update(std::span<Rollout> minibatch, bool compare_first, GrpoStepResult& result) {
  const std::vector<ScoredRow> rows = rows_of(minibatch);
  int64_t tokens = 0;
  for (const Rollout& r : minibatch) tokens += static_cast<int64_t>(r.old_logprobs.size());
  Context ctx{.arena = arena_, .threads = threads_, .tape = &tape_};
  for (const auto& [begin, end] : cut_micro_batches(rows, config_.micro_tokens)) {
    const auto piece = std::span(rows).subspan(begin, end - begin);
    const ScoreBatch input = make_score_batch(piece);
    ArenaScope scope(arena_);
    const KvCache kv(bundle_.model.config(), input.batch.page_count, arena_);
    const Batch batch = input.batch.view();
    float* entropy = arena_.array<float>(batch.T());
    const Tensor hidden = bundle_.model.forward(ctx, batch, kv);
    const Tensor logprobs = token_log_probs(ctx, hidden, bundle_.model.head(), input.targets,
                                            static_cast<float>(config_.temperature), entropy);
    if (compare_first) {
      const size_t first = static_cast<size_t>(minibatch.data() - rollouts_.data()) + begin;
      compare(split_scored(piece, logprobs.values()), first, result);
    }
    float* grad = tape_.slot(logprobs).grad.f32();
    std::fill(grad, grad + batch.T(), 0.0f);
    for (size_t i = begin; i < end; ++i) {
      const Rollout& r = minibatch[i];
      const int64_t n = static_cast<int64_t>(r.old_logprobs.size());
      const int64_t at = input.batch.offsets[i - begin] + r.prompt_size - 1;
      const double share = config_.loss.aggregate == Aggregate::token
                               ? 1.0 / static_cast<double>(tokens)
                               : 1.0 / static_cast<double>(n * static_cast<int64_t>(minibatch.size()));
      for (int64_t t = 0; t < n; ++t) {
        const double ref = reference_ ? static_cast<double>(r.ref_logprobs[static_cast<size_t>(t)]) : 0.0;
        const TokenLoss loss =
            token_loss(config_.loss, static_cast<double>(logprobs.f32()[at + t]),
                       static_cast<double>(r.old_logprobs[static_cast<size_t>(t)]), ref, r.advantage);
        grad[at + t] = static_cast<float>(loss.gradient * share);
        const double all = static_cast<double>(scored_tokens_ * config_.epochs);
        result.loss += loss.loss * share / static_cast<double>(config_.epochs * config_.minibatches);
        result.kl += loss.kl / all;
        result.clip_fraction += (loss.clipped ? 1.0 : 0.0) / all;
        result.entropy += static_cast<double>(entropy[at + t]) / all;
      }
    }
    tape_.backward(ctx);
  }
}

GrpoStepResult GrpoTrainer::step(int64_t step, const GrpoHooks& hooks) {
  GrpoStepResult result;
  Stopwatch watch;
  sample(step, result);
  result.sample_s = watch.lap();
  judge(result);
  result.verify_s = watch.lap();
  if (hooks.after_sampling) hooks.after_sampling(bundle_.model);

  if (reference_) {
    const std::vector<ScoredRow> rows = rows_of(rollouts_);
    auto scored = r1::score(*reference_, sampling_, rows, static_cast<float>(config_.temperature),
                            config_.micro_tokens);
    for (size_t i = 0; i < rollouts_.size(); ++i) rollouts_[i].ref_logprobs = std::move(scored[i]);
  }
  // With one update a step, the training forward itself is the scoring before the update; with more, a pass
  // of its own.
  const bool one_update = config_.epochs * config_.minibatches == 1;
  if (!one_update) {
    const std::vector<ScoredRow> rows = rows_of(rollouts_);
    compare(r1::score(bundle_.model, sampling_, rows, static_cast<float>(config_.temperature),
                      config_.micro_tokens),
            0, result);
  }
  result.score_s = watch.lap();
  for (int64_t epoch = 0; epoch < config_.epochs; ++epoch) {
    for (int64_t m = 0; m < config_.minibatches; ++m) {
      // Minibatches hold whole groups.
      const int64_t begin = config_.prompts * m / config_.minibatches * config_.group;
      const int64_t end = config_.prompts * (m + 1) / config_.minibatches * config_.group;
      update(std::span(rollouts_).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)),
             one_update, result);
      result.train_s += watch.lap();
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
