// ops/matmul/tensor_stream_cuda.cu: bf16 products at the speed of memory, for up to 32 rows of Q, by mma.sync.
//
// A block per multiprocessor owns an equal share of the rows of P, of all products of the launch together, so that all
// multiprocessors read equally long. It walks them in tiles of up to 16 rows; a warp has one shard of K of a tile.
// The warp's parts of P pass through a ring in shared memory that it fills and empties alone, across the ends of tiles,
// from before the kernel ahead has ended. Q lies in shared memory whole; the block makes it, if it is the norm of x.
// At a tile's end the warps leave their sums in shared memory; further warps, one for every eight rows of Q, add the
// shards in order and store, while the others go on. If Q is too large for one multiprocessor's memory, the blocks of a cluster
// (sm_90) share the shards and their Q.
#include <algorithm>
#include <array>
#include <atomic>

#include "base/error.h"
#include "base/integers.h"
#include "ops/matmul/tensor_launch_cuda.cuh"
#include "ops/matmul/tensor_stream_cuda.h"
#include "ops/norm/norm_row_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "ops/swiglu/swiglu_value_cuda.cuh"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

constexpr int kStreamWarps = 8;  // these warps multiply
constexpr int kTileRows = 16;
using StreamTile = TensorTile<kTileRows, true>;
constexpr int kStageBytes = StreamTile::kElements * 2;

struct StreamJob {
  TensorProduct products[kMostProducts];
  int first[kMostProducts];  // the rows of a product begin here, if those of all lie one after the other
  StreamOutput output;
  int rows;  // rows of all products, or of one of the two if they are a gate and an up projection
  int rows_each, tile_rows;  // a block's rows, and a tile's
  int groups;                // the number of groups of tiles that a block's warps compute at a time
  int J, K, count, shard;    // `count` shards of `shard` k
  int cluster;               // blocks that share the shards of a tile
  int width;                 // k of Q in a block
  bool early;
  bool list;  // several products one after the other
  const float *x, *norm;
  float eps;
};

// Elements between rows in shared memory; neighbours begin in other banks.
__host__ __device__ constexpr int q_pitch(int K) {
  return K + 8;
}
__host__ __device__ constexpr int x_pitch(int K) {
  return K + 16;
}

// A block's shared memory, in order; offsets in bytes.
struct StreamPlaces {
  int sums, rstd, q, x, norm, end;
};
__host__ __device__ __forceinline__ StreamPlaces stream_places(int q_tile, int stages, int J, int K,
                                                               bool normed) {
  StreamPlaces at{};
  at.sums = kStreamWarps * stages * kStageBytes;
  at.rstd = at.sums + 2 * kStreamWarps * (q_tile / 8) * 32 * 16;
  at.q = at.rstd + 128;
  at.x = at.q + J * q_pitch(K) * 2 + 64;  // the last fragment of a shard may be read past its end
  at.norm = at.x + (normed ? J * x_pitch(K) * 4 : 0);
  at.end = at.norm + (normed ? K * 4 : 0);
  return at;
}

// The blocks of a cluster wait for each other, and see what the others wrote to shared memory.
__device__ __forceinline__ void sync_blocks(int cluster) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if (cluster > 1) {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
    return;
  }
#endif
  __syncthreads();
}
// Reads the shared memory of another block of the cluster at the place that `at` has in this block's.
__device__ __forceinline__ float4 of_block([[maybe_unused]] const float4* at, [[maybe_unused]] int rank) {
  float4 out{};
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  uint32_t there;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
               : "=r"(there)
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(at))), "r"(rank));
  asm volatile("ld.shared::cluster.v4.f32 {%0,%1,%2,%3}, [%4];"
               : "=f"(out.x), "=f"(out.y), "=f"(out.z), "=f"(out.w)
               : "r"(there)
               : "memory");
#endif
  return out;
}

// Which product has this row of all.
__device__ __forceinline__ int product_of(const StreamJob& job, int row) {
  int n = 0;
#pragma unroll
  for (size_t m = 1; m < kMostProducts; ++m) n += row >= job.first[m];
  return n;
}

