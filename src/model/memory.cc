#include "model/memory.h"

#include <algorithm>
#include <vector>

#include "base/integers.h"
#include "model/kv_cache.h"
#include "ops/loss/loss.h"
#include "ops/matmul/gemm.h"
#include "ops/sample/sample.h"
#include "tensor/context.h"

namespace r1 {
namespace {

constexpr int64_t kFloat = static_cast<int64_t>(sizeof(float));

// ---- weights

struct WeightCount {
  DType panels = DType::f32;         // or bf16: pairs along k
  int64_t matrices = 0, floats = 0;  // elements of either kind; vectors stay f32
  int64_t packed = 0;                // bytes
  bool once = false;                 // for inference
  // The copy of a matrix that products read, [n, k].
  void pack(int64_t n, int64_t k) {
    packed += panels_floats(n, panels == DType::f32 ? k : pair_rows(k)) * kFloat;
  }
  void weight(int64_t n, int64_t k, bool bias = false) {
    matrices += n * k;
    floats += bias ? n : 0;
    pack(n, k);
  }
  void mlp(int64_t d, int64_t f, bool bias = false) {
    weight(f, d, bias);
    weight(f, d, bias);
    weight(d, f, bias);
  }
};

void count_latent_attention(const ModelConfig& c, WeightCount& count) {
  const int64_t d = c.hidden_size, query = c.heads * (c.qk_nope_head_dim + c.qk_rope_head_dim);
  if (c.q_lora_rank == 0) {
    count.weight(query, d);
  } else {
    count.weight(c.q_lora_rank, d, c.lora_bias);
    count.floats += c.q_lora_rank;
    count.weight(query, c.q_lora_rank);
  }
  count.weight(c.kv_lora_rank + c.qk_rope_head_dim, d, c.lora_bias);
  count.floats += c.kv_lora_rank;
  count.matrices += c.heads * (c.qk_nope_head_dim + c.v_head_dim) * c.kv_lora_rank;
  if (count.once) {  // one copy, by head
    for (int64_t h = 0; h < c.heads; ++h) {
      if (count.panels == DType::f32) {
        count.packed += c.qk_nope_head_dim * c.kv_lora_rank * kFloat;
      } else {
        count.pack(c.kv_lora_rank, c.qk_nope_head_dim);
      }
      count.pack(c.v_head_dim, c.kv_lora_rank);
    }
    count.weight(d, c.heads * c.v_head_dim, c.lora_bias);
    return;
  }
  // Half of kv_b, which the values need, is packed in f32 in every numerics (ops/mla).
  count.packed += c.heads * panels_floats(c.v_head_dim, c.kv_lora_rank) * kFloat;
  if (count.panels == DType::bf16)  // and of the whole matrix, rounded
    count.packed += c.heads * (c.qk_nope_head_dim + c.v_head_dim) * c.kv_lora_rank * kFloat;
  count.weight(d, c.heads * c.v_head_dim, c.lora_bias);
}

void count_grouped_attention(const ModelConfig& c, WeightCount& count) {
  const int64_t d = c.hidden_size;
  count.weight(c.heads * c.head_dim, d, c.qkv_bias);
  count.weight(c.kv_heads * c.head_dim, d, c.qkv_bias);
  count.weight(c.kv_heads * c.head_dim, d, c.qkv_bias);
  count.weight(d, c.heads * c.head_dim, c.o_bias);
  if (c.qk_norm) count.floats += 2 * c.head_dim;
}

// ---- activations

// The ops. Each is reduced to its memory in the arena: its output, the tensors it keeps for the backward,
// and, in scopes of their own, the scratch of its forward and of its backward. In a bf16 numerics the tensors
// between ops are bf16, and most ops widen them into scratch. Biases, which are rounded too, are left out.
class Walk {
 public:
  Walk(const ModelConfig& config, Context& ctx, std::span<const RowTokens> rows, int64_t keys, bool balance)
      : c_(config), ctx_(ctx), rows_(rows), longest_keys_(keys), balance_(balance) {
    for (const RowTokens& row : rows_) T_ += row.tokens;
  }

