// ops/attention/attention_cuda.cu: the forward of attention on a CUDA device.
//
// Query rows of one (row of the batch, group) are cut into tiles: row r is head r % (H / G) of token r / (H /
// G), as in kernels_cpu.h. Four kernels run one after the other:
//
//   write_pages   puts new keys and values into their pages
//   score_tiles   scores [rows, keys] of a tile, a chain over K each
//   softmax_rows  a warp per row: maximum, exps in place of the scores, their sum in 32 lanes
//   value_tiles   outputs [rows, V], a chain over the row's keys each, divided by the sum
//
// Scores of as many tiles as fit kScoreFloats are held at a time. Company in a tile changes no bit. In
// cuda-bf16, activations and pages are bf16, widened as they are read; everything between is f32.
#include <cuda_runtime.h>

#include <algorithm>
#include <span>

#include "base/integers.h"
#include "ops/attention/attention_backend.h"
#include "ops/attention/chains_cuda.cuh"
#include "ops/attention/decode_cuda.h"
#include "ops/attention/latent_attention_cuda.h"
#include "ops/attention/tensor_attention_cuda.h"
#include "ops/attention/tensor_attention_sm90.h"
#include "ops/attention/tensor_decode_cuda.h"
#include "ops/simd/exp_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

static_assert(kStep == kKeyTile);
constexpr int64_t kScoreFloats = int64_t{1} << 26;  // 256 MiB
constexpr int kThreads = 256;

// Rows [row, row + rows) of one group g of row s of the batch.
struct RowTile {
  int32_t s, g;
  int32_t row, rows;
  int32_t keys;    // that the last row sees
  int32_t pages;   // that hold them; a row of scores is pages * 32 floats
  int64_t scores;  // where they lie in the scratch
};

// Slot `slot` of page `page` receives token `token`.
struct PageWrite {
  int32_t token, page, slot;
};

// A page; slots below `split` lie in another one, where the prefix ends.
template <class V>
struct PageParts {
  const V* own;
  const V* tail;
  int split;
  __device__ const V* of(int slot) const { return slot < split ? tail : own; }
};

// V: the elements of activations and pages, f32 or bf16.
template <class V>
struct ForwardJob {
  int64_t H, G, K, width, heads;  // width: of a value; heads: per group
  float scale;
  const V *q, *k, *v;
  V* out;
  float *unrounded, *maxima, *sums;  // the first two may be null
  V* pages;
  int64_t page_elements;
  bool values_in_keys;
  int64_t values_at, value_row;  // in a page: where values begin, and the stride between those of two keys
  // Lists of the batch, on the device. prefixes and tails may be null.
  const int32_t *offsets, *positions, *table, *tails;
  const int64_t* prefixes;
  int64_t max_pages;
  const RowTile* tiles;
  float* scores;

  __device__ int64_t index(const RowTile& t, int r) const {  // in [T, H]
    const int64_t row = t.row + r;
    return (offsets[t.s] + row / heads) * H + t.g * heads + row % heads;
  }
  __device__ int keys(const RowTile& t, int r) const {
    return positions[offsets[t.s]] + static_cast<int>((t.row + r) / heads) + 1;
  }
  // Where the keys and values of a sequence's page number `page` lie.
  __device__ PageParts<V> parts(int64_t s, int64_t page) const {
    PageParts<V> p{pages + table[s * max_pages + page] * page_elements, nullptr, 0};
    if (tails != nullptr && tails[s] >= 0 && page == prefixes[s] / kKeyTile) {
      p.tail = pages + tails[s] * page_elements;
      p.split = static_cast<int>(prefixes[s] % kKeyTile);
    }
    return p;
  }
};

