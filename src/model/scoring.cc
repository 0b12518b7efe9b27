#include "model/scoring.h"

#include "ops/loss/loss.h"

namespace r1 {

ScoreBatch make_score_batch(std::span<const ScoredRow> rows) {
  ScoreBatch out;
  std::vector<std::span<const int32_t>> inputs;
  for (const ScoredRow& row : rows) {
    R1_CHECK(row.from >= 1 && row.from <= static_cast<int64_t>(row.tokens.size()) && row.tokens.size() >= 2,
             "from ", row.from, " of ", row.tokens.size());
    inputs.push_back(row.tokens.first(row.tokens.size() - 1));
    for (size_t i = 1; i < row.tokens.size(); ++i) {
      out.targets.push_back(static_cast<int64_t>(i) >= row.from ? row.tokens[i] : -1);
    }
  }
  out.batch = whole_batch(inputs);
  return out;
}

std::vector<std::pair<size_t, size_t>> cut_micro_batches(std::span<const ScoredRow> rows, int64_t tokens) {
  std::vector<std::pair<size_t, size_t>> pieces;
  size_t begin = 0;
  int64_t used = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t n = static_cast<int64_t>(rows[i].tokens.size()) - 1;
    if (i > begin && used + n > tokens) {
      pieces.emplace_back(begin, i);
      begin = i;
      used = 0;
    }
    used += n;
  }
  if (begin < rows.size()) pieces.emplace_back(begin, rows.size());
  return pieces;
}

std::vector<std::vector<float>> split_scored(std::span<const ScoredRow> rows, std::span<const float> flat) {
  std::vector<std::vector<float>> out;
  size_t at = 0;
  for (const ScoredRow& row : rows) {
    const size_t n = row.tokens.size() - 1;
    const auto values = flat.subspan(at, n).subspan(static_cast<size_t>(row.from) - 1);
    out.emplace_back(values.begin(), values.end());
    at += n;
  }
  return out;
}

std::vector<std::vector<float>> score(const Model& model, Context& ctx, std::span<const ScoredRow> rows,
                                      float temperature, int64_t micro_tokens,
                                      std::vector<std::vector<float>>* entropy) {
  R1_CHECK(ctx.tape == nullptr, "scoring takes no tape");
  std::vector<std::vector<float>> out;
  for (const auto& [begin, end] : cut_micro_batches(rows, micro_tokens)) {
    const auto piece = rows.subspan(begin, end - begin);
    const ScoreBatch input = make_score_batch(piece);
    ArenaScope scope(ctx.arena);
    const KvCache kv(model.config(), input.batch.page_count, ctx);
    const Batch batch = input.batch.view();
    float* entropies = entropy == nullptr ? nullptr : ctx.arena.array<float>(batch.T());
    const Tensor hidden = model.forward(ctx, batch, kv);
    const Tensor logprobs = token_log_probs(ctx, hidden, model.head(), input.targets, temperature, entropies);
    for (auto& row : split_scored(piece, logprobs.values())) out.push_back(std::move(row));
    if (entropy != nullptr) {
      for (auto& row : split_scored(piece, {entropies, static_cast<size_t>(batch.T())}))
        entropy->push_back(std::move(row));
    }
  }
  return out;
}

}  // namespace r1
