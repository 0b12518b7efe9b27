// ops/attention/tensor_decode_cuda.cuh: what a block of tensor_decode_cuda.cu works on, and how keys and values reach its
// shared memory.
#pragma once

#include "ops/attention/head_turn_cuda.h"
#include "ops/attention/tensor_attention_cuda.cuh"
#include "ops/attention/tensor_decode_cuda.h"

namespace r1::cuda {

inline constexpr int kPageKeys = static_cast<int>(kKeyTile), kPartPages = kPartKeys / kPageKeys;
inline constexpr int kColumns = 8;  // heads of a block: columns of an instruction
inline constexpr int kScoreLine =
    kPartKeys + 8;  // the addresses that a warp reads at once lie in different banks

struct DecodeJob {
  int H, G, K, V;
  int heads, chunks;  // heads per group, and the blocks that share them
  float scale_log2;   // c
  HeadTurn turn;
  float eps;
  const float *q_norm, *k_norm;  // null: no norms
  const uint16_t *q, *k, *v;
  uint16_t *out, *pages;
  int page_elements, values_at;
  DecodeLists lists;
  int first_row;
  // Rows of more than one part, per [row, H, part]: sums [V], then maximum and sum of weights. Null: there are none.
  float *part_sums, *part_softmax;
  int parts;
};

// A warp's keys and values pass through a ring of kStages stages in shared memory, which no other warp reads.
template <int kWidth, int kWarpsHere, int kStagesHere>
struct DecodeShape {
  static constexpr int kLines = kWidth, kWarps = kWarpsHere, kThreads = 32 * kWarps, kStages = kStagesHere;
  static constexpr int kBlocks = 16 / kWarps;  // of a multiprocessor, at least
  static constexpr int kKeySteps =
      (kWidth < 64 ? kWidth : 64) / 16;  // steps of 16 lines of a page's keys in a stage
  static constexpr int kKeyLines = 16 * kKeySteps, kStageBytes = kKeyLines * kPageKeys * 2;
  static constexpr int kOwn = kWidth / kWarps, kTiles = kOwn / 16;  // columns of a warp
  static constexpr int kValueBytes = 2 * kOwn;                      // of a key
  static constexpr int kValueKeys =
      kStageBytes / kValueBytes < kBlockKeys ? kStageBytes / kValueBytes : kBlockKeys;
  static constexpr int kQueryLine = kWidth + 8;
  static constexpr int kRingBytes = kWarps * kStages * kStageBytes;
  // Heads wait for their turn in the place of the scores.
  static constexpr int kStaged = 2 * kWarps * kWidth;
  static constexpr int shared_bytes(int heads) {
    const int scores = heads * kScoreLine;
    return kRingBytes + (kColumns * kQueryLine + kWidth) * 2 + (scores > kStaged ? scores : kStaged) * 4;
  }
};

__device__ __forceinline__ uint16_t* page_at(const DecodeJob& f, int number) {
  return f.pages + static_cast<int64_t>(number) * f.page_elements;
}

// A block's work.
struct DecodeBlock {
  int s, g;
  int chunk, heads;       // the first head of the block is chunk * kColumns of the group
  int position, first;    // the first key of the part
  int keys;               // the row sees so many keys of the part
  bool owner;             // the new key is in the part
  int split_page, split;  // slots below `split` of page `split_page` of the part lie in `tail`
  const uint16_t* tail;
  __device__ __forceinline__ int head(const DecodeJob& f, int i) const {
    return s * f.H + g * f.heads + chunk * kColumns + i;
  }
};

// Lane i: the number of the part's page i, if there is one. Does not wait for the row's position.
__device__ __forceinline__ int number_of_lane(const DecodeJob& f) {
  const int page = static_cast<int>(blockIdx.y) * kPartPages + static_cast<int>(threadIdx.x) % 32;
  const auto row = static_cast<int>(f.first_row + blockIdx.z);
  return f.lists.table[row * f.lists.max_pages + min(page, static_cast<int>(f.lists.max_pages) - 1)];
}

// Returns false if the row sees no key of the part.
__device__ __forceinline__ bool block_of(const DecodeJob& f, DecodeBlock& b) {
  b.s = f.first_row + static_cast<int>(blockIdx.z);
  b.g = static_cast<int>(blockIdx.x), b.chunk = 0;
  if (f.chunks > 1) b.chunk = b.g % f.chunks, b.g /= f.chunks;
  b.heads = min(kColumns, f.heads - b.chunk * kColumns);
  b.position = f.lists.positions[b.s];
  b.first = static_cast<int>(blockIdx.y) * kPartKeys;
  if (b.position < b.first) return false;
  b.keys = min(kPartKeys, b.position + 1 - b.first);
  b.owner = b.position < b.first + kPartKeys;
  b.split_page = -2, b.split = 0, b.tail = nullptr;
  if (f.lists.tails != nullptr && f.lists.tails[b.s] >= 0) {
    const auto prefix = static_cast<int>(f.lists.prefixes[b.s]);
    b.split_page = prefix / kPageKeys - b.first / kPageKeys;
    b.split = prefix % kPageKeys;
    b.tail = page_at(f, f.lists.tails[b.s]);
  }
  return true;
}

// Copies what a warp reads of a part: the keys of its pages, then all values of its columns. Vectors of 16 bytes lie
// in lines of shared memory such that eight lines' vectors, which ldmatrix reads at once, are in different banks.
template <class Shape>
struct DecodeStream {
  static constexpr int kValueVectors = Shape::kValueBytes / 16;  // of a key
  static constexpr int kKeysPerLine = 8 / kValueVectors;         // of 128 bytes
  static constexpr int kKeysAtOnce = 32 / kValueVectors;         // whose values a warp copies at once
  const DecodeJob& f;
  const DecodeBlock& b;
  int numbers;        // lane i: of the part's page i
  uint32_t ring;      // address in shared memory
  int pages;          // of which the row sees keys
  int page, line;     // the next stage's keys are lines of this page
  int key = 0, keys;  // the next stage's values begin with this key; there are stages for so many keys
  int at = 0;         // the next stage's place in the ring