// The warp's place among the parts of P that it reads, in order: a shard of tile after tile.
struct StreamCursor {
  const uint16_t* at[4];  // this lane's vector of four lines of the tile
  bool there[4];
  int group, k;
};

// Points the cursor at the first stage of its group's tile, whose first row is row0; `k` is that of this lane's vector.
__device__ __forceinline__ void enter_tile(const StreamJob& job, StreamCursor& cursor, int row0, int end,
                                           int k) {
  const int first = static_cast<int>(threadIdx.x) % 32 / 8;
  const bool gated = job.output == StreamOutput::gate;
#pragma unroll
  for (int turn = 0; turn < 4; ++turn) {
    const int line = gated ? first + turn % 2 * 4 : first + 4 * turn, row = row0 + line;
    cursor.there[turn] = line < job.tile_rows && row < end;
    if (job.list) {
      const TensorProduct& product = job.products[cursor.there[turn] ? product_of(job, row) : 0];
      const int i = cursor.there[turn] ? row - job.first[product_of(job, row)] : 0;
      cursor.at[turn] = product.p.data + i * product.p.row + k;
    } else {
      const TensorOperand& p = gated ? job.products[turn / 2].p : job.products[0].p;
      cursor.at[turn] = p.data + (cursor.there[turn] ? row : 0) * p.row + k;
    }
  }
  cursor.k = 0;
}

// Copies rows of `vectors` times 16 bytes to shared memory, by all threads of the block. What kernels ahead wrote is
// read where they left it, in the second-level cache.
__device__ __forceinline__ void copy_in(unsigned char* to, int to_pitch, const void* from, int64_t from_pitch,
                                        int rows, int vectors) {
  constexpr int kAhead = 8;
  const auto* const data = static_cast<const unsigned char*>(from);
  const int threads = static_cast<int>(blockDim.x);
  int row = static_cast<int>(threadIdx.x) / vectors, vector = static_cast<int>(threadIdx.x) % vectors;
  while (row < rows) {
    uint4 held[kAhead];
    int places[kAhead];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      places[a] = -1;
      if (row < rows) {
        held[a] = __ldcg(reinterpret_cast<const uint4*>(data + row * from_pitch + vector * 16));
        places[a] = row * to_pitch + vector * 16;
      }
      vector += threads;
      while (vector >= vectors) vector -= vectors, ++row;
    }
#pragma unroll
    for (int a = 0; a < kAhead; ++a)
      if (places[a] >= 0) *reinterpret_cast<uint4*>(to + places[a]) = held[a];
  }
}

// Q [J][q_pitch] in shared memory, by all threads of the block.
__device__ __forceinline__ void make_q(const StreamJob& job, unsigned char* shared,
                                       const StreamPlaces& place) {
  auto* const q = reinterpret_cast<uint16_t*>(shared + place.q);
  const int J = job.J, K = job.width;
  if (job.x == nullptr) {
    const TensorOperand& from = job.products[0].q;
    copy_in(shared + place.q, q_pitch(K) * 2, from.data + static_cast<int>(blockIdx.x) % job.cluster * K,
            from.row * 2, J, K / kVector);
    return __syncthreads();
  }
  auto* const x = reinterpret_cast<float*>(shared + place.x);
  const auto* const w = reinterpret_cast<const float*>(shared + place.norm);
  auto* const rstd = reinterpret_cast<float*>(shared + place.rstd);
  copy_in(shared + place.x, x_pitch(K) * 4, job.x, static_cast<int64_t>(K) * 4, J, K / 4);
  __syncthreads();
  const int thread = static_cast<int>(threadIdx.x), half = thread / kLanes;
  if (half / 2 * 2 < J) {  // whole warps: lanes exchange sums
    const float* const mine = x + min(half, J - 1) * x_pitch(K);
    const float lane = fold<16>(
        0.0f, K, [&](int64_t i) { return mine[i]; }, [](float sum, float v) { return __fmaf_rn(v, v, sum); });
    const float r = rstd_of(tree_sum(lane), K, job.eps);
    if (thread % kLanes == 0 && half < J) rstd[half] = r;
  }
  __syncthreads();
  for (int j = 0; j < J; ++j) {
    const float r = rstd[j];
    for (int k = 4 * thread; k < K; k += 4 * static_cast<int>(blockDim.x)) {
      const float4 v = *reinterpret_cast<const float4*>(x + j * x_pitch(K) + k),
                   by = *reinterpret_cast<const float4*>(w + k);
      const uint32_t low = bf16_bits(normed<uint16_t>(v.x, r, by.x)) |
                           static_cast<uint32_t>(bf16_bits(normed<uint16_t>(v.y, r, by.y))) << 16,
                     high = bf16_bits(normed<uint16_t>(v.z, r, by.z)) |
                            static_cast<uint32_t>(bf16_bits(normed<uint16_t>(v.w, r, by.w))) << 16;
      *reinterpret_cast<uint2*>(q + j * q_pitch(K) + k) = {low, high};
    }
  }
  __syncthreads();
}

