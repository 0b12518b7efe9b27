// cli/reward.cc: `r1 reward CONFIG.toml --input F.jsonl`: scores answers with the reward of a grpo
// configuration before anything is trained. Prints one object per row, in order:
//
//   {"row", "id"?, "status": "scored" | "refused" | "verifier_failed", "correct", "why", "reward",
//    "terms": {name: value}}
//
// reward is null if the verifier failed. Values of terms are not multiplied by their weights. A summary goes
// to standard error.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "cli/common.h"
#include "cli/output.h"
#include "cli/reward_rows.h"
#include "cli/stop_signals.h"
#include "formats/config_file.h"
#include "recipe/inputs.h"
#include "recipe/stages.h"
#include "text/gguf_tokenizer.h"
#include "train/step_loop.h"

namespace r1 {
namespace {

struct RewardFile {
  GrpoConfig config;
  std::filesystem::path model;
  std::string task;
};

RewardFile read_reward_file(const std::string& path, std::span<const std::string> set) {
  ConfigFile file = ConfigFile::read(path);
  for (const std::string& assignment : set) file.set(assignment);
  RewardFile out{.config = read_grpo_settings(file), .model = {}, .task = {}};
  check_programs(file, out.config.reward);
  out.model = model_of(file, "model", file.settings().get_string("model"));
  out.task = file.settings().get_string_or("data.task", "math");
  return out;
}

// Rows of the input. A row that cannot be used becomes an error row of the output.
struct RewardInput {
  std::vector<RewardRow> rows;
  std::vector<Json> errors;  // one per row; null if the row can be used
};

RewardInput read_input(const std::string& path, const RewardFile& file) {
  const Tokenizer tokenizer = load_tokenizer(file.model);
  RewardInput out;
  JsonlReader reader(input_path(path));
  for (JsonlRow row; reader.next(row);) {
    std::string error = row.error;
    if (error.empty()) {
      try {
        out.rows.push_back(read_reward_row(row.value, row.row, tokenizer, file.task,
                                           !file.config.reward.decided_outside(), file.config.prompt.think));
        out.errors.emplace_back();
        continue;
      } catch (const Error& e) {
        error = e.what();
      }
    }
    out.errors.push_back(error_row(row.row, error));
  }
  return out;
}

std::vector<int64_t> groups_of(std::span<const RewardRow> rows) {
  std::vector<int64_t> groups;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i == 0 || rows[i].group != rows[i - 1].group) groups.push_back(0);
    ++groups.back();
  }
  return groups;
}

Json result_row(const RewardRow& row, const RewardResult& result, std::span<const std::string> names) {
  Json terms = Json::object();
  for (size_t t = 0; t < names.size(); ++t)
    terms.set(names[t], result.failed() ? Json() : Json(result.terms[t]));
  Json out = Json::object();
  out.set("row", row.row);
  if (row.id) out.set("id", *row.id);
  out.set("status", name_of(result.verdict.status)).set("correct", result.verdict.correct);
  out.set("why", result.verdict.why).set("reward", result.failed() ? Json() : Json(result.total));
  out.set("terms", std::move(terms));
  return out;
}

std::string summary(std::span<const RewardResult> results, std::span<const int64_t> groups,
                    const Reward& reward) {
  std::array<int64_t, 3> status{};
  int64_t correct = 0, with_signal = 0;
  double sum = 0;
  std::vector<double> terms(reward.term_names().size());
  size_t at = 0;
  for (const int64_t size : groups) {
    double low = INFINITY, high = -INFINITY;
    for (const RewardResult& r : results.subspan(at, static_cast<size_t>(size))) {
      ++status[static_cast<size_t>(r.verdict.status)];
      correct += r.verdict.correct ? 1 : 0;
      if (r.failed()) continue;
      low = std::min(low, r.total);
      high = std::max(high, r.total);
      sum += r.total;
      for (size_t t = 0; t < terms.size(); ++t) terms[t] += r.terms[t];
    }
    with_signal += high > low ? 1 : 0;
    at += static_cast<size_t>(size);
  }
  const auto judged = static_cast<double>(std::max<int64_t>(1, status[0] + status[1]));
  std::string out = fmt::format(
      "r1: {} samples in {} groups: {} scored, {} refused, {} verifier_failed; {} correct; reward {:.4g} on "
      "average; "
      "groups with signal: {}\n",
      results.size(), groups.size(), status[0], status[1], status[2], correct, sum / judged, with_signal);
  for (size_t t = 0; t < terms.size(); ++t)
    out += fmt::format("r1:   {} {:.4g} on average, weight {:g}\n", reward.term_names()[t], terms[t] / judged,
                       reward.weights()[t]);
  return out;
}

}  // namespace

int run_reward(const RewardOptions& options) {
  check_training(options.common);
  const StopSignals signals;
  const RewardFile file = read_reward_file(options.config, options.set);
  const RewardInput input = read_input(options.input, file);
  ThreadPool threads(thread_count(options.common));
  Reward reward(file.config.reward, file.config.rollout.max_tokens);
  std::vector<RewardSample> samples;
  for (const RewardRow& row : input.rows)
    samples.push_back({&row.problem, std::to_string(row.row), row.response, row.tokens, row.ended});
  const std::vector<int64_t> groups = groups_of(input.rows);
  std::vector<RewardResult> results;
  try {
    results = reward.judge(threads, samples, groups, [] {
      if (StopSignals::asked()) throw StepAbandoned();
    });
  } catch (const StepAbandoned&) {
    return report_stop("stopped before all rows were judged; nothing was written",
                       options.common.command_line);
  }
  RowOutput out("-");
  size_t next = 0;
  for (const Json& error : input.errors) {
    out.write(error.is_null() ? result_row(input.rows[next], results[next], reward.term_names()) : error);
    next += error.is_null() ? 1 : 0;
  }
  out.close();
  show_warnings(reward.take_notes());
  write_stderr(summary(results, groups, reward));
  const int64_t failed = std::ranges::count_if(results, [](const RewardResult& r) { return r.failed(); });
  if (failed > 0 && failed == std::ssize(results))
    throw Error("the verifier failed for every sample; the first: " + results.front().verdict.why);
  return status_of_rows(std::ssize(input.errors) - std::ssize(input.rows), std::ssize(input.errors));
}

}  // namespace r1
