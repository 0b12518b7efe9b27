#include "engine/op_runner.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "model/memory.h"
#include "ops/elementwise/elementwise.h"
#include "ops/matmul/matmul.h"
#include "tensor/transfer.h"

namespace r1 {

void RowSink::logits(const ScheduledRow& row, std::span<const float>) {
  R1_CHECK(row.logits_from < 0, "nobody takes the logits of a row that wants them");
}

// With more sequences, the guesses would take the time of tokens that are certain.
constexpr int64_t kMostGuessing = 4;

OpRunner::OpRunner(const Model& model, Context& ctx, int64_t max_batch, int64_t lookahead)
    : model_(model),
      ctx_(ctx),
      packed_bytes_(ctx.row().product == Product::q8act
                        ? model.weight_bytes(true)
                        : model_memory(model.config(), ctx.numerics, DType::f32).packed),
      parted_(ctx.device == Device::cpu && decodes_in_parts(max_batch, packed_bytes_, ctx.threads.size())),
      part_tokens_(most_part_tokens(max_batch, ctx.threads.size())),
      lookahead_(parted_ ? 0 : lookahead),
      head_(model, parted_ ? 0 : lookahead) {
  if (ctx.device != Device::cpu && !ctx.measuring) graphs_.emplace(model, ctx);
}

void OpRunner::drop_logits(int64_t group) {
  held_.erase(group);
  lookahead_.drop(group);
  head_.drop(group);
}

void OpRunner::drop_logits(const Sequence& sample) {
  lookahead_.drop(sample);
  head_.drop(sample);
}

void OpRunner::resize(int64_t pages, int64_t keep) {
  KvCache larger(model_.config(), pages, ctx_.row().cache, ctx_.memory());
  // The head may read keys that nobody has written (engine/head_guesser.h).
  if (head_.is_on()) larger.zero_layer(ctx_, model_.config().layers);
  larger.copy_pages_from(ctx_, cache_, keep);
  cache_ = std::move(larger);
}

int64_t OpRunner::page_bytes() const {
  return KvCache::bytes_per_page(model_.config(), ctx_.row().cache);
}

// If threads that decode in parts met at every token, each would wait for the slowest. A GPU would wait for the
// scheduler.
int64_t OpRunner::slice() const {
  constexpr int64_t kSlice = 16;
  return parted_ || graphs_ ? kSlice : 1;
}

int64_t OpRunner::part_bytes() const {
  int64_t bytes = 0;
  for (const auto& part : parts_) bytes += static_cast<int64_t>(part->lane.work.arena.peak());
  return bytes;
}

int64_t part_activations(const ModelConfig& config, Numerics numerics, const SamplingShape& sampler,
                         const ThreadPool& threads) {
  if (row_of(numerics).device != Device::cpu) return 0;
  const int64_t packed = model_memory(config, numerics, DType::f32).packed;
  if (!decodes_in_parts(sampler.sequences, packed, threads.size())) return 0;
  SamplingShape part = sampler;
  part.tokens = part.sequences = most_part_tokens(sampler.sequences, threads.size());
  return threads.size() * sampling_activations(config, numerics, part, 1);
}

// Hands out the logits that rows ask for, and keeps those of prompts for their samples.
void OpRunner::hold_logits(Context& ctx, const RowBatch& batch, std::span<const ScheduledRow> rows,
                           const Tensor& logits, RowSink& sink) {
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t first = batch.first_logits(i), end = batch.first_logits(i + 1);
    if (rows[i].logits_from >= 0) {
      const Tensor wanted = logits.part(first, end - first);
      std::vector<float> values(static_cast<size_t>(wanted.count()));
      read_values(ctx.memory(), wanted, 0, values, ctx.stream);
      sink.logits(rows[i], values);
    }
    if (!rows[i].guesses.empty()) {
      const auto guesses = std::ssize(rows[i].guesses);
      copy_values(ctx.memory(), logits.part(end - guesses, guesses),
                  lookahead_.keep(rows[i], model_.config().vocab_size, ctx.memory()), ctx.stream);
    }
    if (rows[i].sequence->is_prompt() && rows[i].ends())
      copy_values(ctx.memory(), logits.part(end - 1, 1), held_.at(rows[i].sequence->group->id).tensor(),
                  ctx.stream);
  }
}

