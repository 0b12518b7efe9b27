// ops/matmul/quant_stream_sm90.cu: products of quantised matrices with up to eight rows of x, at the speed of memory or of the
// instructions that turn codes into numbers.
//
// A block per multiprocessor owns an equal share of the tiles of 16 rows of all products of the launch. A warp has one shard
// of K of every second tile (of more tiles, if there are fewer shards). Its pieces are one run of memory, which passes through
// a ring in shared memory that the warp fills and empties alone, across the ends of tiles, from before the kernel ahead has
// ended. x lies in shared memory whole; the block makes it, if it is the norm of a row. At a tile's end the warps leave their
// sums in shared memory, and one more warp adds the shards in order and stores, while the others go on: barriers count, so
// that no warp waits for another one that multiplies.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/integers.h"
#include "ops/matmul/quant_stream_cuda.h"
#include "ops/matmul/quant_table_cuda.cuh"
#include "ops/matmul/tensor_launch_cuda.cuh"
#include "ops/matmul/wgmma_cuda.cuh"
#include "ops/norm/norm_row_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "ops/swiglu/swiglu_value_cuda.cuh"
#include "tensor/early_launch_cuda.cuh"

#pragma nv_diag_suppress 177  // before sm_90, most of this file is not used

namespace r1::cuda {
namespace {

constexpr int kQuantWarps = 16, kQuantThreads = 32 * (kQuantWarps + 1);
constexpr int kQuantRows = static_cast<int>(kTileRows);

struct QuantStreamJob {
  struct One {
    TensorProduct product;
    const std::byte* tiles;
    int first;  // its first tile, if the tiles of all products lie one after the other
  };
  One of[kMostProducts];
  StreamOutput output;
  int64_t bytes_of_tile;
  int J, K, shards, steps;  // K of x, the shards of K, and the steps of a shard
  int tiles, tiles_each;    // the tiles of all products, and a block's; those of gate and up alternate
  bool whole_pieces;        // shards are
  bool early;
  const float *x, *norm;
  float eps;
};

// A warp's ring: kSlots halves of pieces, and as many heads, which come with the first half of their piece.
template <Format kFormat, int kSlots>
struct QuantRing {
  using Is = tiles::Traits<kFormat>;
  static constexpr int kHead = Is::kHead + Is::kExtra, kHalf = Is::kHalf;
  static constexpr int kHeads = kSlots * kHalf;  // the heads begin here
  static constexpr int kBytes = kSlots * (kHalf + kHead);
  static constexpr int kTable = tiles::Table<kFormat>::kExists ? kTableBytes : 0;
  static_assert(kHead % 16 == 0 && kHead <= 512 && kHalf % 256 == 0);