template <class V>
__global__ void __launch_bounds__(kChainThreads) write_pages(ForwardJob<V> f, const PageWrite* list) {
  const PageWrite write = list[blockIdx.x];
  if (write.page < 0) return;
  const int64_t g = blockIdx.y, slot = write.slot;
  V* page = f.pages + write.page * f.page_elements;
  const V* key = f.k + (write.token * f.G + g) * f.K;
  if (f.values_in_keys) {
    for (int64_t i = threadIdx.x; i < f.K; i += kChainThreads) page[(g * kKeyTile + slot) * f.K + i] = key[i];
    return;
  }
  for (int64_t i = threadIdx.x; i < f.K; i += kChainThreads) page[(g * f.K + i) * kKeyTile + slot] = key[i];
  const V* value = f.v + (write.token * f.G + g) * f.width;
  V* values = page + f.values_at + (g * kKeyTile + slot) * f.width;
  for (int64_t i = threadIdx.x; i < f.width; i += kChainThreads) values[i] = value[i];
}

template <int kRows, int kCols, class V>
__global__ void __launch_bounds__(kChainThreads) score_tiles(ForwardJob<V> f) {
  using Tile = ChainTile<kRows, kCols>;
  __shared__ Tile tile;
  __shared__ int64_t queries[Tile::kTileRows];
  __shared__ PageParts<V> parts[kCols];
  const RowTile t = f.tiles[blockIdx.x];
  const int page0 = static_cast<int>(blockIdx.y) * kCols, key0 = page0 * kKeyTile;
  if (page0 >= t.pages) return;
  const int columns = min(t.keys - key0, Tile::kColumns);
  for (int r = static_cast<int>(threadIdx.x); r < t.rows; r += kChainThreads)
    queries[r] = f.index(t, r) * f.K;
  const int held = min(t.pages - page0, kCols);
  if (threadIdx.x < held) parts[threadIdx.x] = f.parts(t.s, page0 + static_cast<int>(threadIdx.x));
  __syncthreads();
  bool whole = true;  // no page is split
  for (int p = 0; p < held; ++p) whole = whole && parts[p].split == 0;
  const bool vectors = takes_vectors(f.q, f.K), page_vectors = takes_vectors<V>(f.pages, f.page_elements);
  float sums[kRows][kCols];
  clear(sums);
  const auto steps_of = [&](int64_t chunk) {
    return static_cast<int>(min(f.K - chunk * kStep, int64_t{kStep}));
  };
  const auto fill = [&](int64_t chunk, int at) {
    const int64_t k0 = chunk * kStep;
    const int n = steps_of(chunk);
    tile.fill_a(at, t.rows, n, vectors, [&](int r) { return f.q + queries[r] + k0; });
    const auto key_at = [&](int k, int c) {
      const int slot = c % static_cast<int>(kKeyTile);
      return parts[c / kKeyTile].of(slot) + (t.g * f.K + k0 + k) * kKeyTile + slot;
    };
    if (f.values_in_keys) {
      tile.fill_b_transposed(at, n, columns, [&](int c) {
        const int slot = c % static_cast<int>(kKeyTile);
        return parts[c / kKeyTile].of(slot) + (t.g * kKeyTile + slot) * f.K + k0;
      });
    } else if (whole) {
      tile.fill_b(at, n, columns, page_vectors, key_at);
    } else {
      tile.fill_b_singly(at, n, columns, key_at);
    }
  };
  Tile::for_chunks((f.K + kStep - 1) / kStep, fill,
                   [&](int64_t chunk, int at) { tile.run(at, steps_of(chunk), sums); });
  const int64_t stride = t.pages * kKeyTile;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int r = Tile::row(i);
    if (r >= t.rows) break;
#pragma unroll
    for (int c = 0; c < kCols; ++c) {
      const int column = Tile::column(c);
      if (column >= columns) continue;
      const float score = f.scale != 1.0f ? __fmul_rn(sums[i][c], f.scale) : sums[i][c];
      f.scores[t.scores + r * stride + key0 + column] = score;
    }
  }
}

template <class V>
__global__ void __launch_bounds__(kThreads) softmax_rows(ForwardJob<V> f) {
  const RowTile t = f.tiles[blockIdx.x];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int r = static_cast<int>(threadIdx.x) / 32; r < t.rows; r += kThreads / 32) {
    float* row = f.scores + t.scores + r * static_cast<int64_t>(t.pages * kKeyTile);
    const int keys = f.keys(t, r);
    float max = -__builtin_huge_valf();
    for (int j = lane; j < keys; j += 32) max = fmaxf(max, row[j]);
    max = warp_max(max);
    float sum = 0.0f;
    for (int j = lane; j < keys; j += 32) {
      const float e = exp_f32(__fsub_rn(row[j], max));
      row[j] = e;
      sum = __fadd_rn(sum, e);
    }
    sum = warp_tree_sum(sum);
    if (lane != 0) continue;
    const int64_t at = f.index(t, r);
    f.sums[at] = sum;
    if (f.maxima != nullptr) f.maxima[at] = max;
  }
}

