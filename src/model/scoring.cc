#include "model/scoring.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <numeric>

#include "base/integers.h"
#include "ops/loss/loss.h"
#include "ops/matmul/matmul.h"
#include "tensor/transfer.h"

namespace r1 {

ScoredRow::ScoredRow(std::span<const int32_t> row, int64_t from) : tokens(row) {
  R1_CHECK(from >= 1 && from <= std::ssize(row) && std::ssize(row) >= 2, "from ", from, " of ", row.size());
  ranges = tail_range(from, std::ssize(row));
}

ScoredRow::ScoredRow(std::span<const int32_t> row, TokenRanges scored)
    : tokens(row), ranges(std::move(scored)) {
  R1_CHECK(std::ssize(row) >= 2, "a row of ", row.size());
  check_ranges(ranges, 1, std::ssize(row));
}

namespace {

// Returns the number of tokens of a row that run behind its prompt: the prompt's last token predicts the
// first scored one, and the row's last token predicts nothing.
int64_t tokens_behind_prompt(const ScoredRow& row) {
  return std::ssize(row.tokens) - row.first_scored();
}

bool same_prompt(const ScoredRow& a, const ScoredRow& b) {
  const auto prompt = static_cast<size_t>(a.first_scored());
  return a.first_scored() == b.first_scored() &&
         std::ranges::equal(a.tokens.first(prompt), b.tokens.first(prompt));
}

}  // namespace

std::vector<size_t> cut_group(std::span<const int64_t> answers, int64_t prompt, const GradientCut& cut) {
  const int64_t most = most_family_tokens(prompt, cut);
  int64_t left = std::accumulate(answers.begin(), answers.end(), int64_t{0});
  std::vector<size_t> counts;
  for (size_t begin = 0; begin < answers.size(); begin += counts.back()) {
    const int64_t even = ceil_div(left, std::max<int64_t>(1, ceil_div(left, most)));
    int64_t tokens = answers[begin];
    size_t end = begin + 1;
    // Rounds to the nearest: half an answer too many is as good as half an answer too few.
    for (; end < answers.size(); tokens += answers[end++]) {
      if (tokens + answers[end] / 2 > even || tokens + answers[end] > most) break;
    }
    counts.push_back(end - begin);
    left -= tokens;
  }
  return counts;
}

std::vector<PromptFamily> prompt_families(std::span<const ScoredRow> rows, Prompts prompts,
                                          const GradientCut& cut) {
  std::vector<PromptFamily> out;
  std::vector<int64_t> behind;
  for (size_t begin = 0; begin < rows.size();) {
    behind.assign(1, tokens_behind_prompt(rows[begin]));
    // The prompt's last token predicts each answer's first one, so it runs with the answers.
    const int64_t prompt = rows[begin].first_scored() - 1;
    if (prompts == Prompts::shared && prompt > 0) {
      for (size_t i = begin + 1; i < rows.size() && same_prompt(rows[begin], rows[i]); ++i)
        behind.push_back(tokens_behind_prompt(rows[i]));
    }
    size_t first = 0;
    for (const size_t count : cut_group(behind, prompt, cut)) {
      const auto answers = std::span(behind).subspan(first, count);
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
      // Token p of the row is predicted at row_begin + p.
      const int64_t row_begin = std::ssize(out.targets) - family.prompt - 1;
      add(tokens.subspan(skipped, tokens.size() - 1 - skipped), parent);
      out.scored.push_back(row_begin + rows[i].first_scored());
      for (const TokenRange& r : rows[i].ranges)
        std::copy(tokens.begin() + r.begin, tokens.begin() + r.end,
                  out.targets.begin() + row_begin + r.begin);
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

Tensor head_scores(Context& ctx, const Model& model, const Tensor& hidden, std::span<const int32_t> targets,
                   float temperature, const Tensor& entropy) {
  if (!model.config().value_head)
    return token_log_probs(ctx, hidden, model.head(), targets, temperature, entropy);
  R1_CHECK(!entropy, "a value has no entropy");
  return matmul(ctx, hidden, model.head(), DType::f32).reshaped(Shape{hidden.dim(0)});
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
    const LanePlan plan =
        plan_lanes(lanes.memory().device(), tokens, largest, options.micro_tokens, lanes.threads().size());
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
  Tensor logprobs;  // [T], on the tape
  // The values of all tokens, on the host; empty: not wanted.
  std::span<float> logprob_values, entropy_values;
};

// [T] values on the host, copied from `t`.
std::span<float> on_host(Context& ctx, const Tensor& t) {
  const std::span<float> values(ctx.host().array<float>(t.count()), static_cast<size_t>(t.count()));
  read_values(ctx.memory(), t, 0, values, ctx.stream);
  return values;
}

// Runs the forward of one piece and passes the result to `use`; the batch must outlive the tape's backward.
template <class Use>
void forward_piece(const Model& model, Context& ctx, std::span<const ScoredRow> rows,
                   std::span<const PromptFamily> families, const ScoringOptions& options,
                   const RouterTraining& routers, Tape* recompute, const Use& use) {
  Scored out{.begin = families.front().begin,
             .end = families.back().end,
             .input = make_score_batch(rows, families),
             .logprobs = {},
             .logprob_values = {},
             .entropy_values = {}};
  std::vector<int64_t> tokens;
  for (const PromptFamily& family : families) tokens.push_back(family.tokens);
  const TokenSteps steps = ctx.tape != nullptr ? token_steps(ctx, tokens) : TokenSteps();
  if (!steps.rows.empty()) ctx.steps = &steps;
  const KvCache kv(model.config(), out.input.batch.page_count, ctx,
                   recompute != nullptr ? KvCache::Layers::one : KvCache::Layers::all);
  const Batch batch = out.input.batch.view();
  const Tensor entropy = options.entropy ? ctx.arena.tensor({batch.T()}) : Tensor();
  const Tensor hidden = model.forward(ctx, batch, kv, routers, recompute);
  out.logprobs = head_scores(ctx, model, hidden, out.input.targets, options.temperature, entropy);
  out.logprob_values = on_host(ctx, out.logprobs);
  if (entropy) out.entropy_values = on_host(ctx, entropy);
  use(out);
  ctx.steps = nullptr;
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

// The values of row i's scored tokens within a piece's flat [T] values. A row of one range views the flat
// values themselves; the values of several ranges are copied together, and write_back() copies them back.
class RowValues {
 public:
  RowValues(const Scored& piece, std::span<float> flat, std::span<const ScoredRow> rows, size_t i)
      : row_(rows[i]) {
    if (flat.empty()) return;
    first_ = flat.data() + piece.input.scored[i - piece.begin];
    if (row_.ranges.size() <= 1) return;
    copy_.resize(static_cast<size_t>(row_.scored()));
    each_range(row_.ranges, [&](const TokenRange& r, int64_t before) {
      std::copy_n(at(r), r.size(), copy_.begin() + before);
    });
  }
  std::span<float> all() {
    if (first_ == nullptr) return {};
    return copy_.empty() ? std::span(first_, static_cast<size_t>(row_.scored())) : std::span(copy_);
  }
  void write_back() {
    if (copy_.empty()) return;
    each_range(row_.ranges, [&](const TokenRange& r, int64_t before) {
      std::copy_n(copy_.begin() + before, r.size(), at(r));
    });
  }

 private:
  float* at(const TokenRange& r) const { return first_ + (r.begin - row_.first_scored()); }

  const ScoredRow& row_;
  float* first_ = nullptr;  // of the first scored token
  std::vector<float> copy_;
};

// Calls set(row) for every row of a piece, on all threads: a device waits for it. Rethrows the first error.
void set_rows(ThreadPool& threads, const Scored& piece, std::span<const ScoredRow> rows,
              std::span<float> gradient, const std::function<void(const RowGradient&)>& set) {
  constexpr int64_t kGrain = 8;  // rows
  const auto count = static_cast<int64_t>(piece.end - piece.begin);
  std::vector<std::exception_ptr> failed(static_cast<size_t>(count));
  threads.parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const size_t i = piece.begin + static_cast<size_t>(row);
      try {
        RowValues logprobs(piece, piece.logprob_values, rows, i),
            entropy(piece, piece.entropy_values, rows, i), gradients(piece, gradient, rows, i);
        set({.row = i, .logprobs = logprobs.all(), .entropy = entropy.all(), .gradient = gradients.all()});
        gradients.write_back();
      } catch (...) {
        failed[static_cast<size_t>(row)] = std::current_exception();
      }
    }
  });
  for (const std::exception_ptr& e : failed) {
    if (e) std::rethrow_exception(e);
  }
}

}  // namespace

std::vector<std::vector<float>> score(const Model& model, Lanes& lanes, std::span<const ScoredRow> rows,
                                      const ScoringOptions& options) {
  std::vector<std::vector<float>> out(rows.size());
  const Pieces pieces(rows, options, lanes);
  if (pieces.side_by_side || lanes.memory().device() == Device::cuda) lanes.pack(model);
  lanes.run(pieces.pieces.size(), pieces.side_by_side, false, [&](const Lanes::Piece& p) {
    forward_piece(model, p.ctx, rows, pieces.of(p.index), options, {}, nullptr, [&](const Scored& piece) {
      for (size_t i = piece.begin; i < piece.end; ++i) {
        RowValues logprobs(piece, piece.logprob_values, rows, i);
        out[i].assign(logprobs.all().begin(), logprobs.all().end());
      }
    });
  });
  return out;
}

void differentiate(Model& model, Lanes& lanes, std::span<const ScoredRow> rows, const ScoringOptions& options,
                   const std::function<void(const RowGradient&)>& set, const RouterTraining& routers,
                   size_t idle) {
  const Pieces pieces(rows, options, lanes, idle);
  if (pieces.side_by_side || lanes.memory().device() == Device::cuda) lanes.pack(model);
  const LaneRouters lane_routers(routers, lanes.threads().size());
  lanes.run(pieces.pieces.size(), pieces.side_by_side, true, [&](const Lanes::Piece& p) {
    const RouterTraining own = lane_routers.of(p.lane);
    Context ctx = p.ctx;
    if (p.index >= pieces.differentiated) ctx.tape = nullptr;
    Tape* recompute = options.recompute && ctx.tape != nullptr ? p.recompute : nullptr;
    forward_piece(model, ctx, rows, pieces.of(p.index), options, own, recompute, [&](const Scored& piece) {
      std::vector<float> gradient(ctx.tape != nullptr ? piece.logprob_values.size() : 0);
      set_rows(ctx.threads, piece, rows, gradient, set);
      if (ctx.tape == nullptr) return;
      write_values(ctx.memory(), ctx.tape->slot(piece.logprobs).grad, 0, gradient, ctx.stream);
      ctx.tape->backward(ctx, p.before, p.own);
    });
  });
  lane_routers.add_to_all();
  Context ctx = lanes.context();
  model.join_gradients(ctx);
}

}  // namespace r1
