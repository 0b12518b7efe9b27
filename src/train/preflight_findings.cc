// train/preflight_findings.cc: the statistics of a preflight, its findings, and its table.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/interval.h"
#include "base/text_util.h"
#include "train/preflight.h"

namespace r1 {
namespace {

constexpr double kMissed = 0.05;  // chance that a refusal for want of signal is wrong

Share wilson(double p, double n) {
  const Interval interval = wilson_interval(p, n);
  return {.value = p, .low = interval.low, .high = interval.high};
}

// Returns the share of samples that `count` counts. Samples of one group resemble each other; the design
// effect d is the ratio by which the groups' shares vary more than those of independent samples.
Share clustered(std::span<const GroupTally> groups, int64_t GroupTally::*count) {
  double samples = 0, counted = 0;
  for (const GroupTally& g : groups) {
    samples += static_cast<double>(g.samples);
    counted += static_cast<double>(g.*count);
  }
  if (samples == 0) return {};
  const double p = counted / samples, n = static_cast<double>(groups.size());
  double squares = 0;
  for (const GroupTally& g : groups) {
    const double d = static_cast<double>(g.*count) / static_cast<double>(g.samples) - p;
    squares += d * d;
  }
  const double independent = p * (1 - p) / (samples / n);
  const double design = n > 1 && independent > 0 ? std::max(1.0, squares / (n - 1) / independent) : 1.0;
  return wilson(p, samples / design);
}

double sum(std::span<const GroupTally> groups, double GroupTally::*what) {
  double total = 0;
  for (const GroupTally& g : groups) total += g.*what;
  return total;
}
int64_t sum(std::span<const GroupTally> groups, int64_t GroupTally::*what) {
  int64_t total = 0;
  for (const GroupTally& g : groups) total += g.*what;
  return total;
}

std::string percent(double share) {
  const bool fine = (share > 0 && share < 0.1) || (share > 0.9 && share < 1);
  return fmt::format("{:.{}f} %", 100 * share, fine ? 1 : 0);
}

std::string with_interval(const Share& s) {
  return fmt::format("{:<7} 95 % interval {} to {}", percent(s.value), percent(s.low), percent(s.high));
}

std::string duration(double seconds) {
  if (seconds < 0.05) return "below 0.1 s";
  if (seconds < 100) return fmt::format("{:.{}f} s", seconds, seconds < 10 ? 1 : 0);
  if (seconds < 100 * 60) return fmt::format("{:.0f} min", seconds / 60);
  if (seconds < 48 * 3600) return fmt::format("{:.1f} h", seconds / 3600);
  return fmt::format("{:.1f} days", seconds / 86400);
}

std::string about(double seconds) {
  return (seconds < 0.05 ? "" : "about ") + duration(seconds);
}

double mean_length(const Preflight& p) {
  return static_cast<double>(sum(p.groups, &GroupTally::tokens)) /
         static_cast<double>(std::max<int64_t>(1, p.samples()));
}

bool was_cut_short(const Preflight& p) {
  return p.sampled_to < p.max_tokens;
}

PreflightFinding truncation(const Preflight& p, bool refuses) {
  const Share t = p.truncated();
  return {
      .what = fmt::format("{} of the answers are cut off at rollout.max_tokens = {} (95 % interval {} to {})",
                          percent(t.value), p.max_tokens, percent(t.low), percent(t.high)),
      .advice = fmt::format("raise rollout.max_tokens, for example to {}; or ask for shorter answers in "
                            "[prompt]; or fine-tune on answers that end first (r1 sft)",
                            4 * p.max_tokens),
      .refuses = refuses};
}

std::string advice_without_signal(const Preflight& p, const GrpoConfig& config) {
  const double samples = static_cast<double>(std::max<int64_t>(1, p.samples()));
  if (static_cast<double>(sum(p.groups, &GroupTally::right)) / samples > 0.5)
    return "the answers are right already: take a harder task or harder problems";
  const double form = static_cast<double>(sum(p.groups, &GroupTally::well_formed)) / samples;
  std::string advice;
  if (p.truncated().value > 0.5)
    advice = fmt::format("raise rollout.max_tokens ({} of the answers are cut off); ",
                         percent(p.truncated().value));
  if (form < 0.5)
    advice += fmt::format(
        "{} of the answers have the form that is read: ask for it in [prompt], reward it with reward.format, "
        "or "
        "teach it first (r1 sft); ",
        percent(form));
  const std::string larger = config.critic ? fmt::format("rollout.prompts than {}", config.prompts)
                                           : fmt::format("rollout.group than {}", config.rollout.samples);
  return advice + fmt::format(
                      "take easier problems (data), a larger {}, or a model that has "
                      "been fine-tuned on such problems (r1 sft, r1 distill)",
                      larger);
}

// With a critic, a group has signal if one of its rewards differs from the first answer's of the preflight.
std::string little_signal(const Preflight& p, const GrpoConfig& config) {
  const int64_t groups = std::ssize(p.groups);
  const Share signal = p.signal();
  if (signal.value > 0) {
    const int64_t with = std::ranges::count(p.groups, true, &GroupTally::signal);
    return config.critic ? fmt::format(
                               "only in {} of {} groups is an answer paid otherwise than the first one: "
                               "nearly all answers are paid alike",
                               with, groups)
                         : fmt::format(
                               "only {} of {} groups have rewards that differ: most of a step teaches "
                               "nothing",
                               with, groups);
  }
  return config.critic ? fmt::format(
                             "all rewards of {} groups of {} are equal (95 % interval of groups with "
                             "another one: 0 to {})",
                             groups, config.rollout.samples, percent(signal.high))
                       : fmt::format(
                             "in none of {} groups of {} answers do the rewards differ (95 % interval of "
                             "such groups: 0 to {})",
                             groups, config.rollout.samples, percent(signal.high));
}

}  // namespace

int64_t Preflight::samples() const {
  return sum(groups, &GroupTally::samples);
}

Share Preflight::truncated() const {
  return clustered(groups, &GroupTally::truncated);
}

Share Preflight::accuracy() const {
  return clustered(groups, &GroupTally::right);
}

Share Preflight::signal() const {
  if (groups.empty()) return {};
  const double n = static_cast<double>(groups.size());
  const double with = static_cast<double>(std::ranges::count(groups, true, &GroupTally::signal));
  if (with == 0) return {.value = 0, .low = 0, .high = 1 - std::pow(kMissed, 1 / n)};
  return wilson(with / n, n);
}

int64_t groups_to_refuse(int64_t groups_a_step) {
  // The smallest n with 1 - 0.05^(1/n) < 1/g. Steps of a few groups may need several steps until one has
  // signal, so g is at least 32.
  constexpr int64_t kLeast = 32;
  const double share = 1.0 / static_cast<double>(std::max(kLeast, groups_a_step));
  return static_cast<int64_t>(std::ceil(std::log(kMissed) / std::log1p(-share)));
}

std::vector<PreflightFinding> findings(const Preflight& p, const GrpoConfig& config) {
  std::vector<PreflightFinding> found;
  const int64_t n = std::ssize(p.groups);
  const Share truncated = p.truncated(), signal = p.signal();
  if (was_cut_short(p)) {
    found.push_back(
        {.what = fmt::format(
             "answers were sampled to {} of {} tokens, because the model is slow here: longer ones "
             "count as cut off and wrong",
             p.sampled_to, p.max_tokens),
         .advice = "r1 preflight CONFIG --seconds N samples longer"});
  }
  const bool too_long = !was_cut_short(p) && truncated.low > kMostTruncated;
  if (too_long || (!was_cut_short(p) && truncated.value > 0.5)) found.push_back(truncation(p, too_long));
  if (signal.value == 0) {
    const bool refuses = !was_cut_short(p) && n >= groups_to_refuse(p.groups_a_step);
    std::string what = little_signal(p, config);
    if (!refuses)
      what += fmt::format("; {} such groups would refuse the run", groups_to_refuse(p.groups_a_step));
    found.push_back({.what = what, .advice = advice_without_signal(p, config), .refuses = refuses});
  } else if (signal.value < 0.1) {
    found.push_back({.what = little_signal(p, config), .advice = advice_without_signal(p, config)});
  }
  if (const int64_t failed = sum(p.groups, &GroupTally::verifier_failed); failed > 0) {
    found.push_back({.what = fmt::format("the verifier failed on {} of {} answers", failed, p.samples()),
                     .advice = "score a file of answers with it first (r1 reward CONFIG --input F.jsonl)"});
  }
  return found;
}

std::vector<std::string> preflight_table(const Preflight& p, std::span<const PreflightFinding> found) {
  const double groups = static_cast<double>(std::max<size_t>(1, p.groups.size()));
  int64_t longest = 0;
  for (const GroupTally& g : p.groups) longest = std::max(longest, g.longest);
  std::vector<std::string> lines;
  lines.push_back(
      fmt::format("preflight: {} groups, {} answers, {}", p.groups.size(), p.samples(), duration(p.seconds)));
  const auto line = [&](const char* name, const std::string& text) {
    lines.push_back(fmt::format("  {:<20} {}", name, text));
  };
  line("truncated", with_interval(p.truncated()));
  line("right", with_interval(p.accuracy()));
  line("reward",
       fmt::format("{:.3f}   deviation within a group {:.3f}", sum(p.groups, &GroupTally::reward) / groups,
                   sum(p.groups, &GroupTally::spread) / groups));
  line("groups with signal", with_interval(p.signal()));
  line("verifier failures", std::to_string(sum(p.groups, &GroupTally::verifier_failed)));
  line("answer length", fmt::format("{:.0f} tokens on average, the longest {} (rollout.max_tokens is {})",
                                    mean_length(p), longest, p.max_tokens));
  line("memory of a step",
       fmt::format("about {:.0f} MiB (estimated)", static_cast<double>(p.memory.total()) / (1 << 20)));
  line("time of a step",
       fmt::format("{}: sampling {} (measured), verdicts {} (measured), scoring {} and training {} (from a "
                   "measured micro-batch of {} tokens)",
                   about(p.step_s()), duration(p.sample_s), duration(p.verify_s), duration(p.score_s),
                   duration(p.train_s), p.micro_batch));
  line("whole run", fmt::format("{} steps: {}, if answers keep their length", p.steps,
                                about(p.step_s() * static_cast<double>(p.steps))));
  for (const PreflightFinding& f : found)
    lines.push_back(fmt::format("  {}: {}: {}", f.refuses ? "refused" : "warning", f.what, f.advice));
  return lines;
}

Json to_json(const Preflight& p, std::span<const PreflightFinding> found) {
  const auto share = [](const Share& s) {
    return Json::object().set("value", s.value).set("low", s.low).set("high", s.high);
  };
  const double groups = static_cast<double>(std::max<size_t>(1, p.groups.size()));
  int64_t longest = 0;
  for (const GroupTally& g : p.groups) longest = std::max(longest, g.longest);
  Json json = Json::object();
  json.set("groups", std::ssize(p.groups)).set("samples", p.samples());
  json.set("truncated", share(p.truncated())).set("accuracy", share(p.accuracy()));
  json.set("well_formed", static_cast<double>(sum(p.groups, &GroupTally::well_formed)) /
                              static_cast<double>(std::max<int64_t>(1, p.samples())));
  json.set("reward", sum(p.groups, &GroupTally::reward) / groups);
  json.set("reward_spread", sum(p.groups, &GroupTally::spread) / groups);
  json.set("signal", share(p.signal()));
  json.set("verifier_failures", sum(p.groups, &GroupTally::verifier_failed));
  json.set("length", mean_length(p)).set("longest", longest);
  json.set("max_tokens", p.max_tokens).set("sampled_to", p.sampled_to);
  json.set("memory_bytes", p.memory.total());
  json.set("sample_s", p.sample_s).set("verify_s", p.verify_s).set("score_s", p.score_s);
  json.set("train_s", p.train_s).set("step_s", p.step_s()).set("micro_batch", p.micro_batch);
  json.set("steps", p.steps).set("eta_s", p.step_s() * static_cast<double>(p.steps));
  json.set("seconds", p.seconds);
  Json refused = Json::array(), warnings = Json::array();
  for (const PreflightFinding& f : found)
    (f.refuses ? refused : warnings).push_back(Json::object().set("what", f.what).set("advice", f.advice));
  return json.set("refused", std::move(refused)).set("warnings", std::move(warnings));
}

}  // namespace r1
