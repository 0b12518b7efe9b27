// ops/attention/tensor_decode_cuda.cuh: what a block of tensor_decode_cuda.cu works on, and how keys and values reach its
// registers.
#pragma once

#include "ops/attention/head_turn_cuda.h"
#include "ops/attention/tensor_attention_cuda.cuh"
#include "ops/attention/tensor_decode_cuda.h"

namespace r1::cuda {

inline constexpr int kPageKeys = static_cast<int>(kKeyTile), kPartPages = kPartKeys / kPageKeys;
inline constexpr int kColumns = 8;                // heads of a block: columns of an instruction
inline constexpr int kScoreLine = kPartKeys + 8;  // the addresses that a warp reads at once lie in different banks

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

// Two warps per block need fewer instructions for the same keys, four are sooner done with one block.
template <int kWidth, int kWarpsHere>
struct DecodeShape {
  static constexpr int kLines = kWidth, kWarps = kWarpsHere, kThreads = 32 * kWarps;
  // Blocks of a multiprocessor, at least.
  static constexpr int kBlocks = (kWidth == 128 ? 16 : 20) / kWarps;
  static constexpr int kSteps = kWidth / 16;                                         // steps of 16 lines of keys
  static constexpr int kAhead = kWidth == 128 && kWarps == 2 ? kSteps / 2 : kSteps;  // steps whose loads are under way
  static constexpr int kOwn = kWidth / kWarps;                                       // columns of a warp
  static constexpr int kEach = kOwn / 8;                                             // columns of a lane
  static constexpr int kWords = kEach / 2, kTiles = kOwn / 16;
  static constexpr int kQueryLine = kWidth + 8;
  // A step holds lines 2t, 2t + 1, 2t + 8 and 2t + 9 of a page's keys, and those keys of a block's values.
  using Keys = uint32_t[kAhead][4][2];
  using Values = uint32_t[kBlockSteps][4][kWords];
};

// Neighbours that no other warp reads.
template <int kWords>
__device__ __forceinline__ void load_words(uint32_t (&to)[kWords], const uint16_t* from) {
  if constexpr (kWords == 4) {
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "l"(from));
  } else if constexpr (kWords == 2) {
    asm volatile("ld.global.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(to[0]), "=r"(to[1]) : "l"(from));
  } else {
    asm volatile("ld.global.L1::no_allocate.u32 %0, [%1];" : "=r"(to[0]) : "l"(from));
  }
}

// A of an instruction whose rows g and g + 8 are the two elements of a word, from k 2t, 2t + 1, 2t + 8 and 2t + 9.
template <int kWords>
__device__ __forceinline__ void rows_of_word(uint32_t (&a)[4], const uint32_t (&lines)[4][kWords], int word) {
  a[0] = __byte_perm(lines[0][word], lines[1][word], 0x5410);
  a[1] = __byte_perm(lines[0][word], lines[1][word], 0x7632);
  a[2] = __byte_perm(lines[2][word], lines[3][word], 0x5410);
  a[3] = __byte_perm(lines[2][word], lines[3][word], 0x7632);
}

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

// Row or column i of the four along k that a lane has of a step, less 2t.
__device__ __forceinline__ constexpr int key_of_lane(int i) {
  return i % 2 + i / 2 * 8;
}

// This lane's first number of a page's keys 4g to 4g + 3. All are read from one page; if the prefix ends among them,
// `own` says which.
__device__ __forceinline__ const uint16_t* keys_at(const DecodeJob& f, const DecodeBlock& b, int page,
                                                   int number, bool own) {
  const int lane = static_cast<int>(threadIdx.x) % 32, key = lane / 4 * 4;
  return (!own && page == b.split_page && key < b.split ? b.tail : page_at(f, number)) +
         (b.g * f.K + lane % 4 * 2) * kPageKeys + key;
}

// Four keys of a step's lines 2t, 2t + 1, 2t + 8 and 2t + 9.
__device__ __forceinline__ void load_step(uint32_t (&to)[4][2], const uint16_t* from, int step) {
#pragma unroll
  for (int e = 0; e < 4; ++e) load_words(to[e], from + (16 * step + key_of_lane(e)) * kPageKeys);
}

// True if the block's values lie in its own two pages, and the new one is not among them.
__device__ __forceinline__ bool is_whole(const DecodeBlock& b, int block) {
  return (block + 1) * kBlockKeys <= b.keys - (b.owner ? 1 : 0) && block != b.split_page >> 1;
}

// Loads a step's values of this lane from page `number`, if its block is whole.
template <int kWords>
__device__ __forceinline__ void load_whole_step(uint32_t (&to)[4][kWords], const DecodeJob& f,
                                                const DecodeBlock& b, int step, int number, int column) {
  const int slot = step % 2 * 16 + static_cast<int>(threadIdx.x) % 4 * 2;
  const uint16_t* const from = page_at(f, number) + f.values_at + (b.g * kPageKeys + slot) * f.V + column;
#pragma unroll
  for (int i = 0; i < 4; ++i) load_words(to[i], from + key_of_lane(i) * f.V);
}

// Loads a step's values of any block once the new one is in its page. Behind the row's last key, that key's value: its
// weight there is 0. numbers: those of the part's pages.
template <int kWords>
__device__ __forceinline__ void load_step_values(uint32_t (&to)[4][kWords], const DecodeJob& f,
                                                 const DecodeBlock& b, int block, int step, bool whole,
                                                 const int* numbers, int column) {
  const int wanted = 2 * block + step / 2;
  if (whole) return load_whole_step(to, f, b, step, numbers[wanted], column);
  const int page = min(wanted, (b.keys - 1) / kPageKeys), last = b.keys - 1 - page * kPageKeys,
            first = (wanted - page) * kPageKeys + step % 2 * 16 + static_cast<int>(threadIdx.x) % 4 * 2,
            split = page == b.split_page ? b.split : 0;
  const int at = f.values_at + b.g * kPageKeys * f.V + column;
  const uint16_t* const own = page_at(f, numbers[page]) + at;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int slot = min(first + key_of_lane(i), last);
    load_words(to[i], (slot < split ? b.tail + at : own) + slot * f.V);
  }
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
