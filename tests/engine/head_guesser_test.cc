// The MTP head's guesses: those that the whole text would give, and none changes a bit of any answer.
#include "engine/head_guesser.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "engine/engine.h"
#include "model/gguf_config.h"
#include "tensor/transfer.h"
#include "tests/engine/guessed_answers.h"
#include "tests/model/golden_models.h"

namespace r1::head_guesser_test {
namespace {

using test::answers;
using test::expect_equal;
using test::GuessedAnswers;

const std::filesystem::path kMtp = std::filesystem::path(R1_SOURCE_DIR) / "tests/golden/models-mtp";

Model golden_model() {
  return Model::load(kMtp, DType::f32, WeightUse::guessing);
}

// A model whose next token follows from the last one alone: token v is followed by v + 1, most of the time if
// it is drawn at temperature 1, and its head knows that. All layers add nothing to the token's embedding.
Model counting_model() {
  ModelConfig config = load_model_config(kMtp);
  config.prediction_layers = 1;
  config.vocab_size = 500;
  config.hidden_size = 64;
  config.max_positions = 1000;
  Model model = Model::create(config, 7);
  const int64_t D = config.hidden_size, V = config.vocab_size;
  const auto parameter = [&](std::string_view name) -> Parameter& {
    return *std::ranges::find(model.parameters(), name, &Parameter::name);
  };
  const auto set = [&](Parameter& p, std::span<const float> values) {
    write_values(model.memory(), p.value, 0, values);
  };
  for (Parameter& p : model.parameters()) {
    if (p.name.find("o_proj") != std::string::npos || p.name.find("down_proj") != std::string::npos)
      set(p, std::vector<float>(static_cast<size_t>(p.value.count()), 0.0f));
  }
  Random random(11);
  std::vector<float> table(static_cast<size_t>(V * D)), head(table.size()),
      join(static_cast<size_t>(2 * D * D), 0.0f);
  for (float& v : table) v = random.normal() > 0 ? 1.0f : -1.0f;
  for (int64_t v = 0; v < V; ++v) {  // logits of 9 for v + 1; others are about 1.1
    for (int64_t d = 0; d < D; ++d)
      head[static_cast<size_t>((v + 1) % V * D + d)] =
          table[static_cast<size_t>(v * D + d)] * 9.0f / static_cast<float>(D);
  }
  for (int64_t d = 0; d < D; ++d) join[static_cast<size_t>(d * 2 * D + d)] = 1.0f;  // the token's half
  set(parameter("model.embed_tokens.weight"), table);
  set(parameter("lm_head.weight"), head);
  set(parameter("model.layers.2.eh_proj.weight"), join);
  return model;
}

// Prompts of random tokens, some with a common beginning of more than a page.
std::vector<Request> some_requests(int64_t vocab_size, uint64_t seed) {
  std::vector<Request> out;
  Random random(seed);
  std::vector<int32_t> common;
  const auto token = [&] { return static_cast<int32_t>(random.between(2, vocab_size - 1)); };
  for (int t = 0; t < 70; ++t) common.push_back(token());
  for (uint32_t i = 0; i < 10; ++i) {
    Request r;
    if (i % 3 == 0) r.prompt = common;
    const int64_t length = random.between(1, 50);
    for (int64_t t = 0; t < length; ++t) r.prompt.push_back(token());
    r.samples = random.between(1, 3);
    r.max_tokens = random.between(10, 70);
    r.sampling.temperature = i % 4 == 0 ? 0.0f : 1.0f;
    if (i % 5 == 2) r.stop_tokens = {9};
    if (i % 5 == 3) r.prompt_logprobs = true;
    r.key = {.seed = 5, .step = 1, .prompt = i, .first_draw = 0};
    out.push_back(std::move(r));
  }
  return out;
}

TEST(HeadGuesser, AnswersHaveTheSameBitsWithAndWithoutGuesses) {
  const Model models[] = {golden_model(), counting_model()};
  for (const Model& model : models) {
    const std::vector<Request> requests = some_requests(model.config().vocab_size, 3);
    for (const Numerics numerics : {Numerics::cpu_f32, Numerics::cpu_bf16}) {
      if (model.frozen() && numerics != Numerics::cpu_f32) continue;
      const GuessedAnswers plain = answers(model, requests, 0, numerics);
      EXPECT_EQ(plain.counts.total().guessed, 0);
      for (const int64_t most : {1, 3, 8}) {
        const GuessedAnswers guessed = answers(model, requests, most, numerics);
        expect_equal(guessed, plain);
        EXPECT_GT(guessed.counts.head.guessed, 40) << most;
        EXPECT_GE(guessed.counts.head.guessed, guessed.counts.head.accepted);
      }
      // A cache of a few pages: samples are preempted and computed again.
      const GuessedAnswers pressed = answers(model, requests, 7, numerics, 10, 4);
      expect_equal(pressed, plain);
      EXPECT_GT(pressed.preemptions, 0);
    }
  }
}

// Half of the forwards and more are saved, although no two words repeat.
TEST(HeadGuesser, AHeadThatGuessesWellSavesForwards) {
  const Model model = counting_model();
  Request r;
  r.prompt = {17};
  r.max_tokens = 300;
  r.sampling.temperature = 0.0f;
  const GuessedAnswers one = answers(model, {&r, 1}, 1, Numerics::cpu_f32);
  ASSERT_EQ(one.completions[0].tokens.size(), 300u);
  for (size_t i = 0; i < 300; ++i) ASSERT_EQ(one.completions[0].tokens[i], static_cast<int32_t>(18 + i));
  EXPECT_EQ(one.counts.look_up.guessed, 0);
  EXPECT_EQ(one.counts.head.accepted, one.counts.head.guessed);
  EXPECT_GE(one.counts.head.accepted, 148);  // every second token
  const GuessedAnswers seven = answers(model, {&r, 1}, 7, Numerics::cpu_f32);
  expect_equal(seven, one);
  EXPECT_GT(seven.counts.head.accepted, 250);
  // Drawn at temperature 1, the text jumps now and then.
  r.sampling.temperature = 1.0f;
  const GuessedAnswers drawn = answers(model, {&r, 1}, 7, Numerics::cpu_f32);
  expect_equal(drawn, answers(model, {&r, 1}, 0, Numerics::cpu_f32));
  EXPECT_GT(drawn.counts.head.accepted, 100);
  EXPECT_LT(drawn.counts.head.accepted, drawn.counts.head.guessed);
}

TEST(HeadGuesser, NothingIsGuessedWhileManySequencesRun) {
  const Model model = counting_model();
  Request r;
  r.prompt = {17, 300, 12};
  r.max_tokens = 40;
  std::vector<Request> requests(6, r);
  for (uint32_t i = 0; i < 6; ++i) requests[i].key.prompt = i;
  const GuessedAnswers many = answers(model, requests, 7, Numerics::cpu_f32, 0, 6);
  EXPECT_EQ(many.counts.total().guessed, 0);
  EXPECT_GT(answers(model, std::span(requests).first(4), 7, Numerics::cpu_f32, 0, 6).counts.head.accepted,
            40);
}

// However a text is cut into forwards, the head's guess is the one that a single call on the whole text gives.
TEST(HeadGuesser, GuessesAreThoseOfTheWholeText) {
  const Model model = golden_model();
  const int64_t V = model.config().vocab_size;
  Random random(2);
  std::vector<int32_t> text;
  for (int t = 0; t < 120; ++t) text.push_back(static_cast<int32_t>(random.between(2, V - 1)));
  Arena arena;
  ThreadPool pool(1);
  Context ctx{.arena = arena, .threads = pool};
  // want[t]: the guess of token t + 2.
  std::vector<int32_t> want;
  {
    const std::span<const int32_t> all(text);
    const WholeBatch whole = whole_batch(std::vector{all}), next = whole_batch(std::vector{all.subspan(1)});
    const KvCache kv(model.config(), whole.page_count, ctx);
    const Tensor hidden = model.forward(ctx, whole.view(), kv);
    const Tensor x = model.predict(ctx, next.view(), kv, hidden.part(0, next.view().T()));
    const Tensor logit_rows = model.predicted_logits(ctx, x);
    const std::span<const float> logits = logit_rows.values();
    for (size_t at = 0; at < logits.size(); at += static_cast<size_t>(V)) {
      const auto row = logits.subspan(at, static_cast<size_t>(V));
      want.push_back(static_cast<int32_t>(std::ranges::max_element(row) - row.begin()));
    }
  }
  for (const int64_t chunk : {1, 7, 32, 50}) {
    HeadGuesser guesser(model, 4);
    KvCache cache(model.config(), 5, DType::f32);
    cache.zero_layer(ctx, model.config().layers);
    Group group;
    Sequence s;
    s.group = &group;
    s.pages = {3, 0, 4, 1};
    RowBatch batch;
    const auto forward = [&](const ScheduledRow& row) {
      batch.build({&row, 1});
      guesser.observe(ctx, cache, {&row, 1}, batch, model.forward(ctx, batch.view(), cache));
    };
    constexpr int64_t kPrompt = 40;
    s.tokens.assign(text.begin(), text.begin() + kPrompt);
    for (int64_t begin = 0; begin < kPrompt; begin += chunk)
      forward({.sequence = &s, .begin = begin, .end = std::min(begin + chunk, kPrompt)});
    int64_t guessed = 0;
    for (int64_t t = kPrompt; t + 1 < std::ssize(text); ++t) {  // token t was drawn
      s.tokens.push_back(text[static_cast<size_t>(t)]);
      ScheduledRow row{.sequence = &s, .begin = t, .end = t + 1};
      const int64_t wanted = t % 3 == 0 ? 0 : 1;  // the outputs of some positions wait
      const auto guesses = guesser.guess(ctx, cache, {&row, 1}, {&wanted, 1});
      ASSERT_EQ(std::ssize(guesses[0]), wanted) << t;
      for (const int32_t guess : guesses[0])
        EXPECT_EQ(guess, want[static_cast<size_t>(t - 1)]) << t << " in chunks of " << chunk;
      guessed += wanted;
      // Right guesses are computed with the row, and drawn without a forward of their own.
      const int64_t ahead = t % 4 == 1 ? std::min<int64_t>(3, std::ssize(text) - t - 2) : 0;
      row.guesses = std::span(text).subspan(static_cast<size_t>(t + 1), static_cast<size_t>(ahead));
      forward(row);
      for (int64_t i = 0; i < ahead; ++i) s.tokens.push_back(text[static_cast<size_t>(++t)]);
    }
    EXPECT_GT(guessed, 12);
  }
}

}  // namespace
}  // namespace r1::head_guesser_test
