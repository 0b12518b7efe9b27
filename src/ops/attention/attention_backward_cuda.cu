// ops/attention/attention_backward_cuda.cu: the backward of attention on a CUDA device, with the sums of
// backward_cpu.cc in its order.
//
//   delta_rows        delta[t, h], a half-warp each
//   slope_tiles       p and ds of a tile of query rows and keys
//   query_gradients   dq, a chain over keys
//   key_gradients     dk (of ds and q) and dv (of p and d_o), a chain over query rows
//
// The tokens of a family (a row and its children) follow each other, so the query rows that see a key are one
// range of tokens, heads inside. p and ds of as many tokens as fit kSlopeFloats are held at a time; the
// chains of keys go on from block to block. Two of the CPU's habits are kept, because they decide the sign of
// a zero and where a NaN goes: keys that only later rows of a tile of kTileRows see enter a row's dq as
// zeros, and so do rows that see a later key of the same strip of kKeyStrip keys enter dk and dv.
#include <cuda_runtime.h>

#include <algorithm>
#include <span>

#include "base/integers.h"
#include "ops/attention/attention_backend.h"
#include "ops/attention/chains_cuda.cuh"
#include "ops/attention/kernels_cpu.h"
#include "ops/attention/latent_attention_cuda.h"
#include "ops/attention/tensor_attention_cuda.h"
#include "ops/convert/convert.h"
#include "ops/simd/exp_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

using attention_detail::kKeyStrip;
using attention_detail::kTileRows;

constexpr int64_t kSlopeFloats = int64_t{1} << 26;  // of p, and of ds: 256 MiB each
constexpr int kThreads = 256;

// One token: its row of the batch, and where its p and ds [H, keys] lie, counted from the batch's first.
struct TokenPlace {
  int32_t first = 0, end = 0;  // tokens of its row
  int32_t prefix_first = 0, prefix = 0;
  int32_t family_end =
      0;               // the tokens that may see it: of its row, or of the whole family if it is a parent's
  int32_t stride = 0;  // floats of p per head
  int64_t slopes = 0;
};

// Query rows [row, row + rows) of a group, of the row of the batch that has token `token`; or keys at
// positions [row, row + rows) of it.
struct BackwardTile {
  int32_t token, g;
  int32_t row, rows;
};

struct BackwardJob {
  int64_t H, G, K, V, heads;
  float scale;
  const float *q, *k, *v, *out, *d_out, *maxima, *sums;
  float *delta, *p, *ds;
  const TokenPlace* places;  // [T]
  int64_t block, block_end;  // tokens whose p and ds are held
  int64_t slopes;            // where those of the block begin

  // The place in p of a query row.
  __device__ int64_t slope_of(const TokenPlace& at, int64_t head) const {
    return at.slopes - slopes + head * at.stride;
  }
  // The token of the key at a position of the row.
  static __device__ int64_t token_of(const TokenPlace& at, int64_t position) {
    return position < at.prefix ? at.prefix_first + position : at.first + position - at.prefix;
  }
};

__global__ void __launch_bounds__(kThreads) delta_rows(BackwardJob b, int64_t rows) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / kLanes) + threadIdx.x / kLanes;
  const int64_t n = row < rows ? b.V : 0, first = row * b.V;  // whole warps run: lanes exchange sums
  struct Pair {
    float o, g;
  };
  const float lane = fold<4>(
      0.0f, n,
      [&](int64_t i) {
        return Pair{b.out[first + i], b.d_out[first + i]};
      },
      [](float sum, Pair v) { return __fmaf_rn(v.o, v.g, sum); });
  const float sum = tree_sum(lane);
  if (row < rows && threadIdx.x % kLanes == 0) b.delta[row] = sum;
}

// One row of a tile, for the kernels of query rows.
struct QueryRow {
  int64_t index;     // in [T, H]
  int64_t slope;     // of its p and ds
  int32_t position;  // of its token
  int32_t end;       // keys below this one enter its dq
};

