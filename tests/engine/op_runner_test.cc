// The runner without an engine: the logits that rows ask for.
#include "engine/op_runner.h"

#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "tests/model/golden_models.h"

namespace r1::op_runner_test {
namespace {

struct Logits final : RowSink {
  std::mutex mutex;  // parts call from several threads
  std::map<const Sequence*, std::vector<float>> got;
  SamplingParams params;
  std::map<const Sequence*, Sampled> drawn;
  RowToSample draw_of(const Sequence&) const override {
    return {.logits = {}, .params = &params, .uniform = 0.4f};
  }
  bool take(Sequence& s, const Sampled& sampled) override {
    const std::lock_guard lock(mutex);
    drawn[&s] = sampled;
    return true;
  }
  void logits(const ScheduledRow& row, std::span<const float> logits) override {
    const std::lock_guard lock(mutex);
    got[row.sequence].insert(got[row.sequence].end(), logits.begin(), logits.end());
  }
};

// Every token's logits are those that a forward up to this token alone gives, whatever the row asks for
// beside them, and the draw is the same whether or not they are asked for.
TEST(OpRunner, ARowHasTheLogitsOfAsManyTokensAsItWants) {
  const Model model = Model::load(test::kGoldenModels / "llama-biases");
  const int64_t V = model.config().vocab_size;
  const std::vector<int32_t> text{3, 9, 4, 11, 30, 2, 2, 7, 8, 40, 12};
  Group group;
  group.prompt = text;
  const auto sequence = [&](int32_t page, int64_t tokens) {
    Sequence s;
    s.group = &group;
    s.tokens.assign(text.begin(), text.begin() + tokens);
    s.pages = {page};
    return s;
  };
  for (const int threads : {1, 3}) {
    Arena arena;
    ThreadPool pool(threads);
    Context ctx{.arena = arena, .threads = pool};
    OpRunner runner(model, ctx, 64);
    runner.resize(30, false);
    // One token at a time.
    std::vector<float> want;
    Logits single;
    Sequence s = sequence(0, 11);
    for (int64_t i = 0; i < 11; ++i) {
      const ScheduledRow row{.sequence = &s, .begin = i, .end = i + 1, .logits_from = i};
      runner.run({&row, 1}, 1, single);
    }
    want = single.got.at(&s);
    ASSERT_EQ(std::ssize(want), 11 * V);
    const Sampled drawn = single.drawn.at(&s);
    // Rows of all kinds in one batch, enough of them for parts.
    std::vector<Sequence> sequences;
    for (int32_t i = 0; i < 20; ++i) sequences.push_back(sequence(1 + i, 11));
    std::vector<ScheduledRow> rows;
    for (size_t i = 0; i < 20; ++i) {
      rows.push_back({.sequence = &sequences[i], .begin = 0, .end = 11});
      if (i % 3 != 0) rows.back().logits_from = static_cast<int64_t>(i) % 11;
    }
    Logits sink;
    runner.run(rows, 1, sink);
    EXPECT_EQ(runner.part_bytes() > 0, threads > 1) << "rows go in parts, too";
    for (size_t i = 0; i < 20; ++i) {
      EXPECT_EQ(sequences[i].computed, 11);
      EXPECT_EQ(sink.drawn.at(&sequences[i]).token, drawn.token);
      EXPECT_EQ(sink.drawn.at(&sequences[i]).logprob, drawn.logprob);
      const auto got = sink.got.find(&sequences[i]);
      ASSERT_EQ(got != sink.got.end(), i % 3 != 0);
      if (got == sink.got.end()) continue;
      const auto from = static_cast<int64_t>(i) % 11 * V;
      EXPECT_EQ(got->second, std::vector(want.begin() + from, want.end()))
          << threads << " threads, row " << i;
    }
  }
}

}  // namespace
}  // namespace r1::op_runner_test