template <int kRows, int kCols, class V>
__global__ void __launch_bounds__(kChainThreads) value_tiles(ForwardJob<V> f) {
  using Tile = ChainTile<kRows, kCols>;
  __shared__ Tile tile;
  const RowTile t = f.tiles[blockIdx.x];
  const int64_t column0 = static_cast<int64_t>(blockIdx.y) * Tile::kColumns;
  const int columns = static_cast<int>(min(f.width - column0, int64_t{Tile::kColumns}));
  const int64_t stride = t.pages * kKeyTile, group = f.values_at + t.g * kKeyTile * f.value_row + column0;
  const int common = f.keys(t, 0);  // keys that all rows see
  float sums[kRows][kCols];
  clear(sums);
  const bool vectors = takes_vectors<V>(f.pages, f.page_elements) && f.value_row % 4 == 0 && group % 4 == 0;
  const auto keys_of = [&](int64_t page) { return min(t.keys - static_cast<int>(page) * kStep, kStep); };
  Tile::for_chunks(
      t.pages,
      [&](int64_t page, int at) {
        const int n = keys_of(page);
        const PageParts<V> parts = f.parts(t.s, page);
        tile.fill_a(at, t.rows, n, true,
                    [&](int r) { return f.scores + t.scores + r * stride + page * kKeyTile; });
        tile.fill_b(at, n, columns, vectors,
                    [&](int k, int c) { return parts.of(k) + group + k * f.value_row + c; });
      },
      [&](int64_t page, int at) {
        const int key0 = static_cast<int>(page) * kStep, n = keys_of(page);
        if (key0 + n <= common) return tile.run(at, n, sums);
        int first[kRows], end[kRows];
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          first[i] = 0;
          end[i] = Tile::row(i) < t.rows ? f.keys(t, Tile::row(i)) - key0 : 0;
        }
        tile.run_within(at, n, first, end, sums);
      });
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int r = Tile::row(i);
    if (r >= t.rows) break;
    const int64_t at = f.index(t, r);
    const float sum = f.sums[at];
#pragma unroll
    for (int c = 0; c < kCols; ++c) {
      if (Tile::column(c) >= columns) continue;
      const int64_t to = at * f.width + column0 + Tile::column(c);
      const float out = __fdiv_rn(sums[i][c], sum);
      put_f32(f.out + to, out);
      if (f.unrounded != nullptr) f.unrounded[to] = out;
    }
  }
}

// The places of all new tokens.
std::span<const PageWrite> page_writes(Context& ctx, const Batch& batch) {
  auto* list = ctx.host().array<PageWrite>(batch.T());
  size_t count = 0;
  for (int64_t s = 0; s < batch.S(); ++s) {
    const int32_t* table = batch.pages.data() + s * batch.max_pages;
    const int32_t end = batch.offsets[static_cast<size_t>(s) + 1];
    for (int32_t t = batch.offsets[static_cast<size_t>(s)]; t < end; ++t) {
      const int32_t position = batch.positions[static_cast<size_t>(t)];
      list[count++] = {t, table[position / kKeyTile], static_cast<int32_t>(position % kKeyTile)};
    }
  }
  return {list, count};
}

