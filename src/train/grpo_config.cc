// train/grpo_config.cc: the configuration file of a GRPO stage and of a PPO stage.
#include <initializer_list>
#include <optional>
#include <utility>

#include "train/default_lr.h"
#include "train/grpo.h"

namespace r1 {
namespace {

// A key of the other of the two commands, and why this one has none.
struct Foreign {
  const char* key;
  const char* reason;
};

void refuse(const ConfigFile& config, std::initializer_list<Foreign> keys) {
  for (const Foreign& foreign : keys) {
    if (config.has(foreign.key)) config.fail(foreign.key, foreign.reason);
  }
}

// Groups of equal rewards have no advantage in GRPO. A critic compares them with all other answers, so they teach; and
// a critic that saw only groups with both right and wrong answers would expect too much of hard problems: with 1 % of
// right answers, 6.7 % of the answers in the mixed groups of 16 are right.
constexpr const char* kNoFilter =
    "belongs to r1 grpo, where a group of equal rewards teaches nothing; in r1 ppo every group teaches, "
    "and a critic trained without the equal ones would misjudge the answers: leave [filter] out";

// The settings that both have. A group has at least `fewest` answers.
GrpoConfig read_shared(ConfigFile& config, std::string_view kind, int64_t fewest) {
  GrpoConfig c;
  c.run = read_run_config(config, kind);
  c.data = read_problem_data(config);
  if (c.data.files.empty()) c.problems = ProblemSource::of_task(c.data.task, c.run.seed, Split::train);
  c.prompt = read_prompt_format(config);
  c.optimizer = read_optimizer_config(config, kTeachingDefaults);
  c.checkpoint = read_checkpoint_config(config);
  c.prompts = config.integer_or("rollout.prompts", c.prompts, 1, 1 << 16);
  // Log-probs at temperature 0 would say nothing of the policy.
  c.rollout = read_sampling_settings(config, "rollout", c.rollout,
                                     {.samples = "group", .fewest = fewest, .coldest = 0.01});
  c.epochs = config.integer_or("rollout.epochs", c.epochs, 1, 100);
  c.minibatches = config.integer_or("rollout.minibatches", c.minibatches, 1, c.prompts);
  c.reward = read_reward_config(config, c.rollout.max_tokens);
  if (c.reward.decided_outside()) c.data.gold = GoldIs::optional;
  GrpoLossConfig& l = c.loss;
  const std::string aggregate =
      config.choice_or("loss.aggregate", "token", {"token", "sequence", "constant"});
  l.aggregate = aggregate == "token"      ? Aggregate::token
                : aggregate == "sequence" ? Aggregate::sequence
                                          : Aggregate::constant;
  l.clip_low = config.number_or("loss.clip_low", l.clip_low, 0, 1);
  l.clip_high = config.number_or("loss.clip_high", l.clip_high, 0, 1e9);
  l.kl = config.number_or("loss.kl", l.kl, 0, 1e6);
  c.reference_every = config.integer_or("loss.reference_every", c.reference_every, 0, int64_t{1} << 40);
  c.mask_overlong = config.choice_or("loss.overlong", "count", {"count", "mask"}) == "mask";
  c.micro_tokens = config.integer_or("batch.micro", c.micro_tokens, 2, 1 << 28);
  c.recompute = config.boolean_or("batch.recompute", c.recompute);
  c.samples_every = config.integer_or("log.samples_every", c.samples_every, 0, int64_t{1} << 40);
  return c;
}

}  // namespace

GrpoConfig read_grpo_config(ConfigFile& config) {
  refuse(config, {{"critic", "belongs to r1 ppo: r1 grpo has no critic"},
                  {"loss.kl_in", "belongs to r1 ppo: in r1 grpo the penalty is part of the loss"}});
  GrpoConfig c = read_shared(config, "grpo", 2);
  GrpoLossConfig& l = c.loss;
  const std::string ratio = config.choice_or("loss.ratio", "token", {"token", "sequence", "sequence_mean"});
  l.ratio = ratio == "token" ? Ratio::token : ratio == "sequence" ? Ratio::sequence : Ratio::sequence_mean;
  const std::string surrogate = config.choice_or("loss.surrogate", "ppo", {"ppo", "cispo"});
  l.surrogate = surrogate == "ppo" ? Surrogate::ppo : Surrogate::cispo;
  const std::string normalise = config.choice_or("loss.normalise", "group", {"group", "batch", "none"});
  l.normalise = normalise == "group"   ? Normalise::group
                : normalise == "batch" ? Normalise::batch
                                       : Normalise::none;
  c.dynamic_filter = config.boolean_or("filter.dynamic", c.dynamic_filter);
  c.filter_rounds = config.integer_or("filter.rounds", c.filter_rounds, 1, 1000);
  return c;
}

GrpoConfig read_ppo_config(ConfigFile& config) {
  refuse(config,
         {{"filter.dynamic", kNoFilter},
          {"filter.rounds", kNoFilter},
          {"loss.ratio", "belongs to r1 grpo: in r1 ppo each token has an advantage and a ratio of its own"},
          {"loss.surrogate", "belongs to r1 grpo: r1 ppo has the clipped surrogate"}});
  GrpoConfig c = read_shared(config, "ppo", 1);
  CriticConfig& critic = c.critic.emplace();
  critic.model = config.text_or("critic.model", "");
  critic.optimizer = read_optimizer_config(config, {.lr = std::nullopt,
                                                    .warmup = kTeachingDefaults.warmup,
                                                    .section = "critic",
                                                    .steps = c.optimizer.steps});
  critic.gamma = config.number_or("critic.gamma", critic.gamma, 0, 1);
  critic.lambda = config.number_or("critic.lambda", critic.lambda, 0, 1);
  critic.value_clip = config.number_or("critic.value_clip", critic.value_clip, 0, 1e9);
  critic.normalise = config.choice_or("loss.normalise", "batch", {"batch", "none"}) == "batch";
  if (config.choice_or("loss.kl_in", "reward", {"reward", "loss"}) == "reward")
    critic.reward_kl = std::exchange(c.loss.kl, 0);
  return c;
}

}  // namespace r1