// Runs one forward of some rows, and draws the next token of each row that ends its sample.
void OpRunner::forward(Context& ctx, Work& work, std::span<const ScheduledRow> rows, RowSink& sink) {
  work.batch.build(rows);
  const OpScope scope(ctx);
  const Tensor hidden = model_.forward(ctx, work.batch.view(), cache_);
  if (head_.is_on() && std::ssize(rows) <= kMostGuessing)
    head_.observe(ctx, cache_, rows, work.batch, hidden);
  const Tensor wanted = gather_rows(ctx, hidden, work.batch.wanted_tokens());
  const Tensor logits = matmul(ctx, wanted, model_.head(), DType::f32);
  hold_logits(ctx, work.batch, rows, logits, sink);
  work.to_sample.clear();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].draws()) continue;
    work.to_sample.push_back(sink.draw_of(*rows[i].sequence));
    work.to_sample.back().logits =
        logits.part(work.batch.first_logits(i + 1) - 1 - static_cast<int32_t>(rows[i].guesses.size()), 1);
  }
  work.drawn.resize(work.to_sample.size());
  sample_rows(ctx, model_.config().vocab_size, work.to_sample, work.drawn);
}

void OpRunner::draw_first(std::span<Sequence* const> samples, RowSink& sink) {
  work_.to_sample.clear();
  for (const Sequence* s : samples) {
    work_.to_sample.push_back(sink.draw_of(*s));
    work_.to_sample.back().logits = held_.at(s->group->id).tensor();
    work_.to_sample.back().keep = true;
  }
  work_.drawn.resize(samples.size());
  sample_rows(ctx_, model_.config().vocab_size, work_.to_sample, work_.drawn);
  for (size_t i = 0; i < samples.size(); ++i) sink.take(*samples[i], work_.drawn[i]);
}

// Returns true if a step of the whole batch consists of many small ops, as in decoding and for short prompts.
bool OpRunner::goes_in_parts(std::span<const ScheduledRow> rows) const {
  int64_t tokens = 0, longest = 0;
  for (const ScheduledRow& row : rows) {
    tokens += row.tokens();
    longest = std::max(longest, row.tokens());
  }
  const int64_t threads = ctx_.threads.size();
  return parted_ && std::ssize(rows) >= threads && longest <= part_tokens_ &&
         decodes_in_parts(tokens, packed_bytes_, threads);
}

// Gives each part neighbouring rows with about the same number of tokens.
void OpRunner::share_out(std::span<const ScheduledRow> rows) {
  const auto count = static_cast<size_t>(ctx_.threads.size());
  while (parts_.size() < count) parts_.push_back(std::make_unique<Part>(ctx_.numerics));
  int64_t all = 0, before = 0;
  for (const ScheduledRow& row : rows) all += row.tokens();
  for (const auto& part : parts_) part->rows.clear(), part->failed = nullptr;
  for (const ScheduledRow& row : rows) {
    parts_[static_cast<size_t>(before * static_cast<int64_t>(count) / all)]->rows.push_back(row);
    before += row.tokens();
  }
}

void OpRunner::in_parts(const std::function<void(Part&)>& body) {
  ctx_.threads.parallel_for(std::ssize(parts_), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Part& part = *parts_[static_cast<size_t>(i)];
      try {
        body(part);
      } catch (...) {
        part.failed = std::current_exception();
      }
    }
  });
  for (const auto& part : parts_) {
    if (part->failed) std::rethrow_exception(part->failed);
  }
}

namespace {

// Notes that the rows' keys are computed, and hands over the drawn tokens. Leaves in `rows` those that draw
// again, with the token that was drawn.
size_t take_drawn(std::span<ScheduledRow> rows, std::span<const Sampled> drawn, RowSink& sink) {
  size_t running = 0, draw = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    ScheduledRow row = rows[i];
    Sequence& s = *row.sequence;
    const bool draws = row.draws();
    s.computed = row.end;
    if (!draws || sink.take(s, drawn[draw++])) continue;
    rows[running++] = {.sequence = &s, .begin = row.end, .end = row.end + 1};
  }
  return running;
}

}  // namespace

// Runs the part's rows, at most part_tokens_ tokens at a time. Leaves in `rows` those that draw again.
void OpRunner::forward_part(Part& part, RowSink& sink) {
  size_t running = 0;
  for (size_t first = 0, end = 0; first < part.rows.size(); first = end) {
    int64_t tokens = 0;
    for (; end < part.rows.size() && tokens + part.rows[end].tokens() <= part_tokens_; ++end)
      tokens += part.rows[end].tokens();
    const std::span<ScheduledRow> rows = std::span(part.rows).subspan(first, end - first);
    forward(part.lane.work.ctx, part.work, rows, sink);
    const size_t left = take_drawn(rows, part.work.drawn, sink);
    std::copy_n(rows.begin(), left, part.rows.begin() + static_cast<int64_t>(running));
    running += left;
  }
  part.rows.resize(running);
}

