#include "engine/graph_decoder.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "base/integers.h"
#include "ops/matmul/matmul.h"
#include "ops/sample/sample.h"
#include "tensor/transfer.h"

namespace r1 {

GraphDecoder::GraphDecoder(const Model& model, Context& ctx, int64_t most_shapes)
    : model_(model), ctx_(ctx), most_shapes_(most_shapes) {
  R1_CHECK(most_shapes >= 2, "room for ", most_shapes, " recorded shapes");
}

// Steps of the padding: products have tiles of 8, 16 and 64 rows.
int64_t GraphDecoder::padded_rows(int64_t rows) {
  if (rows <= 8) return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(rows)));
  const int64_t step = rows <= 64 ? 8 : rows <= 256 ? 32 : 64;
  return ceil_div(rows, step) * step;
}

int64_t GraphDecoder::padded_pages(int64_t pages) {
  constexpr int64_t kLeast = 8;
  return std::max(kLeast, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(pages))));
}

GraphDecoder::Step::Step(int64_t row_count, int64_t page_count, int64_t position_count, Memory& memory)
    : rows(row_count), pages(page_count) {
  const auto R = static_cast<size_t>(rows), P = static_cast<size_t>(pages);
  tokens.assign(R, 0);
  positions.assign(R, static_cast<int32_t>(std::min(pages * kKeyTile, position_count) - 1));
  offsets.resize(R + 1);
  std::iota(offsets.begin(), offsets.end(), 0);
  table.assign(R * P, 0);
  tails.assign(R, -1);
  prefixes.assign(R, 0);
  words.assign(2 * R + 3 * R + (R + 1) + R * P, 0);
  sent = Buffer(Shape{std::ssize(words)}, DType::i32, memory);
  lists.add(std::span<const int64_t>(prefixes), sent.tensor());
  sent_tokens = sent.tensor().part(2 * rows, rows);
  int64_t at = 2 * rows;
  for (const std::vector<int32_t>* list : {&tokens, &positions, &tails, &offsets, &table}) {
    lists.add(std::span<const int32_t>(*list), sent.tensor().part(at, std::ssize(*list)));
    at += std::ssize(*list);
  }
}

// Makes the device's lists: those of the rows, then rows that are not there.
void GraphDecoder::Step::fill(std::span<const ScheduledRow> scheduled) {
  const auto R = static_cast<size_t>(rows), P = static_cast<size_t>(pages);
  auto* const prefix = reinterpret_cast<int64_t*>(words.data());
  int32_t* const token = words.data() + 2 * R;
  int32_t *const position = token + R, *const tail = position + R, *const offset = tail + R,
                 *const held = offset + R + 1;
  std::copy(offsets.begin(), offsets.end(), offset);
  for (size_t i = 0; i < R; ++i) {
    if (i >= scheduled.size()) {
      prefix[i] = 0, token[i] = 0, position[i] = -1, tail[i] = -1;
      continue;
    }
    const ScheduledRow& row = scheduled[i];
    const Sequence& s = *row.sequence;
    prefix[i] = s.prefix;
    token[i] = row.begin < s.size() ? s.tokens[static_cast<size_t>(row.begin)] : 0;
    position[i] = static_cast<int32_t>(row.begin);
    tail[i] = s.tail;
    std::copy_n(s.pages.begin(), row.begin / kKeyTile + 1, held + i * P);
  }
}

// Forgets the shape that was used least recently if there are as many as may be kept.
void GraphDecoder::make_room() {
  if (std::ssize(steps_) < most_shapes_) return;
  const auto oldest =
      std::ranges::min_element(steps_, {}, [](const auto& entry) { return entry.second->used; });
  if (last_ == oldest->second.get()) last_ = nullptr;
  steps_.erase(oldest);
}

// Forgets what was recorded if weights, pages or the rotary table have moved since.
GraphDecoder::Step& GraphDecoder::step_for(std::span<const ScheduledRow> rows, const KvCache& cache) {
  int64_t pages = 1;
  for (const ScheduledRow& row : rows) pages = std::max(pages, row.begin / kKeyTile + 1);
  const std::pair key(padded_rows(std::ssize(rows)), padded_pages(pages));
  const int64_t positions = std::min(key.second * kKeyTile, model_.config().max_positions);
  uint64_t places = model_.places(ctx_, positions);
  for (int64_t i = 0; i < model_.config().layers; ++i) places = places * 31 + cache.layer(i).place();
  if (places != places_) steps_.clear(), last_ = nullptr;
  places_ = places;
  if (!steps_.contains(key)) make_room();
  std::unique_ptr<Step>& step = steps_[key];
  if (!step) step = std::make_unique<Step>(key.first, key.second, positions, ctx_.memory());
  step->used = ++used_;
  counts_.kept = std::ssize(steps_);
  return *step;
}

void GraphDecoder::compute(Step& step, const KvCache& cache) {
  const Tensor hidden = model_.forward(ctx_, step.shape(), cache);
  step.logits = matmul(ctx_, hidden, model_.head(), DType::f32);
}

std::vector<DeviceGraph::KernelTime> GraphDecoder::kernel_times() const {
  if (last_ == nullptr || !last_->graph) return {};
  return last_->graph->kernel_times(ctx_.stream);
}

Tensor GraphDecoder::forward(std::span<const ScheduledRow> rows, const KvCache& cache, const Tensor& drawn,
                             std::span<const int32_t> from) {
  model_.pack(ctx_);
  Step& step = step_for(rows, cache);
  step.fill(rows);
  write_words(ctx_.memory(), step.sent.tensor(), step.words, ctx_.stream);
  if (!from.empty()) feed_tokens(ctx_, drawn, from, step.sent_tokens);
  const struct Lists {
    Context& ctx;
    ~Lists() {
      ctx.lists->recording = false;
      ctx.lists = nullptr;
    }
  } lists{ctx_};
  ctx_.lists = &step.lists;
  if (step.begin != ctx_.arena.mark()) step.warm = false, step.graph.reset();
  if (!step.warm) {
    step.begin = ctx_.arena.mark();
    compute(step, cache);
    step.end = ctx_.arena.mark();
    step.warm = true;
    ++counts_.eager;
    return step.logits;
  }
  if (!step.graph) {
    step.lists.recording = true;
    step.graph.emplace(ctx_.stream, [&] { compute(step, cache); });
    R1_CHECK(ctx_.arena.mark() == step.end, "a step takes ", ctx_.arena.mark() - step.begin, " bytes, not ",
             step.end - step.begin);
    last_ = &step;
    ++counts_.recorded;
    counts_.launches = step.graph->launches();
  } else {
    take_up_to(ctx_.arena, step.end);
    R1_CHECK(ctx_.arena.mark() == step.end, "the arena has moved");
  }
  step.graph->launch(ctx_.stream);
  ++counts_.launched;
  return step.logits;
}

}  // namespace r1
