// Guesses of what will be drawn change no bit of any answer.
#include "engine/lookahead.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"
#include "engine/engine.h"
#include "tests/engine/guessed_answers.h"
#include "tests/model/golden_models.h"

namespace r1::lookahead_test {
namespace {

using test::answers;
using test::expect_equal;
using test::GuessedAnswers;

std::vector<int32_t> looked_up(std::vector<int32_t> tokens, int64_t most = 4) {
  const auto found = look_up(tokens, most);
  return {found.begin(), found.end()};
}

TEST(LookUp, TheLongestAndThenTheLatestMatchIsContinued) {
  using Tokens = std::vector<int32_t>;
  EXPECT_EQ(looked_up({}), Tokens{});
  EXPECT_EQ(looked_up({1}), Tokens{});
  EXPECT_EQ(looked_up({1, 2, 3, 4}), Tokens{});
  EXPECT_EQ(looked_up({5, 2, 3, 2}), Tokens{});  // one token is no match
  EXPECT_EQ(looked_up({1, 2, 8, 9, 1, 2}), (Tokens{8, 9, 1, 2}));
  EXPECT_EQ(looked_up({1, 2, 8, 9, 1, 2}, 1), Tokens{8});
  EXPECT_EQ(looked_up({1, 2, 8, 1, 2, 9, 1, 2}), (Tokens{9, 1, 2}));           // the latest
  EXPECT_EQ(looked_up({7, 1, 2, 8, 6, 1, 2, 9, 7, 1, 2}, 2), (Tokens{8, 6}));  // the longest
  EXPECT_EQ(looked_up({4, 4, 4}), Tokens{4});
}

// A tiny model whose answers repeat themselves at low temperatures.
Model repeating_model() {
  ModelConfig config = Model::load(test::kGoldenModels / "llama-biases").config();
  config.max_positions = 400;
  return Model::create(config, 3);
}

std::vector<Request> some_requests() {
  std::vector<Request> out;
  Random random(7);
  for (uint32_t i = 0; i < 12; ++i) {
    Request r;
    const int64_t period = random.between(2, 9), length = random.between(8, 60);
    for (int64_t t = 0; t < length; ++t) r.prompt.push_back(static_cast<int32_t>(2 + 3 * (t % period)));
    r.samples = random.between(1, 3);
    r.max_tokens = random.between(20, 120);
    r.sampling.temperature = i % 3 == 0 ? 0.0f : 0.05f * static_cast<float>(i);
    if (i % 4 == 1) r.sampling.repetition_penalty = 1.1f;
    if (i % 5 == 2) r.top_logprobs = 3;
    if (i % 4 == 2) r.stop_tokens = {9};
    if (i % 6 == 3) r.prompt_logprobs = true;
    r.key = {.seed = 5, .step = 1, .prompt = i, .first_draw = 0};
    out.push_back(std::move(r));
  }
  return out;
}

TEST(Lookahead, AnswersHaveTheSameBitsWithAndWithoutGuesses) {
  const Model model = repeating_model();
  const std::vector<Request> requests = some_requests();
  for (const Numerics numerics : {Numerics::cpu_f32, Numerics::cpu_bf16}) {
    const GuessedAnswers plain = answers(model, requests, 0, numerics);
    EXPECT_EQ(plain.counts.total().guessed, 0);
    for (const int64_t most : {1, 4, 7, 64}) {
      const GuessedAnswers guessed = answers(model, requests, most, numerics);
      expect_equal(guessed, plain);
      EXPECT_GT(guessed.counts.total().accepted, 50) << most;
      EXPECT_GE(guessed.counts.total().guessed, guessed.counts.total().accepted);
    }
    // A cache of a few pages: samples are preempted in the midst of their guesses.
    const GuessedAnswers pressed = answers(model, requests, 7, numerics, 9, 4);
    expect_equal(pressed, plain);
    EXPECT_GT(pressed.preemptions, 0);
    EXPECT_GT(pressed.counts.total().accepted, 50);
  }
}

TEST(Lookahead, TextThatRepeatsTakesFewerForwards) {
  const Model model = repeating_model();
  Request r;
  for (int32_t t = 0; t < 60; ++t) r.prompt.push_back(2 + 3 * (t % 4));
  r.max_tokens = 200;
  r.sampling.temperature = 0.0f;
  const GuessedAnswers guessed = answers(model, {&r, 1}, 7, Numerics::cpu_f32);
  const int64_t tokens = std::ssize(guessed.completions[0].tokens);
  EXPECT_GT(guessed.counts.total().accepted, tokens / 2) << "of " << tokens;
}

TEST(Lookahead, ForcedTokensAndEndsInTheMidstOfGuessesAreHeeded) {
  const Model model = repeating_model();
  std::vector<Completion> ended[2];
  for (const int64_t most : {0, 7}) {
    Arena arena;
    ThreadPool pool(1);
    Context ctx{.arena = arena, .threads = pool};
    Engine engine(model, ctx, {.max_batch = 2, .prefill_chunk = 40, .lookahead = most});
    Request r;
    for (int32_t t = 0; t < 40; ++t) r.prompt.push_back(2 + 3 * (t % 4));
    r.max_tokens = 90;
    r.sampling.temperature = 0.0f;
    const int64_t first = engine.submit(r), second = engine.submit(r);
    int64_t steps = 0, made = 0;
    while (!engine.idle()) {
      const Events& events = engine.step(1);
      for (const Completion& c : events.ended) ended[most > 0].push_back(c);
      for (const auto& t : events.tokens) made += t.request == first ? 1 : 0;
      if (++steps == 30) engine.force(first, 0, std::vector<int32_t>{11, 12, 13});
      if (steps == 60) ended[most > 0].push_back(engine.stop(second, 0));
    }
    EXPECT_EQ(made, 90);
  }
  ASSERT_EQ(ended[0].size(), 2u);
  ASSERT_EQ(ended[1].size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(ended[1][i].tokens, ended[0][i].tokens);
    EXPECT_EQ(ended[1][i].logprobs, ended[0][i].logprobs);
  }
}

}  // namespace
}  // namespace r1::lookahead_test