  static __device__ __forceinline__ int next_slot(int slot) {
    return slot + kHalf == kHeads ? 0 : slot + kHalf;
  }
  static __device__ __forceinline__ int next_head(int head) {
    return head + kHead == kBytes ? kHeads : head + kHead;
  }
  // Copies a half. `codes` and `to` are those of this lane's vector.
  static __device__ __forceinline__ void copy(uint32_t to, const std::byte* codes, int lane) {
    constexpr int kVectors = kHalf / 16;
#pragma unroll
    for (int v = 0; v < kVectors; v += 32)
      if (v + 32 <= kVectors || lane < kVectors - v) copy_async(to + 16 * v, codes + 16 * v, 16);
  }
  // Copies the `left` k that the last half of a matrix has.
  static __device__ __forceinline__ void copy_part(uint32_t to, const std::byte* codes, int left) {
    const int turns = Is::kBytes ? (left + 31) / 32 : (left + 63) / 64;
#pragma unroll 1
    for (int turn = 0; turn < turns; ++turn) copy_async(to + turn * 512, codes + turn * 512, 16);
  }
};

// The slots of a ring, about 110 KiB of a block for one row of x, whose place is small.
constexpr int slots_of(Format format, int rows) {
  const TileTraits t = tile_traits(format);
  const int each = kQuantWarps * static_cast<int>(t.head() + t.extra() + t.half());
  return std::clamp((rows == 1 ? 112 << 10 : 88 << 10) / each, 2, 6);
}

// A block's shared memory, in order; offsets in bytes. The row that is normed takes the place of the tables.
struct QuantPlaces {
  int tables, sums, barriers, x, end;
};
template <Format kFormat, int kJ, int kSlots>
__host__ __device__ __forceinline__ QuantPlaces quant_places(int J, int K, bool is_normed) {
  QuantPlaces at{};
  at.tables = kQuantWarps * QuantRing<kFormat, kSlots>::kBytes;
  at.sums = at.tables + kQuantWarps * QuantRing<kFormat, kSlots>::kTable;
  if (is_normed) at.sums = at.sums > at.tables + 4 * K ? at.sums : at.tables + 4 * K;
  at.barriers = at.sums + 2 * kQuantWarps * kQuantRows * kJ * 4;
  at.x = at.barriers + 64;
  at.end = at.x + (kJ == 1 ? 2 * K : 2 * J * (K + 8) + 64);
  return at;
}

// One row of x: words of two k in the order in which a lane reads them, so that 16 bytes are the B of two steps. Words
// 2 and 3 of four are those of the second step, odd ones those of k + 8.
__device__ __forceinline__ int place_of_word(int w) {
  return ((w / 16) * 4 + w % 4) * 4 + w / 8 % 2 * 2 + w / 4 % 2;
}

// The weights of a norm that a thread needs, four elements in each, loaded before the kernel ahead has ended.
constexpr int kNormsAhead = 2;
struct NormsAhead {
  float4 of[kNormsAhead];
  __device__ __forceinline__ void load(const float* norm, int K) {
#pragma unroll
    for (int n = 0; n < kNormsAhead; ++n) {
      const int k = 4 * (static_cast<int>(threadIdx.x) + n * kQuantThreads);
      if (k < K) of[n] = __ldg(reinterpret_cast<const float4*>(norm + k));
    }
  }
};

// The norm of the row x -> shared memory, by all threads of the block.
__device__ __forceinline__ void make_normed_row(const QuantStreamJob& job, const NormsAhead& ahead,
                                                float* row, float* rstd, uint32_t* to) {
  const int thread = static_cast<int>(threadIdx.x), K = job.K;
  for (int k = 4 * thread; k < K; k += 4 * kQuantThreads)
    *reinterpret_cast<float4*>(row + k) = __ldcg(reinterpret_cast<const float4*>(job.x + k));
  __syncthreads();
  if (thread < 32) {  // a whole warp: lanes exchange sums
    const float lane = fold<16>(
        0.0f, K, [&](int64_t i) { return row[i]; }, [](float sum, float v) { return __fmaf_rn(v, v, sum); });
    const float r = rstd_of(tree_sum(lane), K, job.eps);
    if (thread == 0) *rstd = r;
  }
  __syncthreads();
  const float r = *rstd;
  const auto put = [&](int k, const float4& by) {
    const float4 v = *reinterpret_cast<const float4*>(row + k);
    const int place = place_of_word(k / 2);
    to[place] = bf16_bits(normed<uint16_t>(v.x, r, by.x)) |
                static_cast<uint32_t>(bf16_bits(normed<uint16_t>(v.y, r, by.y))) << 16;
    to[place + 4] = bf16_bits(normed<uint16_t>(v.z, r, by.z)) |
                    static_cast<uint32_t>(bf16_bits(normed<uint16_t>(v.w, r, by.w))) << 16;
  };
#pragma unroll
  for (int n = 0; n < kNormsAhead; ++n) {
    const int k = 4 * (thread + n * kQuantThreads);
    if (k < K) put(k, ahead.of[n]);
  }
  for (int k = 4 * (thread + kNormsAhead * kQuantThreads); k < K; k += 4 * kQuantThreads)
    put(k, __ldg(reinterpret_cast<const float4*>(job.norm + k)));
}

// x -> shared memory, by all threads of the block: a row in the order of place_of_word(), or rows of K + 8.
template <int kJ>
__device__ __forceinline__ void copy_rows_in(const QuantStreamJob& job, std::byte* to) {
  const TensorOperand& from = job.of[0].product.q;
  const int vectors = job.K / kVector;
  if constexpr (kJ == 1) {
    auto* const words = reinterpret_cast<uint32_t*>(to);
    for (int v = static_cast<int>(threadIdx.x); v < vectors; v += kQuantThreads) {
      const uint4 four = __ldcg(reinterpret_cast<const uint4*>(from.data) + v);
      const int place = place_of_word(4 * v);
      words[place] = four.x, words[place + 4] = four.y, words[place + 8] = four.z, words[place + 12] = four.w;
    }
  } else {
    for (int j = 0; j < job.J; ++j)
      for (int v = static_cast<int>(threadIdx.x); v < vectors; v += kQuantThreads)
        *reinterpret_cast<uint4*>(to + j * (job.K + 8) * 2 + v * 16) =
            __ldcg(reinterpret_cast<const uint4*>(from.data + j * from.row) + v);
  }
}

// Where a virtual tile's product and its tile within that are.
__device__ __forceinline__ int product_of_tile(const QuantStreamJob& job, int v) {
  if (job.output == StreamOutput::gate) return v % 2;
  int n = 0;
#pragma unroll
  for (size_t m = 1; m < kMostProducts; ++m) n += v >= job.of[m].first;
  return n;
}
__device__ __forceinline__ int tile_in_product(const QuantStreamJob& job, int v, int n) {
  return job.output == StreamOutput::gate ? v / 2 : v - job.of[n].first;
}

// The warp that adds shards and stores: sums [shard of tile][row][j] of a group of tiles.
template <int kJ>
__device__ __forceinline__ void add_and_store(const QuantStreamJob& job, const float* sums, int first,
                                              int end, int subs, int lane, uint32_t full, int parity) {
  const bool gated = job.output == StreamOutput::gate;
  const int each = gated ? subs / 2 : subs, apart = kQuantRows * kJ;
  for (int o = lane; o < each * apart; o += 32) {
    const int row = o % kQuantRows, tile = o / kQuantRows % each, j = o / (kQuantRows * each);
    const int v = first + (gated ? 2 * tile : tile);
    const int n = product_of_tile(job, v);
    const TensorProduct& product = job.of[n].product;
    const int64_t i = int64_t{tile_in_product(job, v, n)} * kQuantRows + row,
                  at = i * product.d_i + j * product.d_j;
    const bool here = v < end && i < product.I && j < job.J;
    float before = 0;
    if (here && job.output == StreamOutput::add) before = __ldcg(static_cast<const float*>(product.d) + at);
    if (o == lane) barrier_wait(full, parity);
    const auto total_of = [&](int which) {
      const float* const parts = sums + which * job.shards * apart + row * kJ + j;
      float total = parts[0];
      for (int s = 1; s < job.shards; ++s) total = __fadd_rn(total, parts[s * apart]);
      return total;
    };
    if (!here) continue;
    if (gated) {
      const float gate = add_bias(product, i, total_of(2 * tile)),
                  up = add_bias(job.of[1].product, i, total_of(2 * tile + 1));
      static_cast<uint16_t*>(product.d)[at] = bf16_bits(swiglu_value(through_bf16(gate), through_bf16(up)));
    } else if (job.output == StreamOutput::add) {
      static_cast<float*>(product.d)[at] = __fadd_rn(before, add_bias(product, i, total_of(tile)));
    } else {
      store_total(product, i, j, total_of(tile));
    }
  }
}

// The B of each step of a half, for each_step(): of one row, or of eight lines of shared memory.
template <int kJ, bool kWhole>
struct StepB {
  const std::byte* at;  // this lane's, of the half
  uint32_t b[4];
  __device__ __forceinline__ const uint32_t* of(int s) {
    if constexpr (kJ == 1) {
      if (s % 2 == 0 || !kWhole) {
        const uint4 two = *reinterpret_cast<const uint4*>(at + s / 2 * 64);
        b[0] = two.x, b[1] = two.y, b[2] = two.z, b[3] = two.w;
      }
    } else if (s % 2 == 0 || !kWhole) {
      load_blocks<false>(b, reinterpret_cast<const uint16_t*>(at + s / 2 * 64));
    }
    return b + s % 2 * 2;
  }
};

template <Format kFormat, int kJ, int kSlots>
__global__ void __launch_bounds__(kQuantThreads, 1)
    quant_stream_rows([[maybe_unused]] const __grid_constant__ QuantStreamJob job) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  using Ring = QuantRing<kFormat, kSlots>;
  using Is = tiles::Traits<kFormat>;
  using Of = tiles::Table<kFormat>;
  extern __shared__ __align__(128) std::byte quant_shared[];
  let_next_start();
  if (!job.early) await_previous();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const QuantPlaces place = quant_places<kFormat, kJ, kSlots>(job.J, job.K, job.x != nullptr);
  const int subs = kQuantWarps / job.shards;
  const int block_first = static_cast<int>(blockIdx.x) * job.tiles_each,
            block_end = min(block_first + job.tiles_each, job.tiles);
  const auto shared = static_cast<uint32_t>(__cvta_generic_to_shared(quant_shared));
  const auto full = [&](int slot) { return shared + static_cast<uint32_t>(place.barriers + 8 * slot); };
  const auto empty = [&](int slot) { return shared + static_cast<uint32_t>(place.barriers + 16 + 8 * slot); };
  auto* const rstd = reinterpret_cast<float*>(quant_shared + place.barriers + 32);
  auto* const sums = reinterpret_cast<float*>(quant_shared + place.sums);
  constexpr int kSlot = kQuantWarps * kQuantRows * kJ;  // floats
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < 2; ++slot) barrier_init(full(slot), kQuantWarps), barrier_init(empty(slot), 1);
  }

  // Warp (sub, shard): tile `sub` of every group of tiles.
  const int sub = warp / job.shards, begin = warp % job.shards * job.steps,
            end = min(begin + job.steps, job.K / 16);
  const int half0 = begin / kHalfSteps, half_end = (end + kHalfSteps - 1) / kHalfSteps;
  std::byte* const ring = quant_shared + warp * Ring::kBytes;
  const uint32_t ring_here = shared + static_cast<uint32_t>(warp * Ring::kBytes + 16 * lane);
  const std::byte* next_codes = nullptr;  // of the half that is copied next, this lane's vector
  int next_v = block_first + sub, next_half = half0, next_head = Ring::kHeads;
  const auto enter = [&] {
    const int n = product_of_tile(job, next_v);
    next_half = half0;
    next_codes = job.of[n].tiles + tile_in_product(job, next_v, n) * job.bytes_of_tile +
                 half0 / 2 * Is::kPiece + Ring::kHead + half0 % 2 * Ring::kHalf + 16 * lane;
  };
  // Copies a half, the second of its piece or the first, to the slot. kWhole: a shard has whole pieces.
  const auto copy_next = [&]<bool kWhole>(int slot, bool second) {
    if (next_v < block_end) {
      const int left = job.K - next_half * static_cast<int>(kTileHalf);
      if (kWhole || left >= kTileHalf) {
        Ring::copy(ring_here + static_cast<uint32_t>(slot), next_codes, lane);
      } else {
        Ring::copy_part(ring_here + static_cast<uint32_t>(slot), next_codes, left);
      }
      if (!second || (!kWhole && next_half == half0)) {
        if (lane < Ring::kHead / 16)
          copy_async(ring_here + static_cast<uint32_t>(next_head),
                     next_codes - Ring::kHead - (second ? Ring::kHalf : 0), 16);
        next_head = Ring::next_head(next_head);
      }
      next_codes += second ? Ring::kHalf + Ring::kHead : Ring::kHalf;
      ++next_half;
      if ((!kWhole || second) && next_half == half_end) {
        next_v += subs;
        if (next_v < block_end) enter();
      }
    }
    copy_commit();  // also if it is empty: waits count commits
  };
  if (warp < kQuantWarps) {
    if (next_v < block_end) enter();
    for (int s = 0; s < kSlots; ++s)
      copy_next.template operator()<false>(s * Ring::kHalf, next_half % 2 == 1);
  }
  if constexpr (kJ == 1) {
    if (job.x != nullptr) {
      NormsAhead ahead;
      ahead.load(job.norm, job.K);
      await_previous();
      make_normed_row(job, ahead, reinterpret_cast<float*>(quant_shared + place.tables), rstd,
                      reinterpret_cast<uint32_t*>(quant_shared + place.x));
    } else {
      await_previous();
      copy_rows_in<kJ>(job, quant_shared + place.x);
    }
  } else {
    await_previous();
    copy_rows_in<kJ>(job, quant_shared + place.x);
  }
  __syncthreads();

  if (warp == kQuantWarps) {
    int group = 0;
    for (int v = block_first; v < block_end; v += subs, ++group) {
      const int slot = group % 2, parity = group / 2 % 2;
      add_and_store<kJ>(job, sums + slot * kSlot, v, block_end, subs, lane, full(slot), parity);
      __syncwarp();
      if (lane == 0) barrier_arrive(empty(slot));
    }
    return;
  }

  const std::byte* x_here = quant_shared + place.x;
  if constexpr (kJ == 1) {
    x_here += lane % 4 * 16;
  } else {
    x_here += (min(lane % 8, job.J - 1) * (job.K + 8) + lane / 8 * kVector) * 2;
  }
  std::byte* const table = quant_shared + place.tables + warp * Ring::kTable;
  // The first half that is the warp's as a whole, and the number of such halves.
  const int first_whole = (begin + kHalfSteps - 1) / kHalfSteps;
  const auto whole_count = static_cast<unsigned>(max(end / kHalfSteps - first_whole, 0));
  int use = 0, use_head = Ring::kBytes - Ring::kHead, group = 0;
  [[maybe_unused]] bool folded = false;
  float chain[4];
  // Multiplies half h of a piece, which is half `half` of x. kWhole: all of it is in the shard.
  const auto multiply = [&]<bool kWhole>(int half, int h, bool new_head) {
    copy_wait<kSlots - 1>();
    __syncwarp();
    if (new_head) use_head = Ring::next_head(use_head);
    const std::byte *const codes = ring + use, *const head = ring + use_head;
    if constexpr (Of::kExists) {
      if (!Of::kOfPiece || new_head) {
        folded = tiles::make_table<kFormat>(table, head, h, lane);
        __syncwarp();
      }
    }
    const std::byte* const x_half = x_here + half * static_cast<int>(kTileHalf) * 2;
    if ((kWhole || static_cast<unsigned>(half - first_whole) < whole_count) && (!Of::kExists || folded)) {
      StepB<kJ, true> step_b{x_half, {}};
      const auto step = [&](int s, const uint32_t(&a)[4]) { tensor_mma(chain, a, step_b.of(s)); };
      if constexpr (Of::kExists) {
        each_step_of_table<kFormat>(table, codes, h, lane, step);
      } else {
        each_step<kFormat, false, true>(head, codes, h, 0, kHalfSteps, step);
      }
    } else {
      const int at = half * kHalfSteps;
      StepB<kJ, false> step_b{x_half, {}};
      each_step<kFormat, false, false>(
          head, codes, h, max(begin - at, 0), min(end - at, kHalfSteps),
          [&](int s, const uint32_t(&a)[4]) { tensor_mma(chain, a, step_b.of(s)); });
    }
    __syncwarp();  // the slot and the table are free
  };
