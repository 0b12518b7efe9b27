// ops/moe/route_cpu.cc: the router on the CPU: selection, weights, the sort by expert, and the backward to
// the router's logits.
//
// Tokens are processed in fixed blocks. A block counts its slots by expert, the counts are summed in block
// order, and each block then places its own slots: a counting sort whose result (expert ascending, token
// ascending) does not depend on which thread took which block.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "base/integers.h"
#include "ops/moe/moe_backend.h"
#include "ops/moe/moe_kernels.h"

namespace r1::cpu {
namespace {

constexpr int64_t kBlock = 64;  // tokens

// One thread's scratch, in int32: keys and ranks of the experts and of the groups, and the selection.
struct Scratch {
  int32_t *keys, *ranks, *group_keys, *group_ranks, *selected;
  static int64_t padded(int64_t n) { return (n + 15) / 16 * 16; }  // moe_kernels::ranks reads blocks of 16
  static int64_t size(int64_t E, int64_t groups) { return 3 * padded(E + 1) + 2 * padded(groups); }
  Scratch(int32_t* room, int64_t E, int64_t groups) {
    keys = room;
    ranks = keys + padded(E + 1);
    selected = ranks + padded(E + 1);
    group_keys = selected + padded(E + 1);
    group_ranks = group_keys + padded(groups);
  }
};

// Maps a number to an integer of the same order. NaN counts as the largest, as in PyTorch's topk, so that a
// broken weight shows itself.
inline int32_t key_of(float value) {
  const int32_t bits = std::bit_cast<int32_t>(value);
  return value != value ? INT32_MAX : bits ^ ((bits >> 31) & INT32_MAX);
}
inline float value_of(int32_t key) {
  return std::bit_cast<float>(key ^ ((key >> 31) & INT32_MAX));
}
constexpr int32_t kNever = INT32_MIN;  // below the key of -infinity

// A group's score: its best biased score, or the sum of its two best if it has two.
int32_t group_key(const int32_t* keys, int64_t size, GroupRank rank) {
  int32_t first = kNever, second = kNever;
  for (int64_t e = 0; e < size; ++e) {
    second = std::max(second, std::min(first, keys[e]));
    first = std::max(first, keys[e]);
  }
  return size == 1 || rank == GroupRank::best ? first : key_of(value_of(first) + value_of(second));
}

// One token: s [E] -> the A selected experts, ascending. No branch depends on a score (unpredictable).
void select(const float* s, const float* bias, const MoeConfig& config, const Scratch& scratch,
            int32_t* selected) {
  const int64_t E = config.experts;
  for (int64_t e = 0; e < E; ++e) scratch.keys[e] = key_of(bias != nullptr ? s[e] + bias[e] : s[e]);
  if (config.top_groups < config.groups) {
    const int64_t size = E / config.groups;
    for (int64_t g = 0; g < config.groups; ++g) {
      scratch.group_keys[g] = group_key(scratch.keys + g * size, size, config.group_rank);
    }
    moe_kernels::ranks(scratch.group_keys, config.groups, scratch.group_ranks);
    for (int64_t g = 0; g < config.groups; ++g) {
      if (scratch.group_ranks[g] >= config.top_groups) {
        std::fill_n(scratch.keys + g * size, size, kNever);
      }
    }
  }
  moe_kernels::ranks(scratch.keys, E, scratch.ranks);
  int64_t count = 0;
  for (int64_t e = 0; e < E; ++e) {
    scratch.selected[count] = static_cast<int32_t>(e);
    count += scratch.ranks[e] < config.active ? 1 : 0;
  }
  std::copy_n(scratch.selected, config.active, selected);
}

// The number that the selected scores are divided by.
float divisor(const float* s, const int32_t* selected, const MoeConfig& config) {
  if (!config.norm_topk) return 1.0f;
  float sum = 0;
  for (int64_t a = 0; a < config.active; ++a) sum += s[selected[a]];
  return sum + 1e-20f;
}

// Sorts each chunk's slots by expert, then token. `next` [blocks, E] holds the blocks' counts and
// becomes each block's next row.
void sort_by_expert(Context& ctx, const Routing& r, int32_t* next) {
  const int64_t blocks = ceil_div(r.T, kBlock), per_chunk = r.chunk / kBlock;
  for (int64_t c = 0; c < r.chunks(); ++c) {
    int64_t* starts = r.starts + c * (r.E + 1);
    int32_t row = 0;
    for (int64_t e = 0; e < r.E; ++e) {
      starts[e] = row;
      for (int64_t b = c * per_chunk; b < std::min(blocks, (c + 1) * per_chunk); ++b) {
        const int32_t count = next[b * r.E + e];
        next[b * r.E + e] = row;
        row += count;
      }
    }
    starts[r.E] = row;
  }
  ctx.threads.parallel_for(r.T, kBlock, [&](int64_t begin, int64_t end) {
    int32_t* place = next + begin / kBlock * r.E;
    const int64_t first = begin / r.chunk * r.chunk * r.A;
    int32_t* tokens = r.tokens + first;
    float* row_weights = r.row_weights + first;
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t slot = t * r.A; slot < (t + 1) * r.A; ++slot) {
        const int32_t at = place[r.experts[slot]]++;
        r.rows[slot] = at;
        tokens[at] = static_cast<int32_t>(t);
        row_weights[at] = r.weights[slot];
      }
    }
  });
}

