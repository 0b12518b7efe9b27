#include "engine/head_guesser.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "ops/elementwise/elementwise.h"
#include "ops/sample/sample.h"
#include "tensor/transfer.h"

namespace r1 {
namespace {

// Positions whose keys may wait while the head pauses: Lookahead's longest pause.
constexpr int64_t kWaiting = 32;

}  // namespace

HeadGuesser::HeadGuesser(const Model& model, int64_t most)
    : model_(model), most_(model.predicts() ? most : 0), capacity_(kWaiting + 1 + most) {}

void HeadGuesser::drop(int64_t group) {
  kept_.erase(kept_.lower_bound({group, Sequence::kPrompt}),
              kept_.lower_bound({group + 1, Sequence::kPrompt}));
}

HeadGuesser::HeadBatch::HeadBatch(std::span<const Row> rows) {
  for (const Row& row : rows) max_pages = std::max<int64_t>(max_pages, std::ssize(row.sequence->pages));
  pages.assign(rows.size() * static_cast<size_t>(max_pages), -1);
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    std::ranges::copy(row.sequence->pages, pages.begin() + static_cast<int64_t>(i) * max_pages);
    prefixes.push_back(row.sequence->prefix);
    tails.push_back(row.sequence->tail);
    tokens.insert(tokens.end(), row.tokens.begin(), row.tokens.end());
    for (int64_t p = row.begin; p < row.end(); ++p) positions.push_back(static_cast<int32_t>(p));
    offsets.push_back(static_cast<int32_t>(tokens.size()));
    last.push_back(offsets.back() - 1);
  }
}

// Returns how many outputs are kept for the positions right before `position`.
int64_t HeadGuesser::pending(const Kept& kept, int64_t position) {
  const int64_t n = position - kept.first;
  return n >= 0 && n <= kept.count ? n : 0;
}

// Returns the first position of the row from which on no other row's sequence has the row's pages. A key that is
// written to a shared page would be read, or written, by the others at the same time.
int64_t HeadGuesser::begin_unshared(const Row& row, std::span<const ScheduledRow> others) {
  int64_t begin = row.begin;
  for (int64_t page = row.begin / kKeyTile; page * kKeyTile < row.end(); ++page) {
    const int32_t number = row.sequence->pages[static_cast<size_t>(page)];
    const bool shared = std::ranges::any_of(others, [&](const ScheduledRow& other) {
      return other.sequence != row.sequence &&
             std::ranges::find(other.sequence->pages, number) != other.sequence->pages.end();
    });
    if (shared) begin = std::min((page + 1) * kKeyTile, row.end());
  }
  return begin;
}

// Keeps the outputs [from, from + count) of `hidden`, of positions from `first` on. Earlier ones stay if these
// follow them.
void HeadGuesser::keep(Context& ctx, const ScheduledRow& row, const Tensor& hidden, int64_t from,
                       int64_t first, int64_t count) {
  Kept& kept = kept_[{row.sequence->group->id, row.sequence->sample}];
  kept.count = pending(kept, first);
  if (kept.count + count > capacity_) kept.count = 0;
  kept.first = first - kept.count;
  if (count == 0) return;
  if (kept.hidden.bytes() == 0)
    kept.hidden = Buffer(Shape{capacity_, hidden.dim(-1)}, hidden.dtype, ctx.memory());
  copy_values(ctx.memory(), hidden.part(from, count), kept.hidden.tensor().part(kept.count, count),
              ctx.stream);
  kept.count += count;
}

void HeadGuesser::observe(Context& ctx, const KvCache& cache, std::span<const ScheduledRow> rows,
                          const RowBatch& batch, const Tensor& hidden) {
  const Batch whole = batch.view();
  std::vector<Row> known;  // positions whose next tokens are there: all but the last one that a row computes
  std::vector<int32_t> indices;
  for (size_t i = 0; i < rows.size(); ++i) {
    const ScheduledRow& row = rows[i];
    const Sequence& s = *row.sequence;
    const int32_t at = whole.offsets[i];
    const int64_t end = row.ends() ? row.end - 1 : row.end;
    Row part{&s, row.begin,
             std::span(s.tokens).subspan(static_cast<size_t>(row.begin + 1),
                                         static_cast<size_t>(end - row.begin))};
    const int64_t skipped = begin_unshared(part, rows) - part.begin;
    part.begin += skipped;
    part.tokens = part.tokens.subspan(static_cast<size_t>(skipped));
    for (int64_t p = part.begin; p < end; ++p) indices.push_back(at + static_cast<int32_t>(p - row.begin));
    if (!part.tokens.empty()) known.push_back(part);
    if (row.draws())
      keep(ctx, row, hidden, at + end - row.begin, end, row.end - end + std::ssize(row.guesses));
  }
  if (known.empty()) return;
  const OpScope scope(ctx);
  const HeadBatch head(known);
  model_.predict(ctx, head.view(), cache, gather_rows(ctx, hidden, indices));
}