#pragma unroll 1
  for (int v = block_first; v < block_end; v += subs, ++group) {
#pragma unroll
    for (float& c : chain) c = 0;
    if (v + sub < block_end && job.whole_pieces) {
#pragma unroll 1
      for (int half = half0; half < half_end; half += 2) {
        multiply.template operator()<true>(half, 0, true);
        copy_next.template operator()<true>(use, kSlots % 2 == 1);
        use = Ring::next_slot(use);
        multiply.template operator()<true>(half + 1, 1, false);
        copy_next.template operator()<true>(use, kSlots % 2 == 0);
        use = Ring::next_slot(use);
      }
    } else if (v + sub < block_end) {
#pragma unroll 1
      for (int half = half0; half < half_end; ++half) {
        multiply.template operator()<false>(half, half % 2, half % 2 == 0 || half == half0);
        copy_next.template operator()<false>(use, next_half % 2 == 1);
        use = Ring::next_slot(use);
      }
    }
    const int slot = group % 2;
    if (group >= 2) barrier_wait(empty(slot), (group / 2 - 1) % 2);
    float* const mine = sums + slot * kSlot + warp * kQuantRows * kJ;
    if constexpr (kJ == 1) {
      if (lane % 4 == 0) mine[lane / 4] = chain[0], mine[lane / 4 + 8] = chain[2];
    } else {
      *reinterpret_cast<float2*>(mine + lane / 4 * kJ + lane % 4 * 2) = {chain[0], chain[1]};
      *reinterpret_cast<float2*>(mine + (lane / 4 + 8) * kJ + lane % 4 * 2) = {chain[2], chain[3]};
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(full(slot));
  }
#endif
}