__device__ QueryRow query_row(const BackwardJob& b, const BackwardTile& t, const TokenPlace& row0, int r) {
  const int64_t row = t.row + r, token = row0.first + row / b.heads, head = t.g * b.heads + row % b.heads;
  const int64_t all = (row0.end - row0.first) * b.heads;
  const int64_t last = min(row / kTileRows * kTileRows + kTileRows, all) - 1;
  return {token * b.H + head, b.slope_of(b.places[token], head),
          static_cast<int32_t>(row0.prefix + row / b.heads),
          static_cast<int32_t>(row0.prefix + last / b.heads + 1)};
}

template <int kRows, int kCols>
__global__ void __launch_bounds__(kChainThreads) slope_tiles(BackwardJob b, const BackwardTile* tiles) {
  using Tile = ChainTile<kRows, kCols>;
  __shared__ Tile tile;
  __shared__ QueryRow rows[Tile::kTileRows];
  const BackwardTile t = tiles[blockIdx.x];
  const TokenPlace at = b.places[t.token];
  const int key0 = static_cast<int>(blockIdx.y) * Tile::kColumns;
  const int keys =
      at.prefix + static_cast<int>((t.row + t.rows - 1) / b.heads) + 1;  // that the last row sees
  if (key0 >= keys) return;
  const int columns = min(keys - key0, Tile::kColumns);
  for (int r = static_cast<int>(threadIdx.x); r < t.rows; r += kChainThreads)
    rows[r] = query_row(b, t, at, r);
  float scores[kRows][kCols], slopes[kRows][kCols];
  clear(scores);
  clear(slopes);
  const auto chains = [&](const float* left, const float* right, int64_t width, float(&sums)[kRows][kCols]) {
    const bool vectors = takes_vectors(left, width);
    const auto steps_of = [&](int64_t chunk) {
      return static_cast<int>(min(width - chunk * kStep, int64_t{kStep}));
    };
    Tile::for_chunks((width + kStep - 1) / kStep,
                     [&](int64_t chunk, int buffer) {
                       const int64_t k0 = chunk * kStep;
                       const int n = steps_of(chunk);
                       tile.fill_a(buffer, t.rows, n, vectors,
                                   [&](int r) { return left + rows[r].index * width + k0; });
                       tile.fill_b_transposed(buffer, n, columns, [&](int c) {
                         return right + (BackwardJob::token_of(at, key0 + c) * b.G + t.g) * width + k0;
                       });
                     },
                     [&](int64_t chunk, int buffer) { tile.run(buffer, steps_of(chunk), sums); });
  };
  chains(b.q, b.k, b.K, scores);
  chains(b.d_out, b.v, b.V, slopes);
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    if (Tile::row(i) >= t.rows) break;
    const QueryRow& row = rows[Tile::row(i)];
    const float max = b.maxima[row.index], inverse = __fdiv_rn(1.0f, b.sums[row.index]);
    const float delta = b.delta[row.index];
#pragma unroll
    for (int c = 0; c < kCols; ++c) {
      const int key = key0 + Tile::column(c);
      if (key > row.position) continue;
      const float score = b.scale != 1.0f ? __fmul_rn(scores[i][c], b.scale) : scores[i][c];
      const float p = __fmul_rn(exp_f32(__fsub_rn(score, max)), inverse);
      b.p[row.slope + key] = p;
      b.ds[row.slope + key] = __fmul_rn(__fmul_rn(p, __fsub_rn(slopes[i][c], delta)), b.scale);
    }
  }
}