  Tensor forward() {
    Tensor x = ctx_.output({T_, c_.hidden_size});  // the embedding
    keep([](Context&) {});
    for (int64_t layer = 0; layer < c_.layers; ++layer) {
      const auto attended = [&](const Tensor& in) { return attention_block(norm(in)); };
      const auto mixed = [&](const Tensor& in) {
        return c_.is_moe_layer(layer) ? moe_layer(norm(in)) : mlp(norm(in), c_.intermediate_size);
      };
      if (ctx_.tape != nullptr) {
        const Tensor h = add(x, attended(x));
        x = add(h, mixed(h));
      } else {  // in x's place
        in_scope([&] { attended(x); });
        in_scope([&] { mixed(x); });
      }
    }
    return norm(x);
  }
  // The logits of some rows, in the sampler.
  void sample(int64_t sequences) {
    const Tensor last = ctx_.output({sequences, c_.hidden_size}, ctx_.activations());
    ctx_.arena.array<float>(sequences * c_.vocab_size);
    ctx_.arena.array<float>(wide(last));
    ctx_.arena.array<Sampled>(sequences);
  }

  Tensor log_probs(const Tensor& h);

 private:
  template <class F>
  void keep(const F& backward) {
    if (ctx_.tape != nullptr) ctx_.tape->record(backward);
  }
  void kept_floats(int64_t n) {
    if (ctx_.tape != nullptr) ctx_.arena.array<float>(n);
  }
  template <class Part>
  void in_scope(const Part& part) {
    const ArenaScope scope(ctx_.arena);
    part();
  }
  static void scratch(Context& c, std::initializer_list<int64_t> floats) {
    const ArenaScope scope(c.arena);
    for (const int64_t n : floats) c.arena.array<float>(n);
  }
  // A product list lies in the arena while it runs.
  static int64_t list_floats(int64_t products) {
    return products * static_cast<int64_t>(sizeof(Gemm)) / kFloat;
  }

  // Floats into which a tensor is widened, or from which it is rounded.
  static int64_t wide(const Tensor& t) { return t.dtype == DType::bf16 ? t.count() : 0; }
  // Floats of a rounded copy of so many weights.
  static int64_t wide_weight(const Context& c, int64_t n) { return c.activations() == DType::bf16 ? n : 0; }
  Tensor activation(Shape shape) { return ctx_.output(shape, ctx_.activations()); }

  Tensor slice(const Tensor& x, int64_t columns) {
    const Tensor y = activation({x.dim(0), columns});
    keep([x](Context& c) { c.tape->slot(x); });
    return y;
  }
  Tensor rope(const Tensor& x) {
    const Tensor y = activation(x.shape);
    scratch(ctx_, {wide(y), wide(x)});
    keep([x](Context& c) { c.tape->slot(x); });
    return y;
  }
  Tensor add(const Tensor& a, const Tensor& b) {
    const Tensor y = ctx_.output(a.shape);
    keep([a, b, y](Context& c) {
      c.tape->share(y, a);
      c.tape->share(y, b);
    });
    return y;
  }
  Tensor norm(const Tensor& x) {
    const Tensor y = activation(x.shape);
    kept_floats(x.rows());
    scratch(ctx_, {wide(y), wide(x), wide_weight(ctx_, x.dim(-1))});
    keep([x](Context& c) {
      c.tape->slot(x);
      scratch(c, {wide(x), wide_weight(c, x.dim(-1))});
    });
    return y;
  }
  Tensor matmul(const Tensor& x, int64_t n) { return matmul(x, n, ctx_.activations()); }
  Tensor matmul(const Tensor& x, int64_t n, DType dtype);
  Tensor mlp(const Tensor& x, int64_t width) {
    const Tensor gate = matmul(x, width), up = matmul(x, width);
    const Tensor h = activation(gate.shape);
    scratch(ctx_, {wide(h), wide(gate), wide(up)});
    keep([gate, up](Context& c) {
      c.tape->slot(gate);
      c.tape->slot(up);
      scratch(c, {wide(gate), wide(up)});
    });
    return matmul(h, c_.hidden_size, DType::f32);
  }
  Tensor attention_block(const Tensor& x) {
    return c_.family == Family::deepseek_v3 ? latent_attention(x) : grouped_attention(x);
  }
  Tensor grouped_attention(const Tensor& x);
  Tensor latent_attention(const Tensor& x);
  Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v);
  int64_t attention_scratch(int64_t H, int64_t G, int64_t K, int64_t V) const;
  static void attention_backward(Context& c, std::span<const RowTokens> rows, int64_t H, int64_t G, int64_t K,
                                 int64_t V);
  Tensor moe_layer(const Tensor& x);
  Tensor experts(const Tensor& x);

