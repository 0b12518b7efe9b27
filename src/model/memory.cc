#include "model/memory.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "model/kv_cache.h"
#include "model/model.h"
#include "model/scoring.h"
#include "model/weight_formats.h"
#include "ops/elementwise/elementwise.h"
#include "ops/matmul/matmul.h"
#include "ops/sample/sample.h"

namespace r1 {
namespace {

// A model and a context without memory. One arena counts what tensors and host lists take together, as on the
// CPU, where one serves both.
struct Measuring {
  Measuring(const ModelConfig& config, Numerics numerics, DType matrices, int thread_count,
            WeightUse use = WeightUse::training, const WeightFormats* formats = nullptr)
      : model(Model::shape_only(config, matrices, memory, use, formats)),
        threads(ThreadPool::idle(thread_count)),
        ctx{.arena = arena,
            .threads = threads,
            .device = row_of(numerics).device,
            .numerics = numerics,
            .host_arena = &host,
            .measuring = true} {}

  int64_t peak() const { return static_cast<int64_t>(arena.peak()); }

  static constexpr size_t kLimit = size_t{1} << 50;
  NoMemory memory;
  Arena arena{kLimit, memory};
  Arena host{arena};
  Tape tape{arena, host}, layer_tape{arena, host};
  Model model;
  ThreadPool threads;
  Context ctx;
};

// The config of a model whose context is at least so long: an estimate may ask for rows that the model
// refuses later, in a line that says so.
ModelConfig with_context(ModelConfig config, int64_t positions) {
  config.max_positions = std::max(config.max_positions, positions);
  return config;
}

// Rows whose tokens are all token 0.
WholeBatch batch_of(std::span<const RowTokens> rows) {
  int64_t longest = 0;
  for (const RowTokens& row : rows) longest = std::max(longest, row.tokens);
  const std::vector<int32_t> tokens(static_cast<size_t>(longest), 0);
  std::vector<WholeRow> list;
  int32_t parent = -1;
  for (const RowTokens& row : rows) {
    if (row.prefix == 0) parent = static_cast<int32_t>(list.size());
    R1_CHECK(parent >= 0, "the first row has a prefix of ", row.prefix);
    R1_CHECK(row.prefix == 0 || row.prefix == rows[static_cast<size_t>(parent)].tokens, "a prefix of ",
             row.prefix, " tokens after a row of ", rows[static_cast<size_t>(parent)].tokens);
    list.push_back({std::span(tokens).first(static_cast<size_t>(row.tokens)), row.prefix == 0 ? -1 : parent});
  }
  return whole_batch(list);
}

// A sampler's batch: sequences of one new token each after a common prefix, and one row of new tokens of a
// prompt; all end at position keys - 1.
struct SamplingBatch {
  SamplingBatch(int64_t sequences, int64_t prompt_tokens, const SamplingShape& shape) {
    max_pages = KvCache::pages_for(shape.keys);
    const auto add = [&](int64_t count, int64_t prefix) {
      for (int64_t p = shape.keys - count; p < shape.keys; ++p) positions.push_back(static_cast<int32_t>(p));
      tokens.resize(positions.size(), 0);
      offsets.push_back(static_cast<int32_t>(tokens.size()));
      prefixes.push_back(prefix);
      tails.push_back(prefix % kKeyTile == 0 ? -1 : 0);
      last_tokens.push_back(offsets.back() - 1);
    };
    for (int64_t s = 0; s < sequences; ++s) add(1, std::min(shape.prompt, shape.keys - 1));
    if (prompt_tokens > 0) add(prompt_tokens, 0);
    pages.assign(prefixes.size() * static_cast<size_t>(max_pages), 0);
  }
  Batch view() const { return {tokens, positions, offsets, pages, max_pages, prefixes, tails}; }
  std::vector<int32_t> every_token() const {
    std::vector<int32_t> indices(tokens.size());
    std::iota(indices.begin(), indices.end(), 0);
    return indices;
  }