// Multiplies `steps` of a stage `p` of P with Q, whose address is that of this lane's line of a fragment. All operands are
// loaded first; `loaded` is called then, when the stage may be filled again.
template <int kJ, class Loaded>
__device__ __forceinline__ void stream_stage(float (&chain)[kJ / 8][4], const uint16_t* p,
                                             const uint16_t* const* q, int steps, const Loaded& loaded) {
  constexpr int kLoads = kJ == 8 ? kTileSteps / 2 : kTileSteps, kAcross = kJ == 8 ? 1 : kJ / 16;
  uint32_t a[kTileSteps][4], b[kLoads][kAcross][4];
#pragma unroll
  for (int s = 0; s < kTileSteps; ++s)
    if (s < steps) StreamTile::load_a(a[s], p, 0, s);
#pragma unroll
  for (int s = 0; s < kLoads; ++s) {
#pragma unroll
    for (int n = 0; n < kAcross; ++n)
      if (s * kTileSteps / kLoads < steps) load_blocks<false>(b[s][n], q[n] + kTileK / kLoads * s);
  }
  __syncwarp();
  loaded();
#pragma unroll
  for (int s = 0; s < kTileSteps; ++s) {
    if (s >= steps) continue;
    if constexpr (kJ == 8) {  // one load of B serves two steps
      tensor_mma(chain[0], a[s], b[s / 2][0] + s % 2 * 2);
    } else {
#pragma unroll
      for (int n = 0; n < kAcross; ++n) {
        tensor_mma(chain[2 * n], a[s], b[s][n]);
        tensor_mma(chain[2 * n + 1], a[s], b[s][n] + 2);
      }
    }
  }
}

// A lane stores these of a tile: rows lane / 4 and 8 more of its lines, two columns from 8 `tile_j` + 2 (lane % 4) on.
struct StreamStore {
  bool there[2], biased[2], narrow[2];
  char* d[2];
  int64_t d_j[2];  // bytes
  float bias[2], before[4];
  int j;