// Calls run(format as a constant) with a format that the kernel has.
template <class Run>
void with_stream_format(Format format, const Run& run) {
  with_tile_format(format, [&]<Format kFormat>() {
    if constexpr (kFormat != Format::f8_e4m3) run.template operator()<kFormat>();
  });
}

QuantStreamJob job_of(const QuantStreamCall& call) {
  const QuantProductOnTiles& one = call.products.front();
  const TensorShards shards = tensor_shards(one.w.K, one.product.most_shards);
  QuantStreamJob job{};
  job.output = call.output;
  job.bytes_of_tile = tile_bytes(one.w.format, one.w.K);
  job.J = static_cast<int>(one.product.J), job.K = static_cast<int>(one.w.K);
  job.shards = static_cast<int>(shards.count), job.steps = static_cast<int>(shards.steps);
  job.whole_pieces = one.w.K % kTilePiece == 0 && shards.steps * kTensorStep % kTilePiece == 0;
  job.early = true;
  job.x = call.x, job.norm = call.norm, job.eps = call.eps;
  for (size_t n = 0; n < kMostProducts; ++n) {
    const bool there = n < call.products.size();
    const QuantProductOnTiles& p = call.products[there ? n : 0];
    job.of[n] = {p.product, p.w.data, there ? job.tiles : INT32_MAX};
    if (!there) continue;
    job.early = job.early && p.product.early;
    job.tiles += static_cast<int>(tile_count(p.w.N));
  }
  // Gate and up of the same rows belong to one block.
  const int whole = call.output == StreamOutput::gate ? 2 : 1;
  job.tiles_each = static_cast<int>(ceil_div(int64_t{job.tiles / whole}, int64_t{multiprocessors()})) * whole;
  return job;
}