// Cuts every (row, group) into tiles of `height` rows. A tile's scores follow those of the tile before it as
// long as they fit the scratch, and begin at 0 otherwise.
std::span<const RowTile> row_tiles(Context& ctx, const Batch& batch, int64_t heads, int64_t G,
                                   int64_t height) {
  int64_t count = 0;
  for (int64_t s = 0; s < batch.S(); ++s) {
    const auto at = static_cast<size_t>(s);
    count += G * ceil_div((batch.offsets[at + 1] - batch.offsets[at]) * heads, height);
  }
  auto* list = ctx.host().array<RowTile>(count);
  int64_t next = 0, scores = 0;
  for (int64_t s = 0; s < batch.S(); ++s) {
    const int64_t begin = batch.offsets[static_cast<size_t>(s)],
                  all = (batch.offsets[static_cast<size_t>(s) + 1] - begin) * heads;
    for (int64_t g = 0; g < G && all > 0; ++g) {
      for (int64_t row = 0; row < all; row += height) {
        const int64_t rows = std::min(height, all - row);
        const int64_t keys = batch.positions[static_cast<size_t>(begin)] + (row + rows - 1) / heads + 1;
        const int64_t pages = ceil_div(keys, kKeyTile), floats = rows * pages * kKeyTile;
        if (scores > 0 && scores + floats > kScoreFloats) scores = 0;
        list[next++] = {static_cast<int32_t>(s),
                        static_cast<int32_t>(g),
                        static_cast<int32_t>(row),
                        static_cast<int32_t>(rows),
                        static_cast<int32_t>(keys),
                        static_cast<int32_t>(pages),
                        scores};
        scores += floats;
      }
    }
  }
  return {list, static_cast<size_t>(next)};
}

template <int kRows, int kScoreCols, int kValueCols, class V>
void launch_tiles(const ForwardJob<V>& f, unsigned tiles, int64_t pages, cudaStream_t stream) {
  const dim3 scores(tiles, static_cast<unsigned>(ceil_div(pages, int64_t{kScoreCols})));
  score_tiles<kRows, kScoreCols><<<scores, kChainThreads, 0, stream>>>(f);
  check_launch("attention scores");
  softmax_rows<<<tiles, kThreads, 0, stream>>>(f);
  check_launch("attention softmax");
  const dim3 values(tiles, static_cast<unsigned>(ceil_div(f.width, int64_t{32 * kValueCols})));
  value_tiles<kRows, kValueCols><<<values, kChainThreads, 0, stream>>>(f);
  check_launch("attention values");
}

// Tiles of 32 rows for many rows, of 8 rows with narrow blocks for decoding.
constexpr int64_t kTallTile = 32, kFlatTile = 8;

template <class V>
void run_tiles(const ForwardJob<V>& all, std::span<const RowTile> tiles, int64_t height, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  for (size_t first = 0, end = 0; first < tiles.size(); first = end) {
    int64_t pages = 0;
    do pages = std::max<int64_t>(pages, tiles[end++].pages);
    while (end < tiles.size() && tiles[end].scores > 0);
    ForwardJob<V> f = all;
    f.tiles += first;
    const auto count = static_cast<unsigned>(end - first);
    if (height == kTallTile) {
      launch_tiles<8, 4, 4>(f, count, pages, s);
    } else {
      launch_tiles<2, 1, 1>(f, count, pages, s);
    }
  }
}

template <class V>
ForwardJob<V> forward_job(const AttentionForward& call) {
  const KvPages& pages = call.pages;
  ForwardJob<V> f{};
  f.H = call.q.dim(1), f.G = pages.G, f.K = pages.K, f.width = pages.V;
  f.heads = f.H / f.G;
  f.scale = call.scale;
  f.q = static_cast<const V*>(call.q.data), f.k = static_cast<const V*>(call.k.data);
  f.v = static_cast<const V*>(call.v.data), f.out = static_cast<V*>(call.out.data);
  f.maxima = call.saved.maxima, f.sums = call.saved.sums;
  // A training's backward reads the output before it is rounded.
  if (call.out.dtype == DType::bf16 && call.saved.out) f.unrounded = call.saved.out.f32();
  f.pages = static_cast<V*>(pages.data);
  f.page_elements = pages.page_elements();
  f.values_in_keys = pages.values_in_keys;
  f.values_at = pages.values_in_keys ? 0 : pages.G * pages.K * kKeyTile;
  f.value_row = pages.values_in_keys ? pages.K : pages.V;
  f.max_pages = call.batch.max_pages;
  return f;
}