template <int kRows, int kCols>
__global__ void __launch_bounds__(kChainThreads)
    query_gradients(BackwardJob b, const BackwardTile* tiles, float* dq, bool add) {
  using Tile = ChainTile<kRows, kCols>;
  __shared__ Tile tile;
  __shared__ QueryRow rows[Tile::kTileRows];
  const BackwardTile t = tiles[blockIdx.x];
  const TokenPlace at = b.places[t.token];
  const int64_t column0 = static_cast<int64_t>(blockIdx.y) * Tile::kColumns;
  const int columns = static_cast<int>(min(b.K - column0, int64_t{Tile::kColumns}));
  for (int r = static_cast<int>(threadIdx.x); r < t.rows; r += kChainThreads)
    rows[r] = query_row(b, t, at, r);
  __syncthreads();
  const int common = rows[0].end, most = rows[t.rows - 1].end;
  float sums[kRows][kCols];
  clear(sums);
  const bool vectors = takes_vectors(b.k, b.K);
  const auto keys_of = [&](int64_t chunk) { return min(most - static_cast<int>(chunk) * kStep, kStep); };
  Tile::for_chunks((most + kStep - 1) / kStep,
                   [&](int64_t chunk, int buffer) {
                     const int key0 = static_cast<int>(chunk) * kStep, n = keys_of(chunk);
                     tile.fill_a_by_step(buffer, t.rows, n, [&](int r, int k) {
                       return key0 + k <= rows[r].position ? b.ds + rows[r].slope + key0 + k : nullptr;
                     });
                     tile.fill_b(buffer, n, columns, vectors, [&](int k, int c) {
                       return b.k + (BackwardJob::token_of(at, key0 + k) * b.G + t.g) * b.K + column0 + c;
                     });
                   },
                   [&](int64_t chunk, int buffer) {
                     const int key0 = static_cast<int>(chunk) * kStep, n = keys_of(chunk);
                     if (key0 + n <= common) return tile.run(buffer, n, sums);
                     int first[kRows], end[kRows];
#pragma unroll
                     for (int i = 0; i < kRows; ++i) {
                       first[i] = 0;
                       end[i] = Tile::row(i) < t.rows ? rows[Tile::row(i)].end - key0 : 0;
                     }
                     tile.run_within(buffer, n, first, end, sums);
                   });
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    if (Tile::row(i) >= t.rows) break;
#pragma unroll
    for (int c = 0; c < kCols; ++c) {
      if (Tile::column(c) >= columns) continue;
      float* to = dq + rows[Tile::row(i)].index * b.K + column0 + Tile::column(c);
      *to = add ? __fadd_rn(*to, sums[i][c]) : sums[i][c];
    }
  }
}

// A query row of a family, counted from the first token of its first row.
struct QueryPlace {
  int64_t token;
  int head;  // of all H
  __device__ QueryPlace(const BackwardJob& b, const TokenPlace& family, int g, int row) {
    const auto heads = static_cast<int>(b.heads);
    token = family.first + row / heads;
    head = g * heads + row % heads;
  }
};