// More than half of a multiprocessor's memory. If two blocks had room on one, the blocks of the next launch would take the
// places that those of this one leave, and often two of them would share a multiprocessor while another has none.
template <Format kFormat, int kJ, int kSlots>
int shared_bytes(const QuantStreamJob& job) {
  return std::max(quant_places<kFormat, kJ, kSlots>(job.J, job.K, job.x != nullptr).end,
                  most_shared() / 2 + 1024);
}

template <Format kFormat, int kJ, int kSlots>
void launch_rows(const QuantStreamJob& job, void* stream) {
  const auto kernel = quant_stream_rows<kFormat, kJ, kSlots>;
  allow_shared(kernel, most_shared());
  launch_early(job.early, name_of_quant_launch(kFormat), kernel,
               static_cast<unsigned>(ceil_div(job.tiles, job.tiles_each)), kQuantThreads,
               static_cast<size_t>(shared_bytes<kFormat, kJ, kSlots>(job)), stream, job);
}

}  // namespace

bool quant_stream_fits(const QuantStreamCall& call) {
  if (!starts_early() || call.products.empty() || call.products.size() > kMostProducts) return false;
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  const QuantProductOnTiles& one = call.products.front();
  const TensorProduct& first = one.product;
  constexpr int64_t kMostRows = 8, kMostTiles = INT32_MAX / 64;
  if (one.w.format == Format::f8_e4m3 || !has_tiles(one.w.format, one.w.K) || first.J < 1 ||
      first.J > kMostRows || one.w.K > kMostTiles ||
      tensor_shards(one.w.K, first.most_shards).count > kQuantWarps / 2)
    return false;
  if (call.x != nullptr ? !aligned(call.x) || !aligned(call.norm) || first.J > 1 : !takes_vectors(first.q))
    return false;
  int64_t tiles = 0;
  for (const QuantProductOnTiles& p : call.products) {
    if (p.w.format != one.w.format || p.w.K != one.w.K || p.product.J != first.J || p.product.I != p.w.N ||
        p.w.N < 1 || !p.product.q.by_k || p.product.accumulate || p.product.gradients != nullptr ||
        !aligned(p.w.data))
      return false;
    tiles += tile_count(p.w.N);
  }
  if (tiles > kMostTiles) return false;
  const QuantStreamJob job = job_of(call);
  int bytes = 0;
  with_stream_format(one.w.format, [&]<Format kFormat>() {
    bytes = first.J == 1 ? shared_bytes<kFormat, 1, slots_of(kFormat, 1)>(job)
                         : shared_bytes<kFormat, 8, slots_of(kFormat, 8)>(job);
  });
  return bytes <= most_shared();
}

void quant_stream(const QuantStreamCall& call, void* stream) {
  R1_CHECK(quant_stream_fits(call), "quantised products of few rows");
  const TensorProduct& one = call.products.front().product;
  R1_CHECK(call.output != StreamOutput::add || (call.products.size() == 1 && !one.d_bf16),
           "a sum of products");
  R1_CHECK(call.output != StreamOutput::gate ||
               (call.products.size() == 2 && call.products[1].product.I == one.I && one.d_bf16),
           "gated products");
  const QuantStreamJob job = job_of(call);
  with_stream_format(call.products.front().w.format, [&]<Format kFormat>() {
    if (one.J == 1) return launch_rows<kFormat, 1, slots_of(kFormat, 1)>(job, stream);
    launch_rows<kFormat, 8, slots_of(kFormat, 8)>(job, stream);
  });
}

}  // namespace r1::cuda