// A warp makes a tile of a decoding step: `height` heads of one group of one row, or those that are left. Tiles of
// one launch have scratch side by side. A row at position -1 has an empty tile, and its output is 0.
template <class V>
__global__ void __launch_bounds__(32) make_decoding_tiles(ForwardJob<V> f, int64_t height, int64_t per_launch,
                                                          RowTile* tiles, PageWrite* writes) {
  const int64_t at = blockIdx.x, parts = (f.heads + height - 1) / height, s = at / (f.G * parts),
                g = at / parts % f.G, first = at % parts * height;
  const int position = f.positions[s];
  const int64_t heads = min(height, f.heads - first);
  if (position < 0) {
    V* out = f.out + (s * f.H + g * f.heads + first) * f.width;
    for (int64_t i = threadIdx.x; i < heads * f.width; i += 32) put_f32(out + i, 0.0f);
  }
  if (threadIdx.x != 0) return;
  RowTile tile{};
  tile.s = static_cast<int32_t>(s), tile.g = static_cast<int32_t>(g), tile.row = static_cast<int32_t>(first);
  tile.rows = position < 0 ? 0 : static_cast<int32_t>(heads);
  tile.keys = position + 1;
  tile.pages = (position + kStep) / kStep;
  tile.scores = at % per_launch * height * f.max_pages * kStep;
  tiles[at] = tile;
  if (at % (f.G * parts) == 0)
    writes[s] = {static_cast<int32_t>(s), position < 0 ? -1 : f.table[s * f.max_pages + position / kStep],
                 static_cast<int32_t>(position % kStep)};
}

// Attention of a decoding step by the kernels above, whose lists are made on the device: launches do not depend
// on the rows' lengths.
template <class V>
void run_decoding(Context& ctx, ForwardJob<V> f, const DecodeLists& lists, bool write) {
  const int64_t height = f.heads > kFlatTile ? kTallTile : kFlatTile,
                count = lists.S * f.G * ceil_div(f.heads, height), each = height * lists.max_pages * kStep,
                per_launch = std::clamp<int64_t>(kScoreFloats / each, 1, count);
  auto* tiles = ctx.arena.array<RowTile>(count);
  auto* writes = ctx.arena.array<PageWrite>(lists.S);
  f.scores = ctx.arena.array<float>(per_launch * each);
  if (f.sums == nullptr) f.sums = ctx.arena.array<float>(lists.S * f.H);
  if (ctx.measuring) return;
  const auto s = static_cast<cudaStream_t>(ctx.stream);
  make_decoding_tiles<<<static_cast<unsigned>(count), 32, 0, s>>>(f, height, per_launch, tiles, writes);
  check_launch("attention tiles");
  if (write) {
    write_pages<<<dim3(static_cast<unsigned>(lists.S), static_cast<unsigned>(f.G)), kChainThreads, 0, s>>>(
        f, writes);
    check_launch("attention pages");
  }
  for (int64_t first = 0; first < count; first += per_launch) {
    f.tiles = tiles + first;
    const auto tiles_here = static_cast<unsigned>(std::min(per_launch, count - first));
    if (height == kTallTile) {
      launch_tiles<8, 4, 4>(f, tiles_here, lists.max_pages, s);
    } else {
      launch_tiles<2, 1, 1>(f, tiles_here, lists.max_pages, s);
    }
  }
}

// Returns false if the batch does not consist of rows of one token each.
template <class V>
bool run_decoding(Context& ctx, const AttentionForward& call) {
  if (!decodes(call.batch)) return false;
  const OpScope scope(ctx);
  const DecodeLists lists = decode_lists(ctx, call.batch);
  const bool write = static_cast<bool>(call.k);
  ForwardJob<V> f = forward_job<V>(call);
  f.positions = lists.positions, f.table = lists.table, f.tails = lists.tails, f.prefixes = lists.prefixes;
  f.offsets = on_device(ctx, call.batch.offsets);
  if (!write && has_decode_rows(call)) {
    decode_rows(ctx, call, lists);
  } else {
    run_decoding(ctx, f, lists, write);
  }
  return true;
}