// sums [T, G, width] of the tile's keys continue with weights (p or ds) times values [T, H, width] of the
// block's query rows.
template <int kRows, int kCols>
__global__ void __launch_bounds__(kChainThreads)
    key_gradients(BackwardJob b, const BackwardTile* tiles, const float* weights, const float* values,
                  int64_t width, float* sums_of_keys) {
  using Tile = ChainTile<kRows, kCols>;
  __shared__ Tile tile;
  const BackwardTile t = tiles[blockIdx.x];
  const TokenPlace at = b.places[t.token];
  const int64_t column0 = static_cast<int64_t>(blockIdx.y) * Tile::kColumns;
  const int columns = static_cast<int>(min(width - column0, int64_t{Tile::kColumns}));
  // Query rows count from the row's first token. A key's chain begins with the first row that sees its strip.
  const auto begin_of = [&](int key) {
    const int64_t token = (t.row + key) / kKeyStrip * kKeyStrip - at.prefix;
    return max(token, int64_t{0}) * b.heads;
  };
  const int64_t block_begin = max(b.block - at.first, int64_t{0}) * b.heads;
  const int64_t end = (min(int64_t{at.family_end}, b.block_end) - at.first) * b.heads;
  const int64_t begin = max(begin_of(0), block_begin), all_begin = begin_of(t.rows - 1);
  if (begin >= end) return;
  const auto place = [&](int i, int c) {
    const int64_t token = BackwardJob::token_of(at, t.row + Tile::row(i));
    return sums_of_keys + (token * b.G + t.g) * width + column0 + Tile::column(c);
  };
  float sums[kRows][kCols];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int c = 0; c < kCols; ++c)
      sums[i][c] = Tile::row(i) < t.rows && Tile::column(c) < columns ? *place(i, c) : 0.0f;
  }
  const bool vectors = takes_vectors(values, width);
  const auto rows_of = [&](int64_t chunk) {
    return static_cast<int>(min(end - begin - chunk * kStep, int64_t{kStep}));
  };
  Tile::for_chunks(
      (end - begin + kStep - 1) / kStep,
      [&](int64_t chunk, int buffer) {
        const int64_t row0 = begin + chunk * kStep;
        const int n = rows_of(chunk);
        tile.fill_a_by_step(buffer, t.rows, n, [&](int key, int k) -> const float* {
          const QueryPlace query(b, at, t.g, static_cast<int>(row0) + k);
          const TokenPlace& place = b.places[query.token];
          if (t.row + key > place.prefix + query.token - place.first) return nullptr;
          return weights + b.slope_of(place, query.head) + t.row + key;
        });
        tile.fill_b(buffer, n, columns, vectors, [&](int k, int c) {
          const QueryPlace query(b, at, t.g, static_cast<int>(row0) + k);
          return values + (query.token * b.H + query.head) * width + column0 + c;
        });
      },
      [&](int64_t chunk, int buffer) {
        const int64_t row0 = begin + chunk * kStep;
        const int n = rows_of(chunk);
        if (row0 >= all_begin) return tile.run(buffer, n, sums);
        int first[kRows], stop[kRows];
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          first[i] = static_cast<int>(min(max(begin_of(Tile::row(i)) - row0, int64_t{0}), int64_t{kStep}));
          stop[i] = Tile::row(i) < t.rows ? kStep : 0;
        }
        tile.run_within(buffer, n, first, stop, sums);
      });
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int c = 0; c < kCols; ++c) {
      if (Tile::row(i) < t.rows && Tile::column(c) < columns) *place(i, c) = sums[i][c];
    }
  }
}

__global__ void __launch_bounds__(kThreads) add_values(const float* from, int64_t n, float* to) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += step)
    to[i] = __fadd_rn(to[i], from[i]);
}

// A block of tokens and its tiles.
struct TokenBlock {
  int64_t begin = 0, end = 0;  // tokens
  int64_t slopes = 0;
  int64_t first_tile = 0, tiles = 0;
  int64_t keys = 0;  // the most that a token of the block sees
};

// The batch's lists, made on the host.
struct BackwardLists {
  std::span<TokenPlace> places;
  std::span<BackwardTile> query_tiles, key_tiles;
  std::span<TokenBlock> blocks;
  int64_t most_slopes = 0;  // floats of the largest block
};

constexpr int64_t kTile = 32;  // rows, and keys

void place_tokens(const AttentionBackward& call, int64_t H, std::span<TokenPlace> places) {
  int64_t slopes = 0;
  for (int64_t s = 0; s < call.S; ++s) {
    const int32_t first = call.offsets[s], end = call.offsets[s + 1];
    const int32_t parent = call.parents == nullptr ? -1 : call.parents[s];
    TokenPlace at{.first = first, .end = end, .family_end = end};
    if (parent >= 0) {
      at.prefix_first = call.offsets[parent];
      at.prefix = call.offsets[parent + 1] - at.prefix_first;
    }
    for (int64_t next = s + 1; next < call.S && call.parents != nullptr && call.parents[next] == s; ++next)
      at.family_end = call.offsets[next + 1];
    at.stride = static_cast<int32_t>(ceil_div(at.prefix + end - first, kTile) * kTile);
    for (int32_t t = first; t < end; ++t, slopes += H * at.stride) {
      at.slopes = slopes;
      places[static_cast<size_t>(t)] = at;
    }
  }
}