  std::vector<int32_t> tokens, positions, offsets{0}, pages, tails, last_tokens;
  std::vector<int64_t> prefixes;
  int64_t max_pages = 0;
};

// The sampler's use of the model (engine/op_runner.h): a forward after which `count` rows are drawn, and
// first draws from logits that are kept.
void sample(Measuring& m, const SamplingBatch& batch, int64_t count) {
  const int64_t V = m.model.config().vocab_size;
  std::vector<Sampled> drawn(static_cast<size_t>(count));
  const OpScope scope(m.ctx);
  const Buffer kept({V}, DType::f32, m.memory);
  sample_rows(m.ctx, V, std::vector<RowToSample>(drawn.size(), {.logits = kept.tensor(), .keep = true}),
              drawn);
  const KvCache kv(m.model.config(), 1, m.ctx.row().cache, m.memory);
  const Tensor hidden = m.model.forward(m.ctx, batch.view(), kv);
  if (m.model.predicts()) {  // engine/head_guesser.h: the head reads what the forward has read
    const OpScope head(m.ctx);
    m.model.predict(m.ctx, batch.view(), kv, gather_rows(m.ctx, hidden, batch.every_token()));
  }
  const std::vector<int32_t> wanted(drawn.size(), batch.last_tokens.back());
  const Tensor logits = matmul(m.ctx, gather_rows(m.ctx, hidden, wanted), m.model.head(), DType::f32);
  std::vector<RowToSample> rows;
  for (int64_t i = 0; i < count; ++i) rows.push_back({.logits = logits.part(i, 1)});
  sample_rows(m.ctx, V, rows, drawn);
}

}  // namespace

ModelMemory model_memory(const ModelConfig& config, Numerics numerics, DType matrices, WeightUse use,
                         const WeightFormats* formats) {
  constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
  Measuring m(config, numerics, matrices, 1, use, formats);
  ModelMemory out;
  out.weights = config.max_positions * config.rope_width() * kFloat;
  for (const Parameter& p : m.model.parameters()) {
    if (p.value) out.weights += static_cast<int64_t>(p.value.bytes());
    if (p.trainable) out.gradients += p.value.count() * kFloat;
  }
  if (config.tie_word_embeddings) out.row_gradients = config.vocab_size * config.hidden_size * kFloat;
  const size_t before = m.memory.allocated();
  m.model.pack(m.ctx);
  out.packed = static_cast<int64_t>(m.memory.allocated() - before);
  return out;
}

HeldMatrices held_matrices(const ModelConfig& config, Numerics numerics, const WeightFormats& formats) {
  Measuring m(config, numerics, activation_dtype(numerics), 1, WeightUse::inference, &formats);
  m.model.pack(m.ctx);
  HeldMatrices out;
  m.model.each_held([&](const Parameter& p, int64_t bytes) {
    out.all += bytes;
    if (p.name.find(".mlp.experts.") != std::string::npos) out.routed += bytes;
    if (p.name == "model.embed_tokens.weight" && !config.tie_word_embeddings) out.embedding += bytes;
  });
  return out;
}

int64_t row_activations(const ModelConfig& config, Numerics numerics, std::span<const RowTokens> rows,
                        const ActivationOptions& options, int threads) {
  const WholeBatch whole = batch_of(rows);
  const Batch batch = whole.view();
  const std::vector<int32_t> targets(whole.tokens.size(), 0);
  Measuring m(with_context(config, whole.max_pages * kKeyTile), numerics, DType::f32, threads);
  if (options.backward) {
    m.model.allocate_gradients();
    m.ctx.tape = &m.tape;
  }
  Tape* recompute = options.backward && options.recompute ? &m.layer_tape : nullptr;
  const KvCache kv(m.model.config(), whole.page_count, m.ctx,
                   recompute != nullptr ? KvCache::Layers::one : KvCache::Layers::all);
  const Tensor entropy = options.entropy ? m.arena.tensor({batch.T()}) : Tensor();
  double balance_loss = 0;
  RouterTraining routers;
  if (options.balance) {
    routers.balance_scale = 1;
    routers.balance_loss = &balance_loss;
  }
  const Tensor hidden = m.model.forward(m.ctx, batch, kv, routers, recompute);
  const Tensor logprobs = head_scores(m.ctx, m.model, hidden, targets, 1.0f, entropy);
  if (options.backward) {
    m.tape.slot(logprobs);
    m.tape.backward(m.ctx);
  }
  return m.peak();
}

int64_t sampling_activations(const ModelConfig& config, Numerics numerics, const SamplingShape& shape,
                             int threads) {
  SamplingShape longest = shape;
  longest.keys = std::max(shape.keys, shape.tokens);
  Measuring m(with_context(config, longest.keys), numerics, DType::f32, threads);
  const int64_t decoding = std::min(shape.sequences, shape.tokens);
  sample(m, {decoding, shape.tokens - decoding, longest}, shape.sequences);
  sample(m, {0, shape.tokens, longest}, shape.sequences);
  return m.peak();
}

}  // namespace r1