template <class V>
void run_forward(Context& ctx, const AttentionForward& call) {
  if (run_decoding<V>(ctx, call)) return;
  const OpScope scope(ctx);
  const Batch& batch = call.batch;
  ForwardJob<V> f = forward_job<V>(call);
  int64_t longest = 0;
  for (int64_t s = 0; s < batch.S(); ++s)
    longest = std::max<int64_t>(
        longest, batch.offsets[static_cast<size_t>(s) + 1] - batch.offsets[static_cast<size_t>(s)]);
  const int64_t height = longest * f.heads > kFlatTile ? kTallTile : kFlatTile;
  const std::span<const PageWrite> writes = page_writes(ctx, batch);
  const std::span<const RowTile> tiles = row_tiles(ctx, batch, f.heads, f.G, height);
  Upload lists(ctx);
  const int offsets = lists.add(batch.offsets), positions = lists.add(batch.positions),
            table = lists.add(batch.pages), write_list = lists.add(writes), tile_list = lists.add(tiles);
  const int prefixes = lists.add(batch.prefixes), tails = lists.add(batch.tails);
  lists.send();
  int64_t floats = 0;
  for (const RowTile& t : tiles) floats = std::max(floats, t.scores + t.rows * t.pages * kKeyTile);
  f.scores = ctx.arena.array<float>(floats);
  if (f.sums == nullptr) f.sums = ctx.arena.array<float>(batch.T() * f.H);
  if (ctx.measuring || tiles.empty()) return;
  f.offsets = lists.at<int32_t>(offsets);
  f.positions = lists.at<int32_t>(positions);
  f.table = lists.at<int32_t>(table);
  f.tiles = lists.at<RowTile>(tile_list);
  if (!batch.prefixes.empty()) {
    f.prefixes = lists.at<int64_t>(prefixes);
    f.tails = lists.at<int32_t>(tails);
  }
  const dim3 grid(static_cast<unsigned>(writes.size()), static_cast<unsigned>(f.G));
  write_pages<<<grid, kChainThreads, 0, static_cast<cudaStream_t>(ctx.stream)>>>(
      f, lists.at<PageWrite>(write_list));
  check_launch("attention pages");
  run_tiles(f, tiles, height, ctx.stream);
}

// Tokens [token, token + count) of the batch go to slots from `slot` on of one page.
struct PageSpan {
  int32_t token, page, slot, count;
};

std::span<const PageSpan> page_spans(Context& ctx, const Batch& batch) {
  auto* list = ctx.host().array<PageSpan>(batch.T() / kKeyTile + 2 * batch.S());
  size_t count = 0;
  for (int64_t s = 0; s < batch.S(); ++s) {
    const int32_t* table = batch.pages.data() + s * batch.max_pages;
    const int32_t end = batch.offsets[static_cast<size_t>(s) + 1];
    for (int32_t t = batch.offsets[static_cast<size_t>(s)]; t < end; t += list[count++].count) {
      const auto position = batch.positions[static_cast<size_t>(t)],
                 slot = position % static_cast<int32_t>(kKeyTile);
      list[count] = {t, table[position / kKeyTile], slot,
                     std::min(static_cast<int32_t>(kKeyTile) - slot, end - t)};
    }
  }
  return {list, count};
}

// Keys pass through shared memory, so that a page's lines, which hold one dimension of 32 keys, are written whole.
__global__ void __launch_bounds__(kChainThreads) write_spans(ForwardJob<uint16_t> f, const PageSpan* list) {
  constexpr int kTile = static_cast<int>(kKeyTile);
  __shared__ uint16_t keys[kTile][kTensorWidth + 2];
  const PageSpan span = list[blockIdx.x];
  const int64_t g = blockIdx.y;
  const int K = static_cast<int>(f.K), V = static_cast<int>(f.width),
            warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  uint16_t* const page = f.pages + span.page * f.page_elements;
  for (int i = warp; i < span.count; i += kChainWarps) {
    const uint16_t* const key = f.k + ((span.token + i) * f.G + g) * K;
    for (int d = lane; d < K; d += 32) keys[i][d] = key[d];
    const uint16_t* const value = f.v + ((span.token + i) * f.G + g) * V;
    uint16_t* const to = page + f.values_at + (g * kKeyTile + span.slot + i) * V;
    for (int d = lane; d < V; d += 32) to[d] = value[d];
  }
  __syncthreads();
  if (span.count == 1) {
    for (int d = static_cast<int>(threadIdx.x); d < K; d += kChainThreads)
      page[(g * K + d) * kTile + span.slot] = keys[0][d];
    return;
  }
  for (int d = warp; d < K; d += kChainWarps)
    if (lane < span.count) page[(g * K + d) * kTile + span.slot + lane] = keys[lane][d];
}