// Cuts the tokens into blocks, and their query rows into tiles.
void cut_queries(Context& ctx, const AttentionBackward& call, BackwardLists& lists) {
  const int64_t T = call.q.dim(0), H = call.q.dim(1), G = call.k.dim(1), heads = H / G;
  const int64_t most = T * G * (heads / kTile + 2);
  auto* tiles = ctx.host().array<BackwardTile>(most);
  auto* blocks = ctx.host().array<TokenBlock>(T);
  int64_t count = 0, block_count = 0;
  for (int64_t begin = 0, end = 0; begin < T; begin = end) {
    TokenBlock block{.begin = begin, .slopes = lists.places[static_cast<size_t>(begin)].slopes};
    block.first_tile = count;
    while (end < T) {
      const TokenPlace& at = lists.places[static_cast<size_t>(end)];
      const int64_t each = H * at.stride, used = at.slopes - block.slopes;
      const int64_t fit = std::max<int64_t>((kSlopeFloats - used) / each, end == begin ? 1 : 0);
      if (fit == 0) break;
      const int64_t stop = std::min<int64_t>(at.end, end + fit);  // tokens of this row
      lists.most_slopes = std::max(lists.most_slopes, used + (stop - end) * each);
      const int64_t row = (end - at.first) * heads, rows = (stop - at.first) * heads;
      for (int64_t g = 0; g < G; ++g) {
        for (int64_t r = row; r < rows; r += kTile)
          tiles[count++] = {static_cast<int32_t>(end), static_cast<int32_t>(g), static_cast<int32_t>(r),
                            static_cast<int32_t>(std::min(kTile, rows - r))};
      }
      block.keys = std::max<int64_t>(block.keys, at.prefix + stop - at.first);
      end = stop;
    }
    block.end = end;
    block.tiles = count - block.first_tile;
    blocks[block_count++] = block;
  }
  R1_CHECK(count <= most, count, " tiles of ", most);
  lists.query_tiles = {tiles, static_cast<size_t>(count)};
  lists.blocks = {blocks, static_cast<size_t>(block_count)};
}

// Cuts the keys of every row of the batch into tiles, which count from position 0.
void cut_keys(Context& ctx, const AttentionBackward& call, BackwardLists& lists) {
  const int64_t T = call.q.dim(0), G = call.k.dim(1), most = (T / kTile + 2 * call.S) * G;
  auto* tiles = ctx.host().array<BackwardTile>(most);
  int64_t count = 0;
  for (int64_t t = 0; t < T; t = lists.places[static_cast<size_t>(t)].end) {
    const TokenPlace& at = lists.places[static_cast<size_t>(t)];
    const int64_t last = at.prefix + at.end - at.first;
    for (int64_t g = 0; g < G; ++g) {
      for (int64_t key = at.prefix, next = 0; key < last; key = next) {
        next = std::min((key / kTile + 1) * kTile, last);
        tiles[count++] = {static_cast<int32_t>(t), static_cast<int32_t>(g), static_cast<int32_t>(key),
                          static_cast<int32_t>(next - key)};
      }
    }
  }
  R1_CHECK(count <= most, count, " tiles of ", most);
  lists.key_tiles = {tiles, static_cast<size_t>(count)};
}

BackwardLists make_lists(Context& ctx, const AttentionBackward& call) {
  const int64_t T = call.q.dim(0);
  BackwardLists lists;
  lists.places = {ctx.host().array<TokenPlace>(T), static_cast<size_t>(T)};
  place_tokens(call, call.q.dim(1), lists.places);
  cut_queries(ctx, call, lists);
  cut_keys(ctx, call, lists);
  return lists;
}

// The gradient of keys or values: its memory while chains run, and the slot that it goes to.
struct KeySums {
  const GradSlot& slot;
  float* sums = nullptr;  // the slot's memory, or scratch if the sums are added to it
  KeySums(Context& ctx, const GradSlot& of) : slot(of) {
    if (!slot) return;
    sums = slot.accumulate ? ctx.arena.array<float>(slot.grad.count()) : slot.grad.f32();
    if (!ctx.measuring) ctx.memory().zero(sums, slot.grad.bytes(), ctx.stream);
  }
  void put(Context& ctx) const {
    if (!slot || !slot.accumulate) return;
    const int64_t n = slot.grad.count();
    const int64_t blocks = std::min(ceil_div(n, kThreads), int64_t{multiprocessors()} * 32);
    add_values<<<static_cast<unsigned>(blocks), kThreads, 0, static_cast<cudaStream_t>(ctx.stream)>>>(
        sums, n, slot.grad.f32());
    check_launch("attention gradients");
  }
};