  // Before the sums are there, so that what is added to them is on its way meanwhile.
  __device__ __forceinline__ void load(const StreamJob& job, int row0, int end, int tile_j) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const bool gated = job.output == StreamOutput::gate;
    j = 8 * tile_j + lane % 4 * 2;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int line = lane / 4 + (gated ? 0 : 8 * h), row = row0 + line;
      there[h] = line < job.tile_rows && row < end;
      if (!there[h]) continue;
      const int n = gated ? h : job.list ? product_of(job, row) : 0, i = job.list ? row - job.first[n] : row;
      const TensorProduct& product = job.products[n];
      const int64_t size = product.d_bf16 ? 2 : 4;
      d[h] = static_cast<char*>(product.d) + i * product.d_i * size;
      d_j[h] = product.d_j * size, narrow[h] = product.d_bf16, biased[h] = product.bias != nullptr;
      if (biased[h]) bias[h] = product.round_bias ? through_bf16(product.bias[i]) : product.bias[i];
      if (job.output != StreamOutput::add) continue;
#pragma unroll
      for (int e = 0; e < 2; ++e)
        if (j + e < job.J)
          before[2 * h + e] = __ldcg(reinterpret_cast<const float*>(d[h] + (j + e) * d_j[h]));
    }
  }
  __device__ __forceinline__ void put(int h, int e, float value) const {
    char* const to = d[h] + (j + e) * d_j[h];
    if (narrow[h]) {
      *reinterpret_cast<uint16_t*>(to) = bf16_bits(value);
    } else {
      *reinterpret_cast<float*>(to) = value;
    }
  }
  __device__ __forceinline__ void store(const StreamJob& job, float (&total)[4]) const {
#pragma unroll
    for (int e = 0; e < 4; ++e)
      if (there[e / 2] && biased[e / 2]) total[e] = __fadd_rn(total[e], bias[e / 2]);
    if (job.output == StreamOutput::gate) {
      if (!there[0]) return;
#pragma unroll
      for (int e = 0; e < 2; ++e)
        if (j + e < job.J) put(0, e, swiglu_value(through_bf16(total[e]), through_bf16(total[2 + e])));
      return;
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (!there[e / 2] || j + e % 2 >= job.J) continue;
      put(e / 2, e % 2, job.output == StreamOutput::add ? __fadd_rn(before[e], total[e]) : total[e]);
    }
  }
};

__device__ __forceinline__ void add_part(float (&total)[4], const float4& part) {
  total[0] = __fadd_rn(total[0], part.x), total[1] = __fadd_rn(total[1], part.y);
  total[2] = __fadd_rn(total[2], part.z), total[3] = __fadd_rn(total[3], part.w);
}

// The total of a lane's outputs over the shards in order; `parts` are those of this block, `apart` sums apart.
__device__ __forceinline__ void add_parts(const StreamJob& job, const float4* parts, int apart,
                                          float (&total)[4]) {
  constexpr float kNothing = -0.0f;  // -0 + x is x, whatever x is
#pragma unroll
  for (float& t : total) t = kNothing;
  const int here = job.count / job.cluster;
  if (job.cluster > 1) {
    for (int rank = 0; rank < job.cluster; ++rank)
      for (int s = 0; s < here; ++s) add_part(total, of_block(parts + s * apart, rank));
  } else if (here == kStreamWarps) {
    float4 held[kStreamWarps];
#pragma unroll
    for (int s = 0; s < kStreamWarps; ++s) held[s] = parts[s * apart];
#pragma unroll
    for (int s = 0; s < kStreamWarps; ++s) add_part(total, held[s]);
  } else {
    for (int s = 0; s < here; ++s) add_part(total, parts[s * apart]);
  }
}

