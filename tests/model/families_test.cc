// A prompt is run once for all its answers: log-probs are equal to the bit, and gradients equal the sums over
// repeated prompts, for any threads and micro-batches. Also tested: which rows share a prompt, and the memory
// of such a batch.
#include <algorithm>
#include <map>

#include "base/random.h"
#include "model/memory.h"
#include "model/scoring.h"
#include "ops/loss/loss.h"
#include "tests/model/golden_models.h"

namespace r1::families_test {
namespace {

// Answers to a few prompts, as in a step of reinforcement learning.
struct Rows {
  Rows(const ModelConfig& config, std::vector<std::pair<int64_t, std::vector<int64_t>>> shape) {
    Random random(7);
    const auto token = [&] { return static_cast<int32_t>(random.between(2, config.vocab_size - 1)); };
    for (const auto& [prompt, answers] : shape) {
      std::vector<int32_t> head;
      for (int64_t i = 0; i < prompt; ++i) head.push_back(token());
      for (const int64_t n : answers) {
        tokens.push_back(head);
        for (int64_t i = 0; i < n; ++i) tokens.back().push_back(token());
        from.push_back(prompt);
      }
    }
    for (size_t i = 0; i < tokens.size(); ++i) list.push_back({tokens[i], from[i]});
  }
  std::vector<std::vector<int32_t>> tokens;
  std::vector<int64_t> from;
  std::vector<ScoredRow> list;
};

// A page is 32 positions. Prompts share less than a page, one page, or more. A prompt of one token has
// nothing to share.
Rows rows_for(const ModelConfig& config) {
  return Rows(config, {{9, {4, 30, 1}}, {33, {12, 5}}, {20, {8}}, {1, {6, 6}}, {40, {2, 9, 17, 3}}});
}

struct Trained {
  std::vector<std::vector<float>> logprobs;
  std::map<std::string, std::vector<float>> gradients;
};

// Returns the gradient of the sum of log-probs, each with its own weight.
Trained train(Model& model, const Rows& rows, Prompts prompts, int thread_count, int64_t micro) {
  model.allocate_gradients();
  ThreadPool threads(thread_count);
  Trained out;
  Lanes lanes(threads, Numerics::cpu_f32);
  out.logprobs.resize(rows.list.size());
  differentiate(model, lanes, rows.list, {.micro_tokens = micro, .prompts = prompts},
                [&](const RowGradient& row) {
                  out.logprobs[row.row].assign(row.logprobs.begin(), row.logprobs.end());
                  for (size_t t = 0; t < row.gradient.size(); ++t)
                    row.gradient[t] = static_cast<float>(static_cast<int64_t>(row.row * 7 + t * 3) % 5 - 2);
                });
  for (const Parameter& p : model.parameters()) {
    if (p.trainable) out.gradients[p.name] = {p.grad.values().begin(), p.grad.values().end()};
  }
  return out;
}

class SharedPrompts : public testing::TestWithParam<const char*> {
 protected:
  Model load() const { return Model::load(test::kGoldenModels / GetParam()); }
};

TEST_P(SharedPrompts, GiveTheLogProbsAndTheGradientsOfRepeatedOnes) {
  Model a = load(), b = load();
  const Rows rows = rows_for(a.config());
  const Trained repeated = train(a, rows, Prompts::repeated, 2, 1 << 20);
  const Trained shared = train(b, rows, Prompts::shared, 2, 1 << 20);
  EXPECT_EQ(shared.logprobs, repeated.logprobs);
  int experts = 0, used = 0;
  for (const auto& [name, want] : repeated.gradients) {
    const std::vector<float>& got = shared.gradients.at(name);
    float scale = 0, worst = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      scale = std::max(scale, std::abs(want[i]));
      worst = std::max(worst, std::abs(got[i] - want[i]));
    }
    EXPECT_LE(worst, 1e-5f * scale) << name;
    // A small model's expert may be chosen by no token; most are chosen.
    const bool is_expert = name.find(".experts.") != std::string::npos;
    if (!is_expert) {
      EXPECT_GT(scale, 0) << name;
    }
    experts += is_expert;
    used += is_expert && scale > 0;
  }
  EXPECT_GE(10 * used, 8 * experts);
}

TEST_P(SharedPrompts, GradientsDependNeitherOnThreadsNorOnMicroBatches) {
  Model model = load();
  const Rows rows = rows_for(model.config());
  const Trained want = train(model, rows, Prompts::shared, 1, 1 << 20);
  // The pairs cover all threads on each op, in one piece or several; threads side by side; one thread.
  for (const auto& [threads, micro] : {std::pair(3, 400), std::pair(2, 100), std::pair(2, 256),
                                       std::pair(3, 1 << 20), std::pair(1, 1), std::pair(1, 100)}) {
    Model again = load();
    Trained got = train(again, rows, Prompts::shared, threads, micro);
    EXPECT_EQ(got.logprobs, want.logprobs);
    for (const auto& [name, values] : want.gradients) EXPECT_TRUE(got.gradients.at(name) == values) << name;
  }
}

TEST_P(SharedPrompts, MemoryIsWhatTheArenaGives) {
  Model model = load();
  model.allocate_gradients();
  const Rows rows(model.config(), {{20, std::vector<int64_t>(6, 25)}, {20, {40, 30, 20}}, {9, {30}}});
  for (const int count : {1, 2, 3}) {
    ThreadPool threads(count);
    Arena arena;
    Tape tape(arena);
    Context ctx{.arena = arena, .threads = threads, .tape = &tape};
    const ScoreBatch input = make_score_batch(rows.list, Prompts::shared);
    const Batch batch = input.batch.view();
    const KvCache kv(model.config(), input.batch.page_count, ctx);
    const Tensor hidden = model.forward(ctx, batch, kv);
    const Tensor logprobs = token_log_probs(ctx, hidden, model.head(), input.targets, 1.0f);
    for (float& g : tape.slot(logprobs).grad.values()) g = 1.0f;
    tape.backward(ctx);
    std::vector<RowTokens> shape;
    for (int64_t s = 0; s < batch.S(); ++s) {
      const int64_t first = batch.offsets[static_cast<size_t>(s)];
      shape.push_back(
          {batch.offsets[static_cast<size_t>(s + 1)] - first, batch.positions[static_cast<size_t>(first)]});
    }
    const auto estimate =
        row_activations(model.config(), ctx.numerics, shape, {.backward = true}, threads.size());
    EXPECT_NEAR(static_cast<double>(estimate) / static_cast<double>(arena.peak()), 1, 0.05)
        << count << " threads";
  }
}

INSTANTIATE_TEST_SUITE_P(GoldenModels, SharedPrompts, testing::ValuesIn(test::kGoldenNames),
                         test::golden_test_name);

TEST(PromptFamilies, AreConsecutiveRowsOfOnePrompt) {
  const std::vector<int32_t> a{2, 3, 4, 5, 6}, b{2, 3, 4, 7}, c{2, 3, 9, 7}, d{2, 3, 4, 8, 8, 8};
  // c's prompt differs in its last token, so d starts a new family; a row may have no scored tokens.
  const std::vector<ScoredRow> rows{{a, 3}, {b, 3}, {c, 3}, {d, 3}, {d, 2}, {b, 4}, {b, 4}};
  const ScoreBatch batch = make_score_batch(rows, Prompts::shared);
  using Ints = std::vector<int32_t>;
  EXPECT_EQ(batch.batch.tokens, (Ints{2, 3, 4, 5, 4, 2, 3, 9, 2, 3, 4, 8, 8, 2, 3, 4, 8, 8, 2, 3, 4}));
  EXPECT_EQ(batch.batch.positions, (Ints{0, 1, 2, 3, 2, 0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2}));
  EXPECT_EQ(batch.batch.offsets, (Ints{0, 2, 4, 5, 8, 13, 18, 21, 21, 21}));
  EXPECT_EQ(batch.batch.parents, (Ints{-1, 0, 0, -1, -1, -1, -1, 6, 6}));
  EXPECT_EQ(batch.targets, (Ints{-1, -1, 5, 6, 7, -1, -1, 7, -1, -1, 8, 8, 8, -1, 4, 8, 8, 8, -1, -1, -1}));
  EXPECT_EQ(batch.scored, (std::vector<int64_t>{2, 4, 7, 10, 14, 21, 21}));
  const ScoreBatch whole = make_score_batch(rows);
  EXPECT_TRUE(whole.batch.parents.empty());
  EXPECT_EQ(whole.batch.offsets, (Ints{0, 4, 7, 10, 15, 20, 23, 26}));
}

std::vector<std::vector<int32_t>> rows_of_tokens(const std::vector<int64_t>& scored, int64_t prompt) {
  std::vector<std::vector<int32_t>> tokens;
  for (const int64_t n : scored) tokens.emplace_back(static_cast<size_t>(prompt + n), 3);
  return tokens;
}

TEST(PromptFamilies, OfAGroupAreOfAboutTheSameSize) {
  using Counts = std::vector<size_t>;
  const auto cut = [](std::vector<int64_t> scored, int64_t prompt) { return cut_group(scored, prompt); };
  EXPECT_EQ(cut(std::vector<int64_t>(16, 45), 20), (Counts{8, 8}))
      << "720 tokens: 360 and 360, not 384 and 336";
  EXPECT_EQ(cut(std::vector<int64_t>(16, 24), 20), Counts{16}) << "384 fit";
  EXPECT_EQ(cut({100, 100, 100, 100, 5}, 20), (Counts{2, 3}));
  EXPECT_EQ(cut({1, 5000, 1, 1}, 20), (Counts{1, 1, 2})) << "a longer row is a family of its own";
  EXPECT_EQ(cut(std::vector<int64_t>(16, 100), 100), Counts{16}) << "a long prompt is worth more answers";
  EXPECT_EQ(cut(std::vector<int64_t>(4, 1000), 1000), (Counts{2, 2})) << "but not all memory";
  EXPECT_EQ(cut({0, 0}, 3), Counts{2});
  EXPECT_EQ(cut({7}, 0), Counts{1});
}

TEST(PromptFamilies, AreCutByTheirAnswersAloneAndNeverByPieces) {
  // Two answers of 450 tokens fit into a family of 960. The last row is longer than a family.
  const auto tokens = rows_of_tokens({450, 450, 450, 450, 450, 450, 3000}, 61);
  std::vector<ScoredRow> rows;
  for (const auto& t : tokens) rows.push_back({t, 61});
  const std::vector<PromptFamily> families = prompt_families(rows, Prompts::shared);
  std::vector<size_t> ends;
  for (const PromptFamily& f : families) ends.push_back(f.end);
  EXPECT_EQ(ends, (std::vector<size_t>{2, 4, 6, 7}));
  using Pieces = std::vector<std::pair<size_t, size_t>>;
  EXPECT_EQ(cut_pieces(families, 1).size(), 4u);
  EXPECT_EQ(cut_pieces(families, 2 * (60 + 900)), (Pieces{{0, 2}, {2, 3}, {3, 4}}));
  EXPECT_EQ(cut_pieces(families, 1 << 20), (Pieces{{0, 4}}));
  EXPECT_EQ(prompt_families(rows, Prompts::repeated).size(), 7u);
  // A batch of some of the families holds them exactly as a batch of all families does.
  const ScoreBatch all = make_score_batch(rows, families);
  std::vector<int32_t> positions;
  for (const auto& [first, last] : cut_pieces(families, 1)) {
    const ScoreBatch piece = make_score_batch(rows, std::span(families).subspan(first, last - first));
    positions.insert(positions.end(), piece.batch.positions.begin(), piece.batch.positions.end());
  }
  EXPECT_EQ(positions, all.batch.positions);
}

}  // namespace
}  // namespace r1::families_test