// Rows of one token each whose keys and values are in the pages already: their lists may be the device's alone.
void decode_on_tensor_cores(Context& ctx, const AttentionForward& call) {
  const OpScope scope(ctx);
  const DecodeLists lists = decode_lists(ctx, call.batch);
  tensor_attention(ctx, call,
                   {.offsets = on_device(ctx, call.batch.offsets),
                    .positions = lists.positions,
                    .table = lists.table,
                    .prefixes = lists.prefixes,
                    .tails = lists.tails,
                    .S = lists.S,
                    .T = lists.S,
                    .max_pages = lists.max_pages,
                    .most_tokens = 1});
}

// Pages of cuda-bf16 in the order of tensor_attention_cuda.h.
void run_on_tensor_cores(Context& ctx, const AttentionForward& call) {
  const OpScope scope(ctx);
  const Batch& batch = call.batch;
  if (decodes(batch) && has_tensor_decode(call.pages) && call.saved.sums == nullptr)
    return tensor_decode(
        ctx,
        {.pages = call.pages, .q = call.q, .k = call.k, .v = call.v, .out = call.out, .scale = call.scale},
        decode_lists(ctx, batch));
  const bool by_wgmma = wgmma_attends(call);
  if (by_wgmma) {
    wgmma_attention(ctx, call);
    // Nobody reads the pages of a training step.
    if (call.saved.maxima != nullptr) return;
  }
  TensorRows rows{.S = batch.S(), .T = batch.T(), .max_pages = batch.max_pages};
  for (int64_t s = 0; s < rows.S; ++s)
    rows.most_tokens = std::max<int64_t>(
        rows.most_tokens, batch.offsets[static_cast<size_t>(s) + 1] - batch.offsets[static_cast<size_t>(s)]);
  const std::span<const PageSpan> spans = page_spans(ctx, batch);
  Upload lists(ctx);
  const int offsets = lists.add(batch.offsets), positions = lists.add(batch.positions),
            table = lists.add(batch.pages), span_list = lists.add(spans);
  const int prefixes = lists.add(batch.prefixes), tails = lists.add(batch.tails);
  lists.send();
  if (!ctx.measuring && !spans.empty()) {
    const dim3 grid(static_cast<unsigned>(spans.size()), static_cast<unsigned>(call.pages.G));
    write_spans<<<grid, kChainThreads, 0, static_cast<cudaStream_t>(ctx.stream)>>>(
        forward_job<uint16_t>(call), lists.at<PageSpan>(span_list));
    check_launch("attention pages");
    rows.offsets = lists.at<int32_t>(offsets);
    rows.positions = lists.at<int32_t>(positions);
    rows.table = lists.at<int32_t>(table);
    if (!batch.prefixes.empty()) {
      rows.prefixes = lists.at<int64_t>(prefixes);
      rows.tails = lists.at<int32_t>(tails);
    }
  }
  if (!by_wgmma) tensor_attention(ctx, call, rows);
}

}  // namespace

void attention_forward(Context& ctx, const AttentionForward& call) {
  const DType type = call.pages.dtype;
  for (const Tensor& t : {call.q, call.k, call.v, call.out})
    R1_CHECK(!t || t.dtype == type, "pages of ", name_of(type), " and ", t.shape.str(), " of ",
             name_of(t.dtype));
  if (type == DType::f32) return run_forward<float>(ctx, call);
  R1_CHECK(type == DType::bf16, "pages of ", name_of(type));
  if (latents_on_tensor_cores(call.pages)) return latent_attention(ctx, call);
  if (on_tensor_cores(call.pages))
    return call.k ? run_on_tensor_cores(ctx, call) : decode_on_tensor_cores(ctx, call);
  run_forward<uint16_t>(ctx, call);
}

}  // namespace r1::cuda