// kJ: rows of Q that a tile has place for. kStages: stages of a warp's ring, all of them on their way.
template <int kJ, int kStages>
__global__ void __launch_bounds__(32 * (kStreamWarps + kJ / 8))
    tensor_stream(const __grid_constant__ StreamJob job) {
  constexpr int kB = kJ / 8;
  extern __shared__ __align__(128) unsigned char stream_shared[];
  let_next_start();
  if (!job.early) await_previous();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const StreamPlaces place = stream_places(kJ, kStages, job.J, job.width, job.x != nullptr);
  const int here = job.count / job.cluster, subs = kStreamWarps / here,
            rank = static_cast<int>(blockIdx.x) % job.cluster;
  const int block_row = static_cast<int>(blockIdx.x) / job.cluster * job.rows_each,
            end = min(block_row + job.rows_each, job.rows);
  const auto row_of = [&](int group, int sub) { return block_row + (group * subs + sub) * job.tile_rows; };
  auto* const sums = reinterpret_cast<float4*>(stream_shared + place.sums);
  // Sums of two groups of tiles are held: those of the group before are added while these are made.
  const auto sums_of = [&](int group) { return sums + group % 2 * (kStreamWarps * kB * 32) + lane; };
  // Warp (sub, shard): tile `sub` of every group.
  const int sub = warp / here, begin_here = warp % here * job.shard, begin_k = rank * job.width + begin_here,
            length = min(job.shard, job.K - begin_k);
  const int vector = lane % 8, vector_k = begin_k + vector * kVector;
  auto* const ring = reinterpret_cast<uint16_t*>(stream_shared) + warp * kStages * StreamTile::kElements;
  const auto ring_at = static_cast<uint32_t>(__cvta_generic_to_shared(ring));
  const uint32_t line_at[2] = {static_cast<uint32_t>(StreamTile::place(lane / 8, vector)) * 2,
                               static_cast<uint32_t>(StreamTile::place(lane / 8 + 4, vector)) * 2};
  StreamCursor cursor{};
  uint32_t fill = 0;  // bytes before the stage of the ring that is filled next
  const auto copy_next = [&] {
    if (cursor.group < job.groups) {
      const bool inside = cursor.k + vector * kVector < length;
#pragma unroll
      for (int turn = 0; turn < 4; ++turn) {
        copy_async(ring_at + fill + line_at[turn % 2] + static_cast<uint32_t>(turn / 2 * 8 * kTileK * 2),
                   inside ? cursor.at[turn] : job.products[0].p.data, inside && cursor.there[turn] ? 16 : 0);
        cursor.at[turn] += kTileK;
      }
      cursor.k += kTileK;
      if (cursor.k >= length && ++cursor.group < job.groups)
        enter_tile(job, cursor, row_of(cursor.group, sub), end, vector_k);
    }
    copy_commit();  // also if it is empty: waits count commits
    fill = fill + kStageBytes == kStages * kStageBytes ? 0 : fill + kStageBytes;
  };
  if (warp < kStreamWarps) {
    enter_tile(job, cursor, row_of(0, sub), end, vector_k);
    for (int s = 0; s < kStages; ++s) copy_next();
  }
  if (job.x != nullptr) copy_in(stream_shared + place.norm, 0, job.norm, 0, 1, job.K / 4);
  await_previous();
  make_q(job, stream_shared, place);

  if (warp >= kStreamWarps) {
    const int b = warp - kStreamWarps;
    StreamStore out;
    for (int group = 0; group < job.groups; ++group) {
      if (job.cluster == 1 && subs == 1) out.load(job, row_of(group, 0), end, b);
      sync_blocks(job.cluster);
      for (int tile = 0; tile < subs; ++tile) {
        if ((group + tile) % job.cluster != rank) continue;
        if (job.cluster > 1 || subs > 1) out.load(job, row_of(group, tile), end, b);
        float total[4];
        add_parts(job, sums_of(group) + (tile * here * kB + b) * 32, kB * 32, total);
        out.store(job, total);
      }
    }
    if (job.cluster > 1) sync_blocks(job.cluster);  // a block's shared memory is there until all have read it
    return;
  }

  constexpr int kAcross = kB == 1 ? 1 : kB / 2;
  const auto* const q = reinterpret_cast<const uint16_t*>(stream_shared + place.q) + begin_here;
  const uint16_t* q_lines[kAcross];
#pragma unroll
  for (int n = 0; n < kAcross; ++n) {
    const int j = kB == 1 ? lane % 8 : 16 * n + lane / 16 * 8 + lane % 8,
              k = kB == 1 ? lane / 8 * kVector : lane / 8 % 2 * kVector;
    q_lines[n] = q + min(j, job.J - 1) * q_pitch(job.width) + k;
  }
  int use = 0;
  for (int group = 0; group < job.groups; ++group) {
    float chain[kB][4] = {};
    const uint16_t* here_q[kAcross];
#pragma unroll
    for (int n = 0; n < kAcross; ++n) here_q[n] = q_lines[n];
    for (int k = 0; k < length; k += kTileK) {
      copy_wait<kStages - 1>();
      __syncwarp();
      const uint16_t* const p = ring + use * StreamTile::kElements;
      if (length - k >= kTileK) {
        stream_stage<kJ>(chain, p, here_q, kTileSteps, copy_next);
      } else {
        stream_stage<kJ>(chain, p, here_q, (length - k) / static_cast<int>(kTensorStep), copy_next);
      }
#pragma unroll
      for (int n = 0; n < kAcross; ++n) here_q[n] += kTileK;
      use = use + 1 == kStages ? 0 : use + 1;
    }
    float4* const mine = sums_of(group) + warp * kB * 32;
#pragma unroll
    for (int b = 0; b < kB; ++b) mine[b * 32] = {chain[b][0], chain[b][1], chain[b][2], chain[b][3]};
    sync_blocks(job.cluster);
  }
  if (job.cluster > 1) sync_blocks(job.cluster);
}

