#include "model/scoring.h"

#include <algorithm>
#include <memory>
#include <numeric>

#include "base/integers.h"
#include "ops/loss/loss.h"

namespace r1 {

namespace {

int64_t scored_tokens(const ScoredRow& row) {
  const auto size = static_cast<int64_t>(row.tokens.size());
  R1_CHECK(row.from >= 1 && row.from <= size && size >= 2, "from ", row.from, " of ", size);
  return size - row.from;
}

bool same_prompt(const ScoredRow& a, const ScoredRow& b) {
  const auto prompt = static_cast<size_t>(a.from);
  return a.from == b.from && std::ranges::equal(a.tokens.first(prompt), b.tokens.first(prompt));
}

}  // namespace

std::vector<size_t> cut_group(std::span<const int64_t> scored, int64_t prompt, const GradientCut& cut) {
  const int64_t most = most_family_tokens(prompt, cut);
  int64_t left = std::accumulate(scored.begin(), scored.end(), int64_t{0});
  std::vector<size_t> counts;
  for (size_t begin = 0; begin < scored.size(); begin += counts.back()) {
    const int64_t even = ceil_div(left, std::max<int64_t>(1, ceil_div(left, most)));
    int64_t tokens = scored[begin];
    size_t end = begin + 1;
    // Rounds to the nearest: half an answer too many is as good as half an answer too few.
    for (; end < scored.size(); tokens += scored[end++]) {
      if (tokens + scored[end] / 2 > even || tokens + scored[end] > most) break;
    }
    counts.push_back(end - begin);
    left -= tokens;
  }
  return counts;
}

std::vector<PromptFamily> prompt_families(std::span<const ScoredRow> rows, Prompts prompts,
                                          const GradientCut& cut) {
  std::vector<PromptFamily> out;
  std::vector<int64_t> scored;
  for (size_t begin = 0; begin < rows.size();) {
    scored.assign(1, scored_tokens(rows[begin]));
    // The prompt's last token predicts each answer's first one, so it runs with the answers.
    const int64_t prompt = rows[begin].from - 1;
    if (prompts == Prompts::shared && prompt > 0) {
      for (size_t i = begin + 1; i < rows.size() && same_prompt(rows[begin], rows[i]); ++i)
        scored.push_back(scored_tokens(rows[i]));
    }
    size_t first = 0;
    for (const size_t count : cut_group(scored, prompt, cut)) {
      const auto answers = std::span(scored).subspan(first, count);
      out.push_back({.begin = begin,
                     .end = begin + count,
                     .prompt = count > 1 ? prompt : 0,
                     .tokens = prompt + std::accumulate(answers.begin(), answers.end(), int64_t{0})});
      begin += count;
      first += count;
    }
  }
  return out;
}

ScoreBatch make_score_batch(std::span<const ScoredRow> rows, std::span<const PromptFamily> families) {
  ScoreBatch out;
  std::vector<WholeRow> inputs;
  const auto add = [&](std::span<const int32_t> tokens, int32_t parent) {
    inputs.push_back({tokens, parent});
    out.targets.resize(out.targets.size() + tokens.size(), -1);
  };
  for (const PromptFamily& family : families) {
    const auto parent = family.prompt > 0 ? static_cast<int32_t>(inputs.size()) : -1;
    const auto skipped = static_cast<size_t>(family.prompt);
    if (parent >= 0) add(rows[family.begin].tokens.first(skipped), -1);
    for (size_t i = family.begin; i < family.end; ++i) {
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

ScoreBatch make_score_batch(std::span<const ScoredRow> rows, Prompts prompts) {
  return make_score_batch(rows, prompt_families(rows, prompts));
}

std::vector<std::pair<size_t, size_t>> cut_pieces(std::span<const PromptFamily> families, int64_t tokens) {
  std::vector<std::pair<size_t, size_t>> pieces;
  int64_t used = 0;
  for (size_t i = 0; i < families.size(); ++i) {
    if (i == 0 || used + families[i].tokens > tokens) {
      pieces.emplace_back(i, i);
      used = 0;
    }
    used += families[i].tokens;
    pieces.back().second = i + 1;
  }
  return pieces;
}

namespace {

// The last `idle` rows have their own pieces, at the end.
struct Pieces {
  Pieces(std::span<const ScoredRow> rows, const ScoringOptions& options, const Lanes& lanes, size_t idle = 0)
      : cut(row_of(lanes.numerics()).gradient_cut),
        families(prompt_families(rows.first(rows.size() - idle), options.prompts, cut)) {
    const size_t moving = families.size();
    for (PromptFamily family : prompt_families(rows.last(idle), options.prompts, cut)) {
      family.begin += rows.size() - idle;
      family.end += rows.size() - idle;
      families.push_back(family);
    }
    int64_t tokens = 0, largest = 0;
    for (const PromptFamily& family : families) {
      tokens += family.tokens;
      largest = std::max(largest, family.tokens);
    }
    const LanePlan plan = plan_lanes(tokens, largest, options.micro_tokens, lanes.threads().size());
    side_by_side = plan.side_by_side;
    pieces = cut_pieces(std::span(families).first(moving), plan.piece);
    differentiated = pieces.size();
    for (const auto& [first, last] : cut_pieces(std::span(families).subspan(moving), plan.piece))
      pieces.emplace_back(moving + first, moving + last);
  }
  std::span<const PromptFamily> of(size_t piece) const {
    const auto [first, last] = pieces[piece];
    return std::span(families).subspan(first, last - first);
  }
  GradientCut cut;
  std::vector<PromptFamily> families;
  std::vector<std::pair<size_t, size_t>> pieces;
  size_t differentiated = 0;  // of the pieces, the first ones
  bool side_by_side = false;
};

// The results of a piece's forward; input.scored[i] is of row begin + i.
struct Scored {
  size_t begin, end;  // rows
  ScoreBatch input;
  Tensor logprobs;
  Tensor entropy;  // no data: not wanted
};

// Runs the forward of one piece and passes the result to `use`; the batch must outlive the tape's backward.
template <class Use>
void forward_piece(const Model& model, Context& ctx, std::span<const ScoredRow> rows,
                   std::span<const PromptFamily> families, const ScoringOptions& options,
                   const RouterTraining& routers, const Use& use) {
  Scored out{.begin = families.front().begin,
             .end = families.back().end,
             .input = make_score_batch(rows, families),
             .logprobs = {},
             .entropy = {}};
  const KvCache kv(model.config(), out.input.batch.page_count, ctx);
  const Batch batch = out.input.batch.view();
  if (options.entropy) out.entropy = ctx.arena.tensor({batch.T()});
  const Tensor hidden = model.forward(ctx, batch, kv, routers);
  out.logprobs =
      token_log_probs(ctx, hidden, model.head(), out.input.targets, options.temperature, out.entropy);
  use(out);
}

// A lane's own counts, added to the caller's when all pieces are done. The sums are exact, so their order
// does not matter.
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

// Row i's part of a piece's flat [T] values.
std::span<float> scored_of(const Scored& piece, float* flat, std::span<const ScoredRow> rows, size_t i) {
  return {flat + piece.input.scored[i - piece.begin], static_cast<size_t>(scored_tokens(rows[i]))};
}

}  // namespace

std::vector<std::vector<float>> score(const Model& model, Lanes& lanes, std::span<const ScoredRow> rows,
                                      const ScoringOptions& options) {
  std::vector<std::vector<float>> out(rows.size());
  const Pieces pieces(rows, options, lanes);
  if (pieces.side_by_side) lanes.pack(model);
  lanes.run(pieces.pieces.size(), pieces.side_by_side, false, [&](const Lanes::Piece& p) {
    forward_piece(model, p.ctx, rows, pieces.of(p.index), options, {}, [&](const Scored& piece) {
      for (size_t i = piece.begin; i < piece.end; ++i) {
        const auto logprobs = scored_of(piece, piece.logprobs.f32(), rows, i);
        out[i].assign(logprobs.begin(), logprobs.end());
      }
    });
  });
  return out;
}

void differentiate(Model& model, Lanes& lanes, std::span<const ScoredRow> rows, const ScoringOptions& options,
                   const std::function<void(const RowGradient&)>& set, const RouterTraining& routers,
                   size_t idle) {
  const Pieces pieces(rows, options, lanes, idle);
  if (pieces.side_by_side) lanes.pack(model);
  const LaneRouters lane_routers(routers, lanes.threads().size());
  lanes.run(pieces.pieces.size(), pieces.side_by_side, true, [&](const Lanes::Piece& p) {
    const RouterTraining own = lane_routers.of(p.lane);
    Context ctx = p.ctx;
    if (p.index >= pieces.differentiated) ctx.tape = nullptr;
    forward_piece(model, ctx, rows, pieces.of(p.index), options, own, [&](const Scored& piece) {
      float* gradient = nullptr;
      if (ctx.tape != nullptr) {
        gradient = ctx.tape->slot(piece.logprobs).grad.f32();
        std::fill_n(gradient, piece.logprobs.count(), 0.0f);
      }
      const auto of_row = [&](float* flat, size_t i) {
        return flat == nullptr ? std::span<float>() : scored_of(piece, flat, rows, i);
      };
      for (size_t i = piece.begin; i < piece.end; ++i) {
        set({.row = i,
             .logprobs = of_row(piece.logprobs.f32(), i),
             .entropy = of_row(piece.entropy ? piece.entropy.f32() : nullptr, i),
             .gradient = of_row(gradient, i)});
      }
      if (ctx.tape != nullptr) ctx.tape->backward(ctx, p.before, p.own);
    });
  });
  lane_routers.add_to_all();
  Context ctx = lanes.context();
  model.join_gradients(ctx);
}

}  // namespace r1