// Generates tokens for the part's sequences until some part has made `steps` tokens per sequence or has no
// sequence left. Then all parts meet.
void OpRunner::decode_part(Part& part, int64_t steps, RowSink& sink, std::atomic<bool>& meet) {
  for (int64_t step = 1; !part.rows.empty(); ++step) {
    forward_part(part, sink);
    if (step == steps) meet = true;
    if (meet) return;
  }
  meet = true;
}

void OpRunner::run(std::span<const ScheduledRow> rows, int64_t steps, RowSink& sink) {
  if (parted_) model_.pack(ctx_);
  for (const ScheduledRow& row : rows) {
    if (row.sequence->is_prompt() && row.ends())
      held_.try_emplace(row.sequence->group->id, Shape{1, model_.config().vocab_size}, DType::f32,
                        ctx_.memory());
  }
  const bool decode = std::ranges::all_of(
      rows, [](const ScheduledRow& row) { return row.tokens() == 1 && row.draws() && row.logits_from < 0; });
  if (graphs_ && decode && !lookahead_.is_on()) return run_graphs(rows, steps, sink);
  if (parted_ && decode && decodes_in_parts(std::ssize(rows), packed_bytes_, ctx_.threads.size())) {
    std::atomic<bool> meet = false;
    share_out(rows);
    in_parts([&](Part& part) {
      try {
        decode_part(part, std::min(steps, slice()), sink, meet);
      } catch (...) {
        meet = true;
        throw;
      }
    });
  } else if (goes_in_parts(rows)) {
    share_out(rows);
    in_parts([&](Part& part) { forward_part(part, sink); });
  } else {
    run_together(rows, sink);
  }
}

// Queues a step's forward and draws, and the way of these to the host. Nothing waits.
void OpRunner::launch(Flight& flight, std::span<const RowToSample> draws) {
  const OpScope scope(ctx_);
  const Tensor logits = graphs_->forward(flight.rows, cache_, drawn_.tensor(), flight.from);
  work_.to_sample.assign(draws.begin(), draws.end());
  for (size_t i = 0; i < draws.size(); ++i)
    work_.to_sample[i].logits = logits.part(static_cast<int64_t>(i), 1);
  sample_rows_into(ctx_, model_.config().vocab_size, work_.to_sample, drawn_.tensor());
  reads_[flight.read].begin(drawn_.tensor(), draws.size() * sizeof(Sampled), ctx_.stream);
}

// Launches the step after `now`, whose tokens are not on the host yet, for the rows that may go on. Returns false if
// there are none, or if a draw depends on those tokens. A row whose sample ends with its token runs in vain.
bool OpRunner::launch_next(const Flight& now, Flight& next, const RowSink& sink) {
  next.rows.clear(), next.from.clear();
  std::vector<RowToSample> draws;
  for (size_t i = 0; i < now.rows.size(); ++i) {
    const ScheduledRow& row = now.rows[i];
    if (now.ended[i] || row.sequence->generated() + 1 >= row.sequence->group->max_generated) continue;
    const std::optional<RowToSample> draw = sink.draw_after(*row.sequence);
    if (!draw) return false;
    draws.push_back(*draw);
    next.rows.push_back({.sequence = row.sequence, .begin = row.end, .end = row.end + 1});
    next.from.push_back(static_cast<int32_t>(i));
  }
  if (next.rows.empty()) return false;
  next.ended.assign(next.rows.size(), false);
  next.read = 1 - now.read;
  launch(next, draws);
  return true;
}

// Waits for a step's draws and hands them over.
void OpRunner::take_flight(Flight& flight, RowSink& sink) {
  std::vector<Sampled> drawn(flight.rows.size());
  const std::span<const std::byte> bytes = reads_[flight.read].wait();
  std::memcpy(drawn.data(), bytes.data(), bytes.size());
  for (size_t i = 0; i < drawn.size(); ++i) {
    if (flight.ended[i]) continue;
    Sequence& s = *flight.rows[i].sequence;
    s.computed = flight.rows[i].end;
    flight.ended[i] = sink.take(s, drawn[i]);
  }
}