// The deep ring holds 80 KiB: two such kernels have room on a multiprocessor of sm_90 at a time, so that one reads ahead
// while the other ends. The other ring is for warps whose parts are few.
constexpr int kDeep = 5, kFlat = 3;

int tile_of(int64_t J) {
  return J <= 8 ? 8 : J <= 16 ? 16 : 32;
}

struct StreamPlan {
  StreamJob job{};
  int stages = 0, blocks = 0, bytes = 0;
};

// The clusters of this many blocks, with all of a multiprocessor's shared memory each, that the device runs at a time.
int clusters_at_once(int cluster);

// Shares the rows among the blocks. Returns false if there is not enough shared memory.
bool share_rows(StreamPlan& plan, int cluster, int ring) {
  StreamJob& job = plan.job;
  job.cluster = cluster;
  job.width = cluster == 1 ? job.K : job.K / cluster;
  // Equal shares of the rows, then equal tiles of a share. Four rows are the least that pays for a block.
  constexpr int64_t kLeastRows = 4;
  const int subs = kStreamWarps / (job.count / cluster),
            most_rows = job.output == StreamOutput::gate ? 8 : kTileRows;
  const int64_t places = cluster == 1 ? multiprocessors() : clusters_at_once(cluster);
  if (places == 0) return false;
  job.rows_each = static_cast<int>(std::max(kLeastRows * cluster, ceil_div(job.rows, places)));
  plan.blocks = static_cast<int>(ceil_div(job.rows, job.rows_each)) * cluster;
  job.groups = static_cast<int>(ceil_div(job.rows_each, subs * most_rows));
  job.tile_rows = static_cast<int>(ceil_div(job.rows_each, subs * job.groups));
  plan.stages = job.groups * ceil_div(job.shard, kTileK) > kFlat ? ring : kFlat;
  plan.bytes = stream_places(tile_of(job.J), plan.stages, job.J, job.width, job.x != nullptr).end;
  return plan.bytes <= most_shared();
}

// Returns no blocks if there is not enough shared memory.
StreamPlan plan_stream(const StreamCall& call) {
  const TensorProduct& one = call.products.front();
  const TensorShards shards = tensor_shards(one.K, one.most_shards);
  StreamPlan plan;
  StreamJob& job = plan.job;
  job.output = call.output;
  job.J = static_cast<int>(one.J), job.K = static_cast<int>(one.K);
  job.count = static_cast<int>(shards.count), job.shard = static_cast<int>(shards.steps * kTensorStep);
  job.x = call.x, job.norm = call.norm, job.eps = call.eps;
  job.early = true;
  job.list = call.output != StreamOutput::gate && call.products.size() > 1;
  for (size_t n = 0; n < kMostProducts; ++n) {
    job.products[n] = call.products[std::min(n, call.products.size() - 1)];
    job.first[n] = n < call.products.size() ? job.rows : INT32_MAX;
    if (n < call.products.size()) {
      job.early = job.early && call.products[n].early;
      if (n == 0 || call.output != StreamOutput::gate) job.rows += static_cast<int>(call.products[n].I);
    }
  }
  for (const int ring : {kDeep, kFlat}) {
    for (int cluster = 1; cluster <= job.count; cluster *= 2) {
      if (cluster > 1 && (call.x != nullptr || !starts_early())) break;
      if (share_rows(plan, cluster, ring)) return plan;
    }
  }
  plan.blocks = 0;
  return plan;
}