// The rows of a chunk go to the experts as evenly as they can, so that as many experts as possible have some.
void spread_evenly(const Routing& r) {
  for (int64_t c = 0; c < r.chunks(); ++c) {
    const int64_t rows = (std::min(r.T, (c + 1) * r.chunk) - c * r.chunk) * r.A;
    for (int64_t e = 0; e <= r.E; ++e) r.starts[c * (r.E + 1) + e] = ceil_div(rows * e, r.E);
  }
}

}  // namespace

// Tokens per chunk: few enough that a thread's share of the rows (x and its output, gate, up, h) fits
// its second-level cache, but so many that an expert sees at least 128 rows on average, which make
// loading its weights worthwhile.
int64_t moe_chunk_tokens(const Context& ctx, const MoeWeights& w) {
  constexpr int64_t kCacheFloats = int64_t{1} << 18;
  const int64_t A = w.config.active;
  const int64_t fitting =
      ctx.threads.size() * kCacheFloats / (A * (w.router.K() + 3 * w.experts[0].gate.N()));
  const int64_t tokens = std::max(fitting, 128 * w.config.experts / A);
  return ceil_div(tokens, kBlock) * kBlock;
}

void moe_route(Context& ctx, const MoeRoute& call) {
  const MoeConfig& config = call.w.config;
  const Routing& r = call.routing;
  const OpScope scope(ctx);
  int32_t* counts = ctx.arena.array<int32_t>(ceil_div(r.T, kBlock) * r.E);
  const int64_t stride = Scratch::size(r.E, config.groups);
  int32_t* room = ctx.arena.array<int32_t>(stride * ctx.threads.size());
  const float* bias = call.w.bias != nullptr ? call.w.bias->value.f32() : nullptr;
  matmul_into(ctx, call.x.f32(), r.T, call.w.router, r.scores);
  ctx.threads.parallel_for_thread(r.T, kBlock, [&](int64_t begin, int64_t end, int thread) {
    const Scratch scratch(room + thread * stride, r.E, config.groups);
    int32_t* count = counts + begin / kBlock * r.E;
    std::fill(count, count + r.E, 0);
    if (config.score == RouterScore::softmax) {
      moe_kernels::softmax(r.scores + begin * r.E, end - begin, r.E);
    } else {
      moe_kernels::sigmoid(r.scores + begin * r.E, (end - begin) * r.E);
    }
    for (int64_t t = begin; t < end; ++t) {
      const float* s = r.scores + t * r.E;
      int32_t* selected = r.experts + t * r.A;
      select(s, bias, config, scratch, selected);
      const float sum = divisor(s, selected, config);
      for (int64_t a = 0; a < r.A; ++a) {
        r.weights[t * r.A + a] = s[selected[a]] / sum * config.routed_scaling;
        ++count[selected[a]];
      }
    }
  });
  if (ctx.measuring) return spread_evenly(r);
  sort_by_expert(ctx, r, counts);
}

namespace {

// dz [E] = the gradient of one token's balance loss with respect to s [E].
void set_pull(const MoeConfig& config, const float* s, const float* pull, int64_t E, float* dz) {
  if (config.score == RouterScore::softmax) {  // p = s
    for (int64_t e = 0; e < E; ++e) dz[e] = pull[e];
    return;
  }
  // p = s / sum: ds = (pull - sum over e of pull p) / sum.
  float sum = 0, flow = 0;
  for (int64_t e = 0; e < E; ++e) sum += s[e];
  sum += 1e-20f;
  for (int64_t e = 0; e < E; ++e) flow = std::fma(pull[e], s[e] / sum, flow);
  for (int64_t e = 0; e < E; ++e) dz[e] = (pull[e] - flow) / sum;
}

// The gradient of s [E], in dz, becomes that of the logits.
void through_scores(const MoeConfig& config, const float* s, int64_t E, float* dz) {
  if (config.score == RouterScore::softmax) {
    float flow = 0;
    for (int64_t e = 0; e < E; ++e) flow = std::fma(dz[e], s[e], flow);
    for (int64_t e = 0; e < E; ++e) dz[e] = (dz[e] - flow) * s[e];
    return;
  }
  for (int64_t e = 0; e < E; ++e) dz[e] *= s[e] * (1.0f - s[e]);
}

}  // namespace

void route_backward(Context& ctx, const MoeConfig& config, const Routing& r, const float* drow,
                    const Balance& balance, float* dlogits) {
  ctx.threads.parallel_for(r.T, kBlock, [&](int64_t begin, int64_t end) {
    const int64_t first = begin / r.chunk * r.chunk * r.A;  // slot of the chunk's row 0
    for (int64_t t = begin; t < end; ++t) {
      const float* s = r.scores + t * r.E;
      float* dz = dlogits + t * r.E;  // holds the gradient of s until the last loop
      std::fill(dz, dz + r.E, 0.0f);
      if (balance.pull != nullptr) set_pull(config, s, balance.pull + balance.token_row[t] * r.E, r.E, dz);
      if (drow != nullptr) {
        // w = scaling * s / sum over the selected: ds = scaling * (dw - sum over a of dw s / sum) / sum.
        const int32_t* selected = r.experts + t * r.A;
        const int32_t* rows = r.rows + t * r.A;
        const float* dw = drow + first;
        const float sum = divisor(s, selected, config);
        float flow = 0;
        if (config.norm_topk) {
          for (int64_t a = 0; a < r.A; ++a) flow = std::fma(dw[rows[a]], s[selected[a]] / sum, flow);
        }
        for (int64_t a = 0; a < r.A; ++a) {
          dz[selected[a]] += (dw[rows[a]] - flow) / sum * config.routed_scaling;
        }
      }
      through_scores(config, s, r.E, dz);
    }
  });
}

}  // namespace r1::cpu