// The likeliest token of each row of predict()'s result; below 0: none.
std::vector<int32_t> HeadGuesser::draw(Context& ctx, const Tensor& x) const {
  static const SamplingParams kGreedy{.temperature = 0.0f};
  const Tensor logits = model_.predicted_logits(ctx, x);
  std::vector<RowToSample> rows;
  for (int64_t i = 0; i < x.dim(0); ++i) rows.push_back({.logits = logits.part(i, 1), .params = &kGreedy});
  std::vector<Sampled> drawn(rows.size());
  sample_rows(ctx, model_.config().vocab_size, rows, drawn);
  std::vector<int32_t> tokens;
  for (const Sampled& one : drawn) tokens.push_back(one.token);
  return tokens;
}

std::vector<std::vector<int32_t>> HeadGuesser::guess(Context& ctx, const KvCache& cache,
                                                     std::span<const ScheduledRow> rows,
                                                     std::span<const int64_t> wanted) {
  std::vector<std::vector<int32_t>> out(rows.size());
  std::vector<Row> work;
  std::vector<size_t> of;  // work's indices into rows
  std::vector<Tensor> parts;
  int64_t T = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Sequence& s = *rows[i].sequence;
    const auto at = kept_.find({s.group->id, s.sample});
    if (at == kept_.end() || !rows[i].draws() || rows[i].tokens() != 1) continue;
    Kept& kept = at->second;
    const int64_t n = pending(kept, rows[i].begin);
    const bool full = n + 1 + most_ > capacity_;
    if (n == 0 || (wanted[i] == 0 && !full)) continue;
    Row row{&s, kept.first,
            std::span(s.tokens).subspan(static_cast<size_t>(kept.first + 1), static_cast<size_t>(n))};
    const int64_t skipped = begin_unshared(row, rows) - row.begin;
    row.begin += skipped;
    row.tokens = row.tokens.subspan(static_cast<size_t>(skipped));
    kept.first = rows[i].begin;
    kept.count = 0;
    if (row.tokens.empty()) continue;
    parts.push_back(kept.hidden.tensor().part(skipped, n - skipped));
    T += n - skipped;
    work.push_back(row);
    of.push_back(i);
  }
  if (work.empty()) return out;
  const OpScope scope(ctx);
  const Tensor hidden = ctx.arena.tensor({T, parts.front().dim(-1)}, parts.front().dtype);
  int64_t first = 0;
  for (const Tensor& part : parts) {
    copy_values(ctx.memory(), part, hidden.part(first, part.dim(0)), ctx.stream);
    first += part.dim(0);
  }
  const HeadBatch batch(work);
  Tensor x = gather_rows(ctx, model_.predict(ctx, batch.view(), cache, hidden), batch.last);
  // Each round guesses one more token for the rows that still want one.
  for (int64_t round = 0;; ++round) {
    std::vector<int32_t> going;  // rows of x
    const std::vector<int32_t> tokens = draw(ctx, x);
    for (size_t k = 0; k < work.size(); ++k) {
      std::vector<int32_t>& guesses = out[of[k]];
      if (wanted[of[k]] == 0 || tokens[k] < 0) continue;
      guesses.push_back(tokens[k]);
      if (std::ssize(guesses) < wanted[of[k]]) going.push_back(static_cast<int32_t>(k));
    }
    if (going.empty()) return out;
    std::vector<Row> next;
    std::vector<size_t> next_of;
    for (const int32_t k : going) {
      const size_t i = of[static_cast<size_t>(k)];
      next_of.push_back(i);
      next.push_back({rows[i].sequence, rows[i].begin + round, std::span(out[i]).last(1)});
    }
    const HeadBatch more(next);
    x = model_.predict(ctx, more.view(), cache, gather_rows(ctx, x, going));
    work = std::move(next);
    of = std::move(next_of);
  }
}

}  // namespace r1