  const ModelConfig& c_;
  Context& ctx_;
  std::span<const RowTokens> rows_;
  int64_t longest_keys_ = 0;
  bool balance_ = false;
  int64_t T_ = 0;
};

// ops/matmul: long rows of B are packed into scratch if enough rows of A follow.
int64_t packed_b(int64_t M, int64_t N, int64_t K) {
  constexpr int64_t kLongRow = 320, kManyRows = 768;
  return N >= kLongRow && M >= kManyRows ? panels_floats(N, K) : 0;
}

// ops/matmul: in bf16, a product of many rows and a small matrix goes by blocks.
bool by_row_blocks(const Tensor& x, int64_t n, int64_t threads, int64_t block) {
  constexpr int64_t kSmallMatrix = int64_t{1} << 19;
  return x.dtype == DType::bf16 && n * x.dim(1) <= kSmallMatrix && x.dim(0) >= 2 * block * threads;
}

Tensor Walk::matmul(const Tensor& x, int64_t n, DType dtype) {
  constexpr int64_t kBlockRows = 96;
  const int64_t T = x.dim(0), k = x.dim(1), threads = ctx_.threads.size();
  const Tensor y = ctx_.output({T, n}, dtype);
  if (by_row_blocks(x, n, threads, kBlockRows)) {
    scratch(ctx_, {kBlockRows * (k + n) * threads});
  } else {
    scratch(ctx_, {wide(y), wide(x)});
  }
  keep([x, T, n, k](Context& c) {
    c.tape->slot(x);
    scratch(c, {wide_weight(c, n * k), packed_b(T, k, n)});
    scratch(c, {wide(x), packed_b(n, k, T)});
  });
  return y;
}

Tensor Walk::grouped_attention(const Tensor& x) {
  const auto turned = [&](int64_t heads) {
    const Tensor flat = matmul(x, heads * c_.head_dim).reshaped(Shape{T_, heads, c_.head_dim});
    return rope(c_.qk_norm ? norm(flat) : flat);
  };
  const Tensor q = turned(c_.heads), k = turned(c_.kv_heads);
  const Tensor v = matmul(x, c_.kv_heads * c_.head_dim).reshaped(Shape{T_, c_.kv_heads, c_.head_dim});
  return matmul(attention(q, k, v).reshaped(Shape{T_, c_.heads * c_.head_dim}), c_.hidden_size, DType::f32);
}

Tensor Walk::latent_attention(const Tensor& x) {
  const int64_t R = c_.kv_lora_rank, P = c_.qk_rope_head_dim, H = c_.heads, n = c_.qk_nope_head_dim;
  const Tensor compressed = matmul(x, R + P);
  const Tensor latent = norm(slice(compressed, R));
  const Tensor key = activation({T_, R + P});
  scratch(ctx_, {wide(key), wide(latent), wide(compressed)});
  keep([latent, compressed](Context& c) {
    c.tape->slot(compressed);
    c.tape->slot(latent);
  });
  const Tensor q_in = c_.q_lora_rank == 0 ? x : norm(matmul(x, c_.q_lora_rank));
  const Tensor queries = matmul(q_in, H * (n + P)).reshaped(Shape{T_, H, n + P});
  const Tensor absorbed = activation({T_, H, R + P});
  scratch(ctx_, {wide(absorbed), wide(queries), list_floats(H)});
  keep([queries, H, n, R](Context& c) {
    c.tape->slot(queries);
    scratch(c, {H * panels_floats(n, R), list_floats(H)});
    scratch(c, {wide(queries), list_floats(H)});
  });
  const Tensor out = attention(absorbed, key.reshaped(Shape{T_, 1, R + P}), latent.reshaped(Shape{T_, 1, R}));
  const Tensor expanded = activation({T_, H, c_.v_head_dim});
  scratch(ctx_, {wide(expanded), wide(out), list_floats(H)});
  keep([out, H](Context& c) {
    c.tape->slot(out);
    scratch(c, {wide(out), list_floats(H)});
  });
  return matmul(expanded.reshaped(Shape{T_, H * c_.v_head_dim}), c_.hidden_size, DType::f32);
}

// ---- attention: tiles of 12 query rows by 32 keys (ops/attention/kernels_cpu.h)

constexpr int64_t kTileRows = 12;
constexpr int64_t kBlockFloats = kTileRows * kKeyTile;

// A thread's scratch is that of the largest task: some tiles of one row and group, and the keys that they
// read.
int64_t Walk::attention_scratch(int64_t H, int64_t G, int64_t K, int64_t V) const {
  constexpr int64_t kScoreBudget = 1 << 18, kMaxTaskTiles = 4;
  const int64_t heads = H / G, threads = ctx_.threads.size();
  int64_t tiles = 0, longest_row = 0;
  for (const RowTokens& row : rows_) {
    tiles += ceil_div(row.tokens * heads, kTileRows) * G;
    longest_row = std::max(longest_row, row.keys());
  }
  const int64_t most_pages = ceil_div(std::max<int64_t>(longest_keys_, 1), kKeyTile);
  const int64_t together = std::clamp<int64_t>(
      std::min(kScoreBudget / (most_pages * kBlockFloats), tiles / (8 * threads)), 1, kMaxTaskTiles);
  const int64_t before = std::max<int64_t>(0, longest_keys_ - longest_row);  // keys of earlier batches
  int64_t blocks = 0;
  for (const RowTokens& row : rows_) {
    for (int64_t begin = 0; begin < row.tokens * heads; begin += together * kTileRows) {
      const int64_t end = std::min(begin + together * kTileRows, row.tokens * heads);
      const int64_t keys = std::min(longest_keys_, before + row.prefix + (end - 1) / heads + 1);
      blocks =
          std::max(blocks, ceil_div(end - begin, kTileRows) *
                               (ceil_div(K, kKeyTile) + ceil_div(keys, kKeyTile) + ceil_div(V, kKeyTile)));
    }
  }
  constexpr int64_t kPagesTogether = 2;
  // Pages by rows are transposed. If sequences continue a prompt, its last page and theirs are joined.
  const bool copied = c_.cache_values_in_keys() || before > 0;
  const int64_t transposed = copied ? kPagesTogether * kKeyTile * K : 0;
  return (blocks * kBlockFloats + transposed) * threads;
}

Tensor Walk::attention(const Tensor& q, const Tensor& k, const Tensor& v) {
  const int64_t H = q.dim(1), G = k.dim(1), K = k.dim(2), V = v.dim(2),
                S = static_cast<int64_t>(rows_.size());
  const Tensor out = activation({T_, H, V});
  kept_floats(T_ * H);
  kept_floats(T_ * H);
  const int64_t values = wide(out);  // the output before it is rounded: kept for the backward
  kept_floats(values);
  constexpr int64_t kTaskFloats = 10;
  const int64_t tasks = S * G + T_ * H / kTileRows;
  scratch(ctx_, {ctx_.tape == nullptr ? values : 0, wide(q), wide(k), wide(v), tasks * kTaskFloats,
                 attention_scratch(H, G, K, V)});
  kept_floats(S + 1);
  keep([q, k, v, H, G, K, V, rows = rows_](Context& c) {
    c.tape->slot(q);
    c.tape->slot(k);
    c.tape->slot(v);
    const ArenaScope scope(c.arena);
    for (const Tensor& t : {q, k, v}) c.arena.array<float>(wide(t));
    attention_backward(c, rows, H, G, K, V);
  });
  return out;
}

// The families that take longest are cut over all threads, one after the other; the others take one scratch
// per thread.
void Walk::attention_backward(Context& c, std::span<const RowTokens> rows, int64_t H, int64_t G, int64_t K,
                              int64_t V) {
  constexpr int64_t kBudget = 1 << 20, kBackwardTiles = 8, kFamilyFloats = 12;
  const int64_t heads = H / G, all = c.threads.size();
  const int64_t k_blocks = ceil_div(K, kKeyTile), v_blocks = ceil_div(V, kKeyTile);
  struct Family {
    int64_t rows = 0, tokens = 0, keys = 0;  // of the longest row
    double cost = 0;
  };
  std::vector<Family> families;
  double total = 0;
  for (const RowTokens& row : rows) {
    if (row.prefix == 0) families.emplace_back();
    Family& family = families.back();
    const double cost = static_cast<double>(row.tokens) * static_cast<double>(row.keys());
    family = {family.rows + 1, std::max(family.tokens, row.tokens), std::max(family.keys, row.keys()),
              family.cost + cost};
    total += static_cast<double>(G) * cost;
  }
  const auto floats = [&](const Family& x, int64_t sharing) {
    const int64_t tiles = ceil_div(x.tokens * heads, kTileRows), key_tiles = ceil_div(x.keys, kKeyTile);
    const int64_t fit = sharing * kBudget / (2 * key_tiles * kBlockFloats);
    const int64_t block = std::clamp<int64_t>(fit, 1, std::min(tiles, std::max(kBackwardTiles, 4 * sharing)));
    return key_tiles * kKeyTile * (K + V + (k_blocks + v_blocks) * kKeyTile) +
           block * kBlockFloats * (2 * k_blocks + v_blocks + 2 * key_tiles);
  };
  int64_t wide = 0, narrow = 0;
  for (const Family& x : families) {
    const int64_t shares = x.rows > 1 ? all : 4 * all;
    if (all > 1 && x.cost * static_cast<double>(shares) > total) {
      wide = std::max(wide, floats(x, all));
    } else {
      narrow = std::max(narrow, floats(x, 1));
    }
  }
  const int64_t list = static_cast<int64_t>(rows.size()) * G * kFamilyFloats;
  if (wide > 0) scratch(c, {list, wide});
  if (narrow > 0) scratch(c, {list, narrow * all});
}

// ---- mixture of experts

Tensor Walk::moe_layer(const Tensor& x) {
  const Tensor routed = experts(x);
  if (c_.shared_experts == 0) return routed;
  return add(routed, mlp(x, c_.moe_intermediate_size * c_.shared_experts));
}

// Tokens of a chunk (ops/moe/route_cpu.cc).
int64_t moe_chunk(const ModelConfig& c, int64_t threads) {
  constexpr int64_t kCacheFloats = int64_t{1} << 18, kBlock = 64;
  const int64_t fitting =
      threads * kCacheFloats / (c.moe.active * (c.hidden_size + 3 * c.moe_intermediate_size));
  return ceil_div(std::max(fitting, 128 * c.moe.experts / c.moe.active), kBlock) * kBlock;
}

Tensor Walk::experts(const Tensor& x) {
  const int64_t D = c_.hidden_size, F = c_.moe_intermediate_size, E = c_.moe.experts, A = c_.moe.active;
  const int64_t threads = ctx_.threads.size(), chunk = moe_chunk(c_, threads), T = T_;
  const int64_t slots = T * A, most = std::min(chunk, T) * A, S = static_cast<int64_t>(rows_.size());
  const Tensor y = ctx_.output(x.shape);
  const size_t mark = ctx_.arena.mark();
  ctx_.arena.array<float>(wide(x));
  ctx_.arena.array<float>(T * E);                              // scores
  for (int i = 0; i < 5; ++i) ctx_.arena.array<float>(slots);  // experts, weights, rows, tokens, ...
  ctx_.arena.array<int64_t>(ceil_div(T, chunk) * (E + 1));     // where each expert starts
  scratch(ctx_, {ceil_div(T, int64_t{64}) * E, threads * 5 * (E + 32)});  // while the router sorts
  if (balance_) {
    ctx_.arena.array<float>(S * E);
    ctx_.arena.array<int32_t>(T);
    scratch(ctx_, {2 * S, 4 * E * threads});
  }
  const int64_t kept = ctx_.tape != nullptr ? slots : most;
  ctx_.arena.array<float>(kept * F);
  ctx_.arena.array<float>(kept * F);
  scratch(ctx_, {most * D, most * F, list_floats(2 * E)});
  if (ctx_.tape == nullptr) ctx_.arena.release(mark);
  keep([x, slots, most, D, F, E, T](Context& c) {
    c.tape->slot(x);
    const int64_t experts = wide_weight(c, std::min(E, most) * D * F), router = wide_weight(c, E * D);
    scratch(c, {slots, list_floats(2 * E), most * D, most * F, std::max(experts, T * E + router)});
  });
  return y;
}

// ---- the loss

int64_t logit_chunk(int64_t V, int64_t tokens) {
  return std::min(std::clamp<int64_t>(kLogitFloats / V, 1, 2048), tokens);
}

Tensor Walk::log_probs(const Tensor& h) {
  const int64_t T = T_, D = c_.hidden_size, V = c_.vocab_size, chunk = logit_chunk(V, T);
  const Tensor out = ctx_.output({T});
  kept_floats(T);
  kept_floats(T);
  const bool kept = ctx_.tape != nullptr && T * V <= kKeptLogits;
  if (kept) kept_floats(T * V);
  scratch(ctx_, {T, chunk * D, kept ? 0 : chunk * V});
  keep([h, T, D, V, chunk](Context& c) {
    c.tape->slot(h);
    scratch(c, {T, T, chunk * D, chunk * V, chunk * D, wide_weight(c, V * D)});
  });
  return out;
}

}  // namespace

