#include "model/scoring.h"

#include <algorithm>
#include <iterator>

#include "ops/loss/loss.h"

namespace r1 {

namespace {

int64_t scored_tokens(const ScoredRow& row) {
  const auto size = static_cast<int64_t>(row.tokens.size());
  R1_CHECK(row.from >= 1 && row.from <= size && size >= 2, "from ", row.from, " of ", size);
  return size - row.from;
}

// The family of rows [begin, end).
struct PromptFamily {
  size_t begin = 0, end = 0;
  int64_t prompt = 0;  // tokens that run once, at the head; 0: every row whole
  int64_t tokens = 0;  // all that are run
};

PromptFamily family_from(std::span<const ScoredRow> rows, size_t begin, Prompts prompts) {
  const ScoredRow& first = rows[begin];
  int64_t scored = scored_tokens(first);
  // The prompt's last token predicts each answer's first one, so it runs with the answers.
  const auto prompt = first.tokens.first(static_cast<size_t>(first.from) - 1);
  PromptFamily family{
      .begin = begin, .end = begin + 1, .tokens = static_cast<int64_t>(first.tokens.size()) - 1};
  if (prompts == Prompts::repeated || prompt.empty()) return family;
  for (; family.end < rows.size(); ++family.end) {
    const ScoredRow& next = rows[family.end];
    scored += scored_tokens(next);
    if (next.from != first.from || scored > kFamilyTokens ||
        !std::ranges::equal(first.tokens.first(static_cast<size_t>(first.from)),
                            next.tokens.first(static_cast<size_t>(next.from)))) {
      break;
    }
    family.prompt = static_cast<int64_t>(prompt.size());
    family.tokens += scored_tokens(next);
  }
  return family;
}

}  // namespace

ScoreBatch make_score_batch(std::span<const ScoredRow> rows, Prompts prompts) {
  ScoreBatch out;
  std::vector<WholeRow> inputs;
  const auto add = [&](std::span<const int32_t> tokens, int32_t parent) {
    inputs.push_back({tokens, parent});
    out.targets.resize(out.targets.size() + tokens.size(), -1);
  };
  for (size_t i = 0; i < rows.size();) {
    const PromptFamily family = family_from(rows, i, prompts);
    const auto parent = family.prompt > 0 ? static_cast<int32_t>(inputs.size()) : -1;
    const auto skipped = static_cast<size_t>(family.prompt);
    if (parent >= 0) add(rows[i].tokens.first(skipped), -1);
    for (; i < family.end; ++i) {
      const auto tokens = rows[i].tokens;
      add(tokens.subspan(skipped, tokens.size() - 1 - skipped), parent);
      const auto n = static_cast<size_t>(scored_tokens(rows[i]));
      out.scored.push_back(static_cast<int64_t>(out.targets.size() - n));
      std::ranges::copy(tokens.last(n), out.targets.end() - static_cast<int64_t>(n));
    }
  }
  out.batch = whole_batch(inputs);
  return out;
}

std::vector<std::pair<size_t, size_t>> cut_micro_batches(std::span<const ScoredRow> rows, int64_t tokens,
                                                         Prompts prompts) {
  std::vector<std::pair<size_t, size_t>> pieces;
  size_t begin = 0;
  int64_t used = 0;
  for (size_t i = 0; i < rows.size();) {
    const PromptFamily family = family_from(rows, i, prompts);
    if (i > begin && used + family.tokens > tokens) {
      pieces.emplace_back(begin, i);
      begin = i;
      used = 0;
    }
    used += family.tokens;
    i = family.end;
  }
  if (begin < rows.size()) pieces.emplace_back(begin, rows.size());
  return pieces;
}

std::vector<std::vector<float>> split_scored(const ScoreBatch& input, std::span<const ScoredRow> rows,
                                             std::span<const float> flat) {
  std::vector<std::vector<float>> out;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto values =
        flat.subspan(static_cast<size_t>(input.scored[i]), static_cast<size_t>(scored_tokens(rows[i])));
    out.emplace_back(values.begin(), values.end());
  }
  return out;
}

std::vector<std::vector<float>> score(const Model& model, Context& ctx, std::span<const ScoredRow> rows,
                                      float temperature, int64_t micro_tokens,
                                      std::vector<std::vector<float>>* entropy) {
  R1_CHECK(ctx.tape == nullptr, "scoring takes no tape");
  std::vector<std::vector<float>> out;
  for (const auto& [begin, end] : cut_micro_batches(rows, micro_tokens, Prompts::shared)) {
    const auto piece = rows.subspan(begin, end - begin);
    const ScoreBatch input = make_score_batch(piece, Prompts::shared);
    ArenaScope scope(ctx.arena);
    const KvCache kv(model.config(), input.batch.page_count, ctx);
    const Batch batch = input.batch.view();
    float* entropies = entropy == nullptr ? nullptr : ctx.arena.array<float>(batch.T());
    const Tensor hidden = model.forward(ctx, batch, kv);
    const Tensor logprobs = token_log_probs(ctx, hidden, model.head(), input.targets, temperature, entropies);
    std::ranges::move(split_scored(input, piece, logprobs.values()), std::back_inserter(out));
    if (entropy != nullptr) {
      std::ranges::move(split_scored(input, piece, {entropies, static_cast<size_t>(batch.T())}),
                        std::back_inserter(*entropy));
    }
  }
  return out;
}

}  // namespace r1
