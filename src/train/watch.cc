#include "train/watch.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>

namespace r1 {
namespace {

double mean_of(const std::vector<double>& values) {
  return values.empty()
             ? 0
             : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

constexpr std::string_view kEvalPrefix = "eval.", kPassAt1 = ".pass_at_1";

}  // namespace

void TrainingWatch::Series::add(double value) {
  if (!full()) first.push_back(value);
  last.push_back(value);
  if (static_cast<int64_t>(last.size()) > kWindow) last.erase(last.begin());
}

double TrainingWatch::Series::start() const {
  return mean_of(first);
}

double TrainingWatch::Series::now() const {
  return mean_of(last);
}

std::vector<std::string> TrainingWatch::add(const Json& row) {
  entropy_.add(row.get_number_or("entropy", 0));
  truncated_.add(row.get_number_or("truncated", 0));
  reward_.add(row.get_number_or("reward", 0));
  std::vector<std::string> said;
  watch_entropy(row, said);
  watch_length(row, said);
  watch_held_out(row, said);
  watch_signal(row, said);
  return said;
}

void TrainingWatch::watch_entropy(const Json& row, std::vector<std::string>& said) {
  if (said_entropy_ || !entropy_.full()) return;
  if (entropy_.now() >= kLeastEntropy || entropy_.now() >= kEntropyShare * entropy_.start()) return;
  said_entropy_ = true;
  said.push_back(fmt::format(
      "step {}: warning: entropy has collapsed from {:.3f} to {:.3f} nats a token: answers of a group become "
      "equal "
      "and teach nothing; lower optimizer.lr, raise loss.clip_high (0.28 in DAPO) or loss.kl, or stop here",
      row.get_int("step"), entropy_.start(), entropy_.now()));
}

void TrainingWatch::watch_length(const Json& row, std::vector<std::string>& said) {
  if (said_length_ || !truncated_.full()) return;
  if (truncated_.now() <= kMostCutOff || truncated_.now() < truncated_.start() + kCutOffRise) return;
  said_length_ = true;
  said.push_back(
      fmt::format("step {}: warning: answers run to the cap: {:.0f} % are cut off at rollout.max_tokens, "
                  "{:.0f} % were at first; "
                  "raise rollout.max_tokens, or punish length with reward.overlong",
                  row.get_int("step"), 100 * truncated_.now(), 100 * truncated_.start()));
}

void TrainingWatch::watch_held_out(const Json& row, std::vector<std::string>& said) {
  for (const auto& [key, value] : row.members()) {
    if (!key.starts_with(kEvalPrefix) || !key.ends_with(kPassAt1) || !value.is_number()) continue;
    const std::string name =
        key.substr(kEvalPrefix.size(), key.size() - kEvalPrefix.size() - kPassAt1.size());
    const std::string stem = std::string(kEvalPrefix) + name;
    const double now = value.number();
    // A 95 % interval is +-1.96 deviations.
    const double deviation =
        (row.get_number_or(stem + ".high", now) - row.get_number_or(stem + ".low", now)) / (2 * 1.96);
    Best& best = best_[name];
    if (now > best.pass_at_1) {
      best = {.pass_at_1 = now, .deviation = deviation, .reward = reward_.now(), .step = row.get_int("step")};
      continue;
    }
    const double fall = best.pass_at_1 - now;
    const double chance = 1.96 * std::hypot(deviation, best.deviation);
    const double rise = reward_.now() - best.reward;
    if (said_held_out_ || fall <= chance || rise <= kRewardRise * std::max(1e-9, std::abs(best.reward)))
      continue;
    said_held_out_ = true;
    said.push_back(fmt::format(
        "step {}: warning: the reward rises ({:.3f} to {:.3f}) while held-out {} falls (pass@1 {:.3f} at "
        "step {}, {:.3f} "
        "now): the model learns what the reward pays and not the task; read r1 samples RUN --right, mend "
        "[reward] or "
        "the data, and keep the best model with checkpoint.best = \"{}\"",
        row.get_int("step"), best.reward, reward_.now(), name, best.pass_at_1, best.step, now, name));
  }
}

void TrainingWatch::watch_signal(const Json& row, std::vector<std::string>& said) {
  // A critic learns from groups of equal rewards too.
  const bool flat = row.get_number_or("groups_without_signal", 0) >= 1 && !row.contains("value_loss");
  flat_ = flat ? flat_ + 1 : 0;
  flat_reward_ = flat ? flat_reward_ + row.get_number_or("reward", 0) : 0;
  if (said_signal_ || flat_ < kFlatSteps) return;
  said_signal_ = true;
  said.push_back(
      fmt::format("step {}: warning: the reward has not varied within any group in {} steps (it is {:.3g} on "
                  "average): nothing is "
                  "learned from that; look at data.task, [reward], rollout.max_tokens and r1 samples RUN",
                  row.get_int("step"), flat_, flat_reward_ / static_cast<double>(flat_)));
}

}  // namespace r1