ModelMemory model_memory(const ModelConfig& c, Numerics numerics, DType matrices, WeightUse use) {
  const bool once = use == WeightUse::inference;
  WeightCount count{.panels = activation_dtype(numerics), .once = once};
  int64_t frozen = 0;
  count.matrices += c.vocab_size * c.hidden_size;
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    count.floats += 2 * c.hidden_size;  // norms
    if (c.family == Family::deepseek_v3) {
      count_latent_attention(c, count);
    } else {
      count_grouped_attention(c, count);
    }
    if (!c.is_moe_layer(layer)) {
      count.mlp(c.hidden_size, c.intermediate_size, c.family != Family::deepseek_v3 && c.mlp_bias);
      continue;
    }
    count.weight(c.moe.experts, c.hidden_size);
    count.floats += c.moe.experts;  // the selection bias
    frozen += c.moe.experts;
    for (int64_t e = 0; e < c.moe.experts; ++e) count.mlp(c.hidden_size, c.moe_intermediate_size);
    if (c.shared_experts > 0) count.mlp(c.hidden_size, c.moe_intermediate_size * c.shared_experts);
  }
  count.floats += c.hidden_size;
  if (c.tie_word_embeddings) {
    count.pack(c.vocab_size, c.hidden_size);
  } else {
    count.weight(c.vocab_size, c.hidden_size);
  }
  // Held beside the panels: all matrices, or only the rows of a table that is no factor.
  const int64_t rows = !once ? count.matrices : c.tie_word_embeddings ? 0 : c.vocab_size * c.hidden_size;
  return {.weights = rows * static_cast<int64_t>(size_of(matrices)) +
                     (count.floats + c.max_positions * c.rope_width()) * kFloat,
          .gradients = (count.matrices + count.floats - frozen) * kFloat,
          .row_gradients = c.tie_word_embeddings ? c.vocab_size * c.hidden_size * kFloat : 0,
          .packed = count.packed};
}

