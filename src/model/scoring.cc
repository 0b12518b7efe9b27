#include "model/scoring.h"

#include <algorithm>
#include <memory>

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

namespace {

struct Pieces {
  std::vector<std::pair<size_t, size_t>> rows;
  bool side_by_side;
};

Pieces cut_pieces(std::span<const ScoredRow> rows, const ScoringOptions& options, int threads) {
  int64_t tokens = 0, largest = 0;
  for (size_t i = 0; i < rows.size();) {
    const PromptFamily family = family_from(rows, i, options.prompts);
    tokens += family.tokens;
    largest = std::max(largest, family.tokens);
    i = family.end;
  }
  const LanePlan plan = plan_lanes(tokens, largest, options.micro_tokens, threads);
  return {cut_micro_batches(rows, plan.piece, options.prompts), plan.side_by_side};
}

// What the forward of a piece makes.
struct Scored {
  ScoreBatch input;
  Tensor logprobs;
  float* entropy = nullptr;
};

// The forward of one piece and what becomes of it; the batch must outlive the tape's backward.
template <class Use>
void forward_piece(const Model& model, Context& ctx, std::span<const ScoredRow> rows,
                   const ScoringOptions& options, const RouterTraining& routers, const Use& use) {
  Scored out{.input = make_score_batch(rows, options.prompts), .logprobs = {}};
  const KvCache kv(model.config(), out.input.batch.page_count, ctx);
  const Batch batch = out.input.batch.view();
  if (options.entropy) out.entropy = ctx.arena.array<float>(batch.T());
  const Tensor hidden = model.forward(ctx, batch, kv, routers);
  out.logprobs = token_log_probs(ctx, hidden, model.head(), out.input.targets, options.temperature, out.entropy);
  use(out);
}

// A lane's own counts, added to the caller's when all pieces are done. All of it is exact, in any order.
class LaneRouters {
 public:
  LaneRouters(const RouterTraining& all, int lanes) : all_(all) {
    if (all.stats == nullptr && all.balance_loss == nullptr) return;
    for (int i = 0; i < lanes; ++i) own_.push_back(std::make_unique<Own>(all));
  }
  RouterTraining of(int lane) const {
    return own_.empty() ? all_ : own_[static_cast<size_t>(lane)]->training;
  }
  void add_to_all() const {
    for (const auto& own : own_) {
      if (all_.balance_loss != nullptr) *all_.balance_loss += own->balance_loss;
      for (size_t layer = 0; layer < own->stats.size(); ++layer) {
        std::vector<int64_t>&to = (*all_.stats)[layer].selected, &from = own->stats[layer].selected;
        to.resize(std::max(to.size(), from.size()));
        for (size_t e = 0; e < from.size(); ++e) to[e] += from[e];
      }
    }
  }

 private:
  struct Own {
    explicit Own(const RouterTraining& all) : training(all) {
      if (all.balance_loss != nullptr) training.balance_loss = &balance_loss;
      if (all.stats == nullptr) return;
      stats.resize(all.stats->size());
      training.stats = &stats;
    }
    RouterTraining training;
    std::vector<MoeStats> stats;
    double balance_loss = 0;
  };
  RouterTraining all_;
  std::vector<std::unique_ptr<Own>> own_;
};

std::span<const float> scored_of(const Scored& piece, const float* flat, size_t i, const ScoredRow& row) {
  return {flat + piece.input.scored[i], static_cast<size_t>(scored_tokens(row))};
}

}  // namespace

std::vector<std::vector<float>> score(const Model& model, Lanes& lanes, std::span<const ScoredRow> rows,
                                      const ScoringOptions& options,
                                      std::vector<std::vector<float>>* entropy) {
  std::vector<std::vector<float>> out(rows.size());
  if (entropy != nullptr) entropy->resize(rows.size());
  ScoringOptions wanted = options;
  wanted.entropy = entropy != nullptr;
  const Pieces pieces = cut_pieces(rows, wanted, lanes.threads().size());
  if (pieces.side_by_side) lanes.pack(model);
  lanes.run(pieces.rows.size(), pieces.side_by_side, false, [&](const Lanes::Piece& p) {
    const auto [begin, end] = pieces.rows[p.index];
    forward_piece(model, p.ctx, rows.subspan(begin, end - begin), wanted, {}, [&](const Scored& piece) {
      for (size_t i = 0; i < end - begin; ++i) {
        const auto of = [&](const float* flat) { return scored_of(piece, flat, i, rows[begin + i]); };
        const auto logprobs = of(piece.logprobs.f32());
        out[begin + i].assign(logprobs.begin(), logprobs.end());
        if (entropy == nullptr) continue;
        const auto entropies = of(piece.entropy);
        (*entropy)[begin + i].assign(entropies.begin(), entropies.end());
      }
    });
  });
  return out;
}

void differentiate(Model& model, Lanes& lanes, std::span<const ScoredRow> rows, const ScoringOptions& options,
                   const std::function<void(const RowGradient&)>& set, const RouterTraining& routers) {
  const Pieces pieces = cut_pieces(rows, options, lanes.threads().size());
  if (pieces.side_by_side) lanes.pack(model);
  const LaneRouters lane_routers(routers, lanes.threads().size());
  lanes.run(pieces.rows.size(), pieces.side_by_side, true, [&](const Lanes::Piece& p) {
    const auto [begin, end] = pieces.rows[p.index];
    const auto part = rows.subspan(begin, end - begin);
    forward_piece(model, p.ctx, part, options, lane_routers.of(p.lane), [&](const Scored& piece) {
      float* gradient = p.ctx.tape->slot(piece.logprobs).grad.f32();
      std::fill_n(gradient, piece.logprobs.count(), 0.0f);
      for (size_t i = 0; i < part.size(); ++i) {
        const auto n = static_cast<size_t>(scored_tokens(part[i]));
        set({.row = begin + i,
             .logprobs = scored_of(piece, piece.logprobs.f32(), i, part[i]),
             .entropy = options.entropy ? scored_of(piece, piece.entropy, i, part[i]) : std::span<const float>(),
             .gradient = {gradient + piece.input.scored[i], n}});
      }
      p.ctx.tape->backward(p.ctx, p.before, p.own);
    });
  });
  lane_routers.add_to_all();
  model.join_gradients(lanes.threads());
}

}  // namespace r1