// A block whose memory leaves room for no second one on its multiprocessor. Blocks of the next launch take places as they come
// free, and two on one multiprocessor while another has none take twice as long; with few bytes each it is better that they
// begin early (measured on an H200: 1.54 B 617 or 685 tokens per second, 0.6 B 1,104 or 997).
int64_t bytes_of_block(const StreamPlan& plan) {
  constexpr int64_t kManyBytes = int64_t{150} << 10;
  const int64_t rows = plan.job.rows_each * (plan.job.output == StreamOutput::gate ? 2 : 1);
  const bool alone = 2 * rows * plan.job.K / plan.job.cluster >= kManyBytes;
  return std::max<int64_t>(plan.bytes, alone ? most_shared() / 2 + 1024 : 0);
}

template <int kJ, int kStages>
void launch_stream(const StreamPlan& plan, void* stream) {
  const auto kernel = tensor_stream<kJ, kStages>;
  allow_shared(kernel, most_shared());
  launch_early_clusters(plan.job.early, static_cast<unsigned>(plan.job.cluster), "product y, few rows",
                        kernel, static_cast<unsigned>(plan.blocks), 32 * (kStreamWarps + kJ / 8),
                        static_cast<size_t>(bytes_of_block(plan)), stream, plan.job);
}
template <int kJ>
void launch_stream(const StreamPlan& plan, void* stream) {
  if (plan.stages == kFlat) return launch_stream<kJ, kFlat>(plan, stream);
  launch_stream<kJ, kDeep>(plan, stream);
}

int clusters_at_once(int cluster) {
  static std::array<std::atomic<int>, kStreamWarps + 1> known{};  // one more than there are
  std::atomic<int>& count = known[static_cast<size_t>(cluster)];
  if (count != 0) return count - 1;
  const auto kernel = tensor_stream<32, kDeep>;
  allow_shared(kernel, most_shared());
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = static_cast<unsigned>(multiprocessors() / cluster * cluster),
  config.blockDim = 32 * (kStreamWarps + 4);
  config.dynamicSmemBytes = static_cast<size_t>(most_shared());
  config.attrs = &attribute, config.numAttrs = 1;
  int clusters = 0;
  check(cudaOccupancyMaxActiveClusters(&clusters, kernel, &config), "cudaOccupancyMaxActiveClusters");
  count = clusters + 1;
  return clusters;
}

}  // namespace

bool stream_fits(const StreamCall& call) {
  constexpr int64_t kMostRows = INT32_MAX / 2;
  if (call.products.empty() || call.products.size() > kMostProducts) return false;
  const TensorProduct& one = call.products.front();
  const int64_t count = tensor_shards(one.K, one.most_shards).count;
  if (one.J < 1 || one.J > kMostStreamRows || one.K < kTensorStep || one.K % kTensorStep != 0 ||
      count > kStreamWarps || one.K > kMostRows / 64)
    return false;
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  constexpr int64_t kMostNormed = 8;
  if (call.x != nullptr ? !aligned(call.x) || !aligned(call.norm) || one.J > kMostNormed
                        : !takes_vectors(one.q))
    return false;
  int64_t rows = 0;
  for (const TensorProduct& p : call.products) {
    if (!p.p.by_k || !p.q.by_k || p.accumulate || p.gradients != nullptr || p.k_rows != nullptr ||
        !takes_vectors(p.p) || p.I < 1)
      return false;
    rows += p.I;
  }
  return rows <= kMostRows && plan_stream(call).blocks != 0;
}

void stream_products(const StreamCall& call, void* stream) {
  R1_CHECK(stream_fits(call), "products of few rows");
  const TensorProduct& one = call.products.front();
  R1_CHECK(call.output != StreamOutput::add || (call.products.size() == 1 && !one.d_bf16),
           "a sum of products");
  R1_CHECK(call.output != StreamOutput::gate ||
               (call.products.size() == 2 && call.products[1].I == one.I && one.d_bf16),
           "gated products");
  const StreamPlan plan = plan_stream(call);
  switch (tile_of(one.J)) {
    case 8:
      return launch_stream<8>(plan, stream);
    case 16:
      return launch_stream<16>(plan, stream);
    default:
      return launch_stream<32>(plan, stream);
  }
}

}  // namespace r1::cuda