  __device__ __forceinline__ DecodeStream(const DecodeJob& job, const DecodeBlock& block, int number_of_lane,
                                          uint32_t shared)
      : f(job), b(block), numbers(number_of_lane) {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    pages = (b.keys + kPageKeys - 1) / kPageKeys;
    keys = (b.keys + kBlockKeys - 1) / kBlockKeys * kBlockKeys;
    ring = shared + static_cast<uint32_t>(warp * Shape::kStages * Shape::kStageBytes);
    page = warp, line = 0;
  }
  __device__ __forceinline__ int number_of(int of_page) const { return __shfl_sync(~0u, numbers, of_page); }
  __device__ __forceinline__ uint32_t stage(int place) const {
    return ring + static_cast<uint32_t>(place * Shape::kStageBytes);
  }

  // True if the next stage has no part of the new key and value, which the kernel ahead still makes.
  __device__ __forceinline__ bool is_old() const {
    return page < pages || !b.owner || key + Shape::kValueKeys < b.keys;
  }

  // Begins to copy the next stage, if there is one. The whole warp calls it.
  __device__ __forceinline__ void copy_next() {
    if (page >= pages) return copy_next_values();
    copy_keys(stage(at));
    line += Shape::kKeyLines;
    if (line >= f.K) line = 0, page += Shape::kWarps;
    commit();
  }
  // The same when no keys are left.
  __device__ __forceinline__ void copy_next_values() {
    if (key < keys) {
#pragma unroll
      for (int half = 0; half < Shape::kValueKeys / kPageKeys; ++half)
        copy_values(stage(at) + half * kPageKeys * Shape::kValueBytes, key / kPageKeys + half);
      key += Shape::kValueKeys;
    }
    commit();
  }

 private:
  __device__ __forceinline__ void commit() {
    copy_commit();
    if (++at == Shape::kStages) at = 0;
  }

  // A lane has eight neighbouring keys of every eighth line. They are read from one page, unless the prefix ends among
  // them.
  __device__ __forceinline__ void copy_keys(uint32_t to) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int place = (b.g * f.K + line) * kPageKeys + lane * kVector, lines = f.K - line;
    const uint16_t* const own = page_at(f, number_of(page)) + place;
    const int of_prefix = page == b.split_page ? b.split - lane % 4 * kVector : 0;
    to += static_cast<uint32_t>(lane / 4 * 64 + (lane % 4 ^ lane / 8) * 16);
    if (of_prefix <= 0 || of_prefix >= kVector) {
      const uint16_t* const from = of_prefix > 0 ? b.tail + place : own;
#pragma unroll
      for (int i = 0; i < Shape::kKeyLines / 8; ++i) {
        if (8 * i < lines) copy_async(to + 512 * i, from + 8 * i * kPageKeys, 16);
      }
      return;
    }
#pragma unroll 1
    for (int i = 0; i < Shape::kKeyLines / 8 && 8 * i < lines; ++i) {
      const int64_t next = 8 * i * kPageKeys;
#pragma unroll 1
      for (int e = 0; e < kVector; ++e)
        asm volatile("st.shared.u16 [%0], %1;" ::"r"(to + 512 * i + 2 * e),
                     "h"((e < of_prefix ? b.tail + place : own)[next + e])
                     : "memory");
    }
  }