int64_t row_activations(const ModelConfig& config, Numerics numerics, std::span<const RowTokens> rows,
                        const ActivationOptions& options, ThreadPool& threads) {
  Arena arena;
  Tape tape(arena);
  Context ctx{
      .arena = arena, .threads = threads, .tape = options.backward ? &tape : nullptr, .numerics = numerics};
  int64_t tokens = 0, pages = 0, longest = 0;
  for (const RowTokens& row : rows) {
    tokens += row.tokens;
    pages += KvCache::pages_for(row.keys()) - row.prefix / kKeyTile;
    longest = std::max(longest, row.keys());
  }
  arena.take(static_cast<size_t>(pages * KvCache::bytes_per_page(config, ctx.activations())));
  if (options.entropy) arena.array<float>(tokens);
  Walk walk(config, ctx, rows, longest, options.balance);
  const Tensor out = walk.log_probs(walk.forward());
  if (options.backward) {
    tape.slot(out);
    tape.backward(ctx);
  }
  return static_cast<int64_t>(arena.peak());
}

int64_t sampling_activations(const ModelConfig& config, Numerics numerics, int64_t tokens, int64_t sequences,
                             int64_t keys, ThreadPool& threads) {
  Arena arena;
  Context ctx{.arena = arena, .threads = threads, .numerics = numerics};
  const RowTokens all{.tokens = tokens};
  Walk walk(config, ctx, std::span(&all, 1), keys, false);
  walk.forward();
  walk.sample(sequences);
  return static_cast<int64_t>(arena.peak());
}

}  // namespace r1