void run_block(const BackwardJob& b, const TokenBlock& block, const BackwardTile* query_tiles,
               const BackwardTile* key_tiles, unsigned key_count, const GradSlot& dq, float* dk, float* dv,
               cudaStream_t stream) {
  constexpr int kRows = 8, kSlopeCols = 2, kCols = 4;
  const auto across = [](int64_t width, int64_t columns) {
    return static_cast<unsigned>(ceil_div(width, 32 * columns));
  };
  const auto count = static_cast<unsigned>(block.tiles);
  const BackwardTile* tiles = query_tiles + block.first_tile;
  slope_tiles<kRows, kSlopeCols>
      <<<dim3(count, across(block.keys, kSlopeCols)), kChainThreads, 0, stream>>>(b, tiles);
  check_launch("attention slopes");
  if (dq) {
    query_gradients<kRows, kCols><<<dim3(count, across(b.K, kCols)), kChainThreads, 0, stream>>>(
        b, tiles, dq.grad.f32(), dq.accumulate);
    check_launch("attention dq");
  }
  if (dv != nullptr) {
    key_gradients<kRows, kCols><<<dim3(key_count, across(b.V, kCols)), kChainThreads, 0, stream>>>(
        b, key_tiles, b.p, b.d_out, b.V, dv);
    check_launch("attention dv");
  }
  if (dk != nullptr) {
    key_gradients<kRows, kCols>
        <<<dim3(key_count, across(b.K, kCols)), kChainThreads, 0, stream>>>(b, key_tiles, b.ds, b.q, b.K, dk);
    check_launch("attention dk");
  }
}

}  // namespace

bool values_gradient_in_keys(const Context&, const KvPages& pages) {
  return latents_on_tensor_cores(pages);
}

void attention_backward(Context& ctx, const AttentionBackward& call) {
  if (latents_on_tensor_cores(call.pages)) return latent_attention_backward(ctx, call);
  if (on_tensor_cores(call.pages)) return tensor_attention_backward(ctx, call);
  const OpScope scope(ctx);
  const int64_t T = call.q.dim(0);
  BackwardJob b{};
  b.H = call.q.dim(1), b.G = call.k.dim(1), b.K = call.k.dim(2), b.V = call.v.dim(2);
  b.heads = b.H / b.G;
  b.scale = call.scale;
  b.q = as_f32(ctx, call.q), b.k = as_f32(ctx, call.k), b.v = as_f32(ctx, call.v);
  b.out = call.saved.out.f32(), b.d_out = call.d_out.f32();
  b.maxima = call.saved.maxima, b.sums = call.saved.sums;
  const BackwardLists lists = make_lists(ctx, call);
  Upload upload(ctx);
  const int places = upload.add(std::span<const TokenPlace>(lists.places));
  const int query_tiles = upload.add(std::span<const BackwardTile>(lists.query_tiles));
  const int key_tiles = upload.add(std::span<const BackwardTile>(lists.key_tiles));
  upload.send();
  b.places = upload.at<TokenPlace>(places);
  b.delta = ctx.arena.array<float>(T * b.H);
  b.p = ctx.arena.array<float>(lists.most_slopes);
  b.ds = ctx.arena.array<float>(lists.most_slopes);
  const KeySums dk(ctx, call.dk), dv(ctx, call.dv);
  if (ctx.measuring || T == 0) return;
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  const int64_t rows = T * b.H;
  delta_rows<<<static_cast<unsigned>(ceil_div(rows, kThreads / kLanes)), kThreads, 0, stream>>>(b, rows);
  check_launch("attention delta");
  for (const TokenBlock& block : lists.blocks) {
    b.block = block.begin;
    b.block_end = block.end;
    b.slopes = block.slopes;
    run_block(b, block, upload.at<BackwardTile>(query_tiles), upload.at<BackwardTile>(key_tiles),
              static_cast<unsigned>(lists.key_tiles.size()), call.dq, dk.sums, dv.sums, stream);
  }
  dk.put(ctx);
  dv.put(ctx);
}

}  // namespace r1::cuda
