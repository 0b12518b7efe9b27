#include "eval/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "engine/ask.h"
#include "reward/answer.h"
#include "text/think.h"

namespace r1 {

namespace {

constexpr int64_t kJudgedTogether = 64;  // answers per call; an interruption loses at most this many

EvalSample sample_of(const ModelBundle& bundle, int64_t index, const Completion& c,
                     const std::string& opening) {
  EvalSample row;
  row.problem = index;
  row.sample = c.sample;
  row.text = response_text(bundle.tokenizer, c.tokens);
  row.prompt_opened = opens_thought(opening);
  row.tokens = static_cast<int64_t>(c.tokens.size());
  row.thinking = thinking_tokens(bundle.tokenizer, c.tokens, row.prompt_opened);
  row.finish = c.finish;
  return row;
}

}  // namespace

EvalResult evaluate(const ModelBundle& bundle, Context& ctx, std::span<const Problem> problems,
                    const EvalOptions& options, const OnEvalSample& on_sample,
                    std::vector<EvalSample> finished) {
  if (problems.empty()) throw Error("there are no problems to evaluate on");
  if (options.sampling.samples < 1)
    throw Error("an evaluation has " + std::to_string(options.sampling.samples) +
                " samples per problem; it must have at least one");
  EvalResult result;
  result.problems = static_cast<int64_t>(problems.size());
  result.samples = options.sampling.samples;
  result.rows = std::move(finished);
  const int64_t total = result.problems * result.samples;
  std::vector<bool> is_finished(static_cast<size_t>(total));
  for (const EvalSample& row : result.rows) {
    is_finished[static_cast<size_t>(row.problem * result.samples + row.sample)] = true;
    result.kept_tokens += row.tokens;
  }
  const std::vector<Request> all =
      ask(bundle, problems, options.sampling.request({.seed = options.seed, .step = kEvalStep, .prompt = 0}),
          options.prompt);
  std::vector<Verifier> verifiers;  // each gold is read once
  if (!options.judge) verifiers = std::vector<Verifier>(problems.begin(), problems.end());
  std::vector<Request> requests;
  std::vector<int64_t> problem_of;  // the problem of each request
  for (int64_t i = 0; i < result.problems; ++i) {
    for (Request& request : unfinished_part(all[static_cast<size_t>(i)], [&](int64_t sample) {
           return is_finished[static_cast<size_t>(i * result.samples + sample)];
         })) {
      requests.push_back(std::move(request));
      problem_of.push_back(i);
    }
  }
  Engine engine(bundle.model, ctx, options.sampling.engine());
  const auto begin = std::chrono::steady_clock::now();
  const auto take = [&](EvalSample row) {
    result.rows.push_back(std::move(row));
    if (on_sample) on_sample(result.rows.back(), std::ssize(result.rows), total);
  };
  std::vector<EvalSample> unjudged;  // used only with options.judge
  std::vector<RewardSample> to_judge;
  const auto judge_all = [&] {
    const std::vector<Verdict> verdicts = options.judge(to_judge);
    for (size_t i = 0; i < unjudged.size(); ++i) {
      unjudged[i].verdict = verdicts[i];
      take(std::move(unjudged[i]));
    }
    unjudged.clear();
    to_judge.clear();
  };
  const auto on_answer = [&](const Completion& c) {
    const auto request = static_cast<size_t>(c.request);
    const auto problem = static_cast<size_t>(problem_of[request]);
    const std::string& opening = requests[request].opening;
    const bool ended = c.finish == FinishReason::stop;
    EvalSample row = sample_of(bundle, problem_of[request], c, opening);
    if (!options.judge) {
      row.verdict = verify_answer(bundle.tokenizer, verifiers[problem], c.tokens, ended, opening);
      return take(std::move(row));
    }
    to_judge.push_back({.problem = &problems[problem],
                        .id = fmt::format("{}/{}", problem, c.sample),
                        .response = answered_text(bundle.tokenizer, c.tokens, ended, opening),
                        .tokens = row.tokens,
                        .ended = ended});
    unjudged.push_back(std::move(row));
    if (std::ssize(unjudged) == kJudgedTogether) judge_all();
  };
  if (!requests.empty()) engine.stream(requests, on_answer);
  if (!unjudged.empty()) judge_all();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::ranges::sort(result.rows, {},
                    [](const EvalSample& row) { return std::pair(row.problem, row.sample); });
  summarise(result);
  return result;
}

}  // namespace r1
