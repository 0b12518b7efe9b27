#include "eval/evaluate.h"

#include <chrono>

#include "engine/ask.h"
#include "reward/answer.h"
#include "text/think.h"

namespace r1 {

EvalResult evaluate(const ModelBundle& bundle, Context& ctx, std::span<const Problem> problems,
                    const EvalOptions& options,
                    const std::function<void(int64_t done, int64_t total)>& progress) {
  if (problems.empty()) throw Error("there are no problems to evaluate on");
  if (options.samples < 1) throw Error("at least one sample a problem is wanted");
  Request settings;
  settings.samples = options.samples;
  settings.max_tokens = options.max_tokens;
  settings.sampling = options.sampling;
  settings.key = {.seed = options.seed, .step = kEvalStep, .prompt = 0};
  const std::vector<Request> requests = ask(bundle, problems, settings);
  EvalResult result;
  result.problems = static_cast<int64_t>(problems.size());
  result.samples = options.samples;
  const int64_t total = result.problems * result.samples;
  int64_t done = 0;
  Engine engine(
      bundle.model, ctx,
      {.max_batch = options.batch, .prefill_chunk = kEvalPrefillChunk, .kv_bytes = options.kv_bytes});
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<Completion> completions = engine.run(requests, {}, [&](const Completion&) {
    ++done;
    if (progress) progress(done, total);
  });
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  for (const Completion& c : completions) {
    EvalSample& row = result.rows.emplace_back();
    row.problem = c.request;
    row.sample = c.sample;
    const std::string& opening = requests[static_cast<size_t>(c.request)].opening;
    row.text = response_text(bundle.tokenizer, c.tokens);
    row.prompt_opened = !opening.empty();
    row.tokens = static_cast<int64_t>(c.tokens.size());
    row.thinking = thinking_tokens(bundle.tokenizer, c.tokens, row.prompt_opened);
    row.finish = c.finish;
    row.verdict = verify_answer(bundle.tokenizer, problems[static_cast<size_t>(c.request)], c.tokens,
                                c.finish == FinishReason::stop, opening);
  }
  summarise(result);
  return result;
}

}  // namespace r1
