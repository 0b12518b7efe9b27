// tests/engine/guessed_answers.h: answers of an engine that guesses, to compare with those of one that does not.
#pragma once

#include <gtest/gtest.h>

#include <span>
#include <vector>

#include "engine/engine.h"

namespace r1::test {

struct GuessedAnswers {
  std::vector<Completion> completions;
  LookaheadCounts counts;
  int64_t preemptions = 0;
};

// `kv_pages` bounds the cache; 0: not.
inline GuessedAnswers answers(const Model& model, std::span<const Request> requests, int64_t lookahead,
                              Numerics numerics, int64_t kv_pages = 0, int64_t batch = 3) {
  Arena arena;
  ThreadPool pool(1);
  Context ctx{.arena = arena, .threads = pool, .numerics = numerics};
  const int64_t page = KvCache::bytes_per_page(model.config(), ctx.row().cache);
  Engine engine(
      model, ctx,
      {.max_batch = batch, .prefill_chunk = 40, .kv_bytes = kv_pages * page, .lookahead = lookahead});
  GuessedAnswers out;
  out.completions = engine.run(requests);
  out.counts = engine.statistics().lookahead;
  out.preemptions = engine.statistics().preemptions;
  return out;
}

inline void expect_equal(const GuessedAnswers& got, const GuessedAnswers& want) {
  ASSERT_EQ(got.completions.size(), want.completions.size());
  for (size_t i = 0; i < got.completions.size(); ++i) {
    const Completion &a = got.completions[i], &b = want.completions[i];
    EXPECT_EQ(a.tokens, b.tokens) << i;
    EXPECT_EQ(a.logprobs, b.logprobs) << i;
    EXPECT_EQ(a.finish, b.finish) << i;
    EXPECT_EQ(a.prompt_logprobs, b.prompt_logprobs) << i;
    ASSERT_EQ(a.likeliest.size(), b.likeliest.size());
    for (size_t k = 0; k < a.likeliest.size(); ++k) {
      EXPECT_EQ(a.likeliest[k].token, b.likeliest[k].token);
      EXPECT_EQ(a.likeliest[k].logprob, b.likeliest[k].logprob);
    }
  }
}

}  // namespace r1::test