  // The values of a page's keys. Behind the row's last key there are zeros.
  __device__ __forceinline__ void copy_values(uint32_t to, int of_page) const {
    const int lane = static_cast<int>(threadIdx.x) % 32, vector = lane % kValueVectors,
              first = lane / kValueVectors;
    const int column = static_cast<int>(threadIdx.x) / 32 * Shape::kOwn + vector * kVector;
    const bool inside = column < f.V;
    const int place = f.values_at + b.g * kPageKeys * f.V + (inside ? column : 0);
    const int left = b.keys - of_page * kPageKeys, split = of_page == b.split_page ? b.split : 0;
    const uint16_t* const own = page_at(f, number_of(min(of_page, pages - 1))) + place;
    const auto place_of = [&](int i) {
      const int key_here = first + i * kKeysAtOnce;
      return to + static_cast<uint32_t>(key_here * Shape::kValueBytes +
                                        (vector ^ key_here / kKeysPerLine % kValueVectors) * 16);
    };
    if (left - (b.owner ? 1 : 0) >= kPageKeys && split == 0) {
#pragma unroll
      for (int i = 0; i < kPageKeys / kKeysAtOnce; ++i)
        copy_async(place_of(i), own + (first + i * kKeysAtOnce) * f.V, inside ? 16 : 0);
      return;
    }
    const uint16_t* const made = f.v + static_cast<int64_t>(b.s * f.G + b.g) * f.V + (inside ? column : 0);
#pragma unroll 1
    for (int i = 0; i < kPageKeys / kKeysAtOnce; ++i) {
      const int slot = first + i * kKeysAtOnce;
      const uint16_t* const from = b.owner && slot == left - 1 ? made
                                   : slot < split              ? b.tail + place + slot * f.V
                                   : slot < left               ? own + slot * f.V
                                                               : own;
      copy_async(place_of(i), from, inside && slot < left ? 16 : 0);
    }
  }
};

// The address of this lane's line for ldmatrix: 16 keys of 16 lines, from a stage of keys; block of keys 1 lies 32 bytes
// away (exclusive or).
__device__ __forceinline__ uint32_t key_fragment() {
  const int lane = static_cast<int>(threadIdx.x) % 32, block = lane / 8, line = lane % 8;
  return static_cast<uint32_t>((block / 2 * 8 + line) * 64 + (block % 2 ^ line / 2) * 16);
}
// The address of this lane's line for 16 columns of 16 keys, from a stage of values; tile i lies 32 i bytes away.
template <class Shape>
__device__ __forceinline__ uint32_t value_fragment() {
  using Stream = DecodeStream<Shape>;
  const int lane = static_cast<int>(threadIdx.x) % 32, block = lane / 8, line = lane % 8;
  return static_cast<uint32_t>((block / 2 * 8 + line) * Shape::kValueBytes +
                               (block % 2 ^ line / Stream::kKeysPerLine % Stream::kValueVectors) * 16);
}

// The new key and value go into their page. Blocks that share the group's heads all write the same.
__device__ __forceinline__ void place_key(const DecodeJob& f, const DecodeBlock& b, int number,
                                          const uint16_t* new_key) {
  uint16_t* const to = page_at(f, number) + b.g * f.K * kPageKeys + b.position % kPageKeys;
  for (int i = static_cast<int>(threadIdx.x); i < f.K; i += static_cast<int>(blockDim.x))
    to[i * kPageKeys] = new_key[i];
}
__device__ __forceinline__ void place_value(const DecodeJob& f, const DecodeBlock& b, int number) {
  uint16_t* const to = page_at(f, number) + f.values_at + (b.g * kPageKeys + b.position % kPageKeys) * f.V;
  const uint16_t* const from = f.v + static_cast<int64_t>(b.s * f.G + b.g) * f.V;
  for (int i = static_cast<int>(threadIdx.x); i < f.V; i += static_cast<int>(blockDim.x)) to[i] = from[i];
}

}  // namespace r1::cuda