// Generates up to `steps` tokens per row on a GPU, which runs a step while the host takes the tokens of the one
// before.
void OpRunner::run_graphs(std::span<const ScheduledRow> rows, int64_t steps, RowSink& sink) {
  const auto room = static_cast<int64_t>(2 * rows.size());
  if (!drawn_.tensor() || drawn_.tensor().count() < room) {
    drawn_ = Buffer(Shape{room}, DType::i32, ctx_.memory());
    reads_.clear();
    for (int i = 0; i < 2; ++i) reads_.emplace_back(static_cast<size_t>(room) * sizeof(int32_t));
  }
  Flight now, next;
  std::vector<ScheduledRow> running(rows.begin(), rows.end());
  for (int64_t step = 0; step < steps && !running.empty();) {
    std::vector<RowToSample> draws;
    bool on_device = true;
    for (const ScheduledRow& row : running) {
      draws.push_back(sink.draw_of(*row.sequence));
      on_device = on_device && draws.back().options.forced < 0 && draws.back().options.likeliest.empty();
    }
    if (!on_device) {
      const OpScope scope(ctx_);
      const Tensor logits = graphs_->forward(running, cache_);
      for (size_t i = 0; i < draws.size(); ++i) draws[i].logits = logits.part(static_cast<int64_t>(i), 1);
      work_.drawn.resize(draws.size());
      sample_rows(ctx_, model_.config().vocab_size, draws, work_.drawn);
      running.resize(take_drawn(running, work_.drawn, sink));
      ++step;
      continue;
    }
    now.rows = running, now.from.clear();
    now.ended.assign(running.size(), false);
    launch(now, draws);
    for (bool more = true; more; ++step) {
      more = step + 1 < steps && launch_next(now, next, sink);
      take_flight(now, sink);
      if (!more) continue;
      for (size_t i = 0; i < next.rows.size(); ++i)
        next.ended[i] = now.ended[static_cast<size_t>(next.from[i])];
      std::swap(now, next);
    }
    running.clear();
    for (size_t i = 0; i < now.rows.size(); ++i)
      if (!now.ended[i])
        running.push_back(
            {.sequence = now.rows[i].sequence, .begin = now.rows[i].end, .end = now.rows[i].end + 1});
  }
}

// Draws the next token of rows whose logits are there: their tokens were guessed.
void OpRunner::draw_guessed(std::span<const ScheduledRow> rows, std::span<const Tensor> logits,
                            RowSink& sink) {
  work_.to_sample.clear();
  for (size_t i = 0; i < rows.size(); ++i) {
    work_.to_sample.push_back(sink.draw_of(*rows[i].sequence));
    work_.to_sample.back().logits = logits[i];
  }
  work_.drawn.resize(rows.size());
  sample_rows(ctx_, model_.config().vocab_size, work_.to_sample, work_.drawn);
  std::vector<ScheduledRow> own(rows.begin(), rows.end());
  take_drawn(own, work_.drawn, sink);
}

// Gives rows guesses, unless there are so many that guesses would not pay. `decode`: every row of the step
// decodes.
void OpRunner::guess(std::span<ScheduledRow> rows, bool decode) {
  if (!lookahead_.is_on()) return;
  const bool few = std::ssize(rows) <= kMostGuessing;
  std::vector<int64_t> wanted(rows.size(), 0);
  if (few && decode) {
    wanted = lookahead_.guess(rows);
  } else {
    lookahead_.rest();
  }
  if (!head_.is_on()) return;
  if (!few) return head_.rest();
  const std::vector<std::vector<int32_t>> guesses = head_.guess(ctx_, cache_, rows, wanted);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!guesses[i].empty()) lookahead_.guess_by_head(rows[i], guesses[i]);
  }
}

void OpRunner::run_together(std::span<const ScheduledRow> rows, RowSink& sink) {
  std::vector<ScheduledRow> own, guessed;
  std::vector<Tensor> logits;
  bool decode = true;
  for (const ScheduledRow& row : rows) {
    decode =
        decode && row.tokens() == 1 && row.draws() && row.sequence->generated() > 0 && row.logits_from < 0;
    const Tensor there = lookahead_.is_on() && row.draws() ? lookahead_.take(row) : Tensor();
    if (there) {
      guessed.push_back(row);
      logits.push_back(there);
    } else {
      own.push_back(row);
    }
  }
  guess(own, decode);
  if (!own.empty()) {
    forward(ctx_, work_, own, sink);
    take_drawn(own, work_.drawn, sink);
  }
  if (!guessed.empty()) draw_guessed(guessed, logits, sink);
}

}  // namespace r1
