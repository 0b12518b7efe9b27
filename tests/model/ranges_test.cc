// Rows whose scored tokens lie in several ranges: every log-prob and every gradient equals, to the bit, that
// of a row which scores its whole tail and gives the tokens between the ranges gradient 0.
#include <map>

#include "base/random.h"
#include "model/scoring.h"
#include "tests/model/golden_models.h"

namespace r1::ranges_test {
namespace {

struct RangedRows {
  explicit RangedRows(const ModelConfig& config) {
    Random random(11);
    const auto token = [&] { return static_cast<int32_t>(random.between(2, config.vocab_size - 1)); };
    // Prompts of 9, 33 and 1 tokens, with rows of several ranges, of one range before the end, and of a tail.
    const std::vector<std::pair<int64_t, std::vector<TokenRanges>>> shape = {
        {9, {{{9, 12}, {20, 25}}, {{9, 10}, {11, 12}, {13, 31}}, {{9, 40}}}},
        {33, {{{33, 40}}, {{33, 35}, {35, 36}, {50, 60}}}},
        {1, {{{1, 2}, {5, 9}}}}};
    constexpr int64_t kBehind = 4;  // tokens behind the last range
    for (const auto& [prompt, list] : shape) {
      std::vector<int32_t> head;
      for (int64_t i = 0; i < prompt; ++i) head.push_back(token());
      for (size_t i = 0; i < list.size(); ++i) {
        std::vector<int32_t>& row = tokens.emplace_back(head);
        const int64_t size = list[i].back().end + (i == 0 ? kBehind : 0);
        while (std::ssize(row) < size) row.push_back(token());
        ranges.push_back(list[i]);
      }
    }
    for (size_t i = 0; i < tokens.size(); ++i) {
      ranged.emplace_back(tokens[i], ranges[i]);
      tails.emplace_back(tokens[i], ranges[i].front().begin);
    }
  }
  std::vector<std::vector<int32_t>> tokens;
  std::vector<TokenRanges> ranges;
  std::vector<ScoredRow> ranged, tails;
};

using Positions = std::vector<std::map<int64_t, float>>;  // per row: position -> value

// Calls use(index among the scored tokens, position) for each scored token.
template <class Use>
void each_scored(const ScoredRow& row, const Use& use) {
  each_range(row.ranges, [&](const TokenRange& r, int64_t before) {
    for (int64_t p = r.begin; p < r.end; ++p) use(static_cast<size_t>(before + p - r.begin), p);
  });
}

struct Differentiated {
  Positions logprobs, entropies;
  std::map<std::string, std::vector<float>> gradients;
};

// A token's gradient depends on its row and position; that of a token outside `ranges` is 0.
Differentiated differentiated(Model& model, std::span<const ScoredRow> rows,
                              std::span<const TokenRanges> ranges, Numerics numerics, int thread_count,
                              int64_t micro, Prompts prompts) {
  model.allocate_gradients();
  ThreadPool threads(thread_count);
  Lanes lanes(threads, numerics);
  Differentiated out;
  out.logprobs.resize(rows.size());
  out.entropies.resize(rows.size());
  differentiate(model, lanes, rows, {.micro_tokens = micro, .prompts = prompts, .entropy = true},
                [&](const RowGradient& row) {
                  each_scored(rows[row.row], [&](size_t i, int64_t p) {
                    const bool counts = std::ranges::any_of(
                        ranges[row.row], [&](const TokenRange& r) { return r.begin <= p && p < r.end; });
                    row.gradient[i] =
                        counts ? static_cast<float>(static_cast<int64_t>(row.row * 7) + p * 3) / 16 : 0.0f;
                    if (!counts) return;
                    out.logprobs[row.row][p] = row.logprobs[i];
                    out.entropies[row.row][p] = row.entropy[i];
                  });
                });
  for (const Parameter* p : model.trainable())
    out.gradients[p->name] = {p->grad.values().begin(), p->grad.values().end()};
  return out;
}

class Ranges : public testing::TestWithParam<const char*> {
 protected:
  Model load() const { return Model::load(test::kGoldenModels / GetParam()); }
};

TEST_P(Ranges, GiveTheTailsLogProbsAndGradientsAtTheirPositions) {
  for (const Prompts prompts : {Prompts::repeated, Prompts::shared}) {
    Model model = load();
    const RangedRows rows(model.config());
    const Differentiated want =
        differentiated(model, rows.tails, rows.ranges, Numerics::cpu_f32, 2, 1 << 20, prompts);
    for (const auto& [threads, micro] : {std::pair(2, 1 << 20), std::pair(1, 1), std::pair(3, 60)}) {
      Model again = load();
      const Differentiated got =
          differentiated(again, rows.ranged, rows.ranges, Numerics::cpu_f32, threads, micro, prompts);
      EXPECT_EQ(got.logprobs, want.logprobs) << threads << " threads, micro " << micro;
      EXPECT_EQ(got.entropies, want.entropies) << threads << " threads, micro " << micro;
      for (const auto& [name, values] : want.gradients) {
        EXPECT_TRUE(got.gradients.at(name) == values)
            << name << ", " << threads << " threads, micro " << micro;
        EXPECT_TRUE(std::ranges::any_of(values, [](float g) { return g != 0; })) << name;
      }
    }
  }
}

TEST_P(Ranges, AreScoredAsTheyAreDifferentiated) {
  const Model model = load();
  const RangedRows rows(model.config());
  ThreadPool threads(2);
  Lanes lanes(threads, Numerics::cpu_f32);
  const auto ranged = score(model, lanes, rows.ranged, {.micro_tokens = 50});
  const auto tails = score(model, lanes, rows.tails, {});
  for (size_t r = 0; r < ranged.size(); ++r) {
    ASSERT_EQ(std::ssize(ranged[r]), rows.ranged[r].scored());
    const auto first = static_cast<size_t>(rows.ranged[r].first_scored());
    each_scored(rows.ranged[r], [&](size_t i, int64_t p) {
      EXPECT_EQ(ranged[r][i], tails[r][static_cast<size_t>(p) - first]) << "row " << r << " position " << p;
    });
  }
}

INSTANTIATE_TEST_SUITE_P(GoldenModels, Ranges,
                         testing::Values("deepseek_v3-groups", "llama-biases", "qwen2-tied"),
                         test::golden_test_name);

TEST(ScoredRows, ShareAPromptUpToTheirFirstRange) {
  const std::vector<int32_t> a{2, 3, 4, 5, 6, 7}, b{2, 3, 4, 8, 9};
  const std::vector<ScoredRow> rows{{a, TokenRanges{{3, 4}, {5, 6}}}, {b, TokenRanges{{3, 4}}}};
  const ScoreBatch batch = make_score_batch(rows, Prompts::shared);
  using Ints = std::vector<int32_t>;
  EXPECT_EQ(batch.batch.tokens, (Ints{2, 3, 4, 5, 6, 4, 8}));
  EXPECT_EQ(batch.batch.parents, (Ints{-1, 0, 0}));
  EXPECT_EQ(batch.targets, (Ints{-1, -1, 5, -1, 7, 8, -1}));
  EXPECT_EQ(batch.scored, (std::vector<int64_t>{2, 5}));
}

TEST(TokenRanges, AreCutAndCountedFromTheCut) {
  const TokenRanges ranges{{2, 5}, {5, 6}, {9, 12}};
  EXPECT_EQ(count_tokens(ranges), 7);
  EXPECT_EQ(ranges_within(ranges, 0, 12), ranges);
  EXPECT_EQ(ranges_within(ranges, 3, 10), (TokenRanges{{0, 2}, {2, 3}, {6, 7}}));
  EXPECT_TRUE(ranges_within(ranges, 6, 9).empty());
  EXPECT_TRUE(tail_range(4, 4).empty());
}

}  // namespace
}  // namespace r1::ranges_test
