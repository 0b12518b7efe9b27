// ops/attention/kernels_cpu.h: the interface between the op (attention_cpu.cc) and its vector kernels.
// Private to this folder.
//
// Query rows are the tokens of one sequence times the heads of one key/value group, heads inside: row r is
// head r % (H / G) of token r / (H / G). Kernels see them in tiles of up to kTileRows, so that the heads of a
// group share every key that is read, also in decoding.
#pragma once

#include <cstdint>

#include "base/integers.h"
#include "base/threads.h"
#include "tensor/batch.h"
#include "tensor/dtype.h"

namespace r1::attention_detail {

// 12 rows x 32 lanes are 24 accumulators of AVX-512; other machines cut the tile further.
inline constexpr int64_t kTileRows = 12;
inline constexpr int64_t kBlockFloats = kTileRows * kKeyTile;  // one [12][32] block of a tile

struct Sizes {
  int64_t H = 0, G = 0, K = 0, V = 0;
  int64_t heads() const { return H / G; }                     // per group
  int64_t k_blocks() const { return ceil_div(K, kKeyTile); }  // blocks of 32 columns
  int64_t v_blocks() const { return ceil_div(V, kKeyTile); }
};

// ---- forward

inline constexpr int64_t kMaxTaskTiles = 4;
inline constexpr int64_t kPagesTogether = 2;  // most pages in one pass over scores

// Query rows [row_begin, row_end) of group g of each of `sequences` sequences, beginning with s; at most
// kMaxTaskTiles tiles. If there are several sequences, the task holds all their rows, each has one token, and
// all have the same prefix, whose keys are read once.
struct ForwardTask {
  int32_t s = 0, sequences = 1, g = 0;
  int64_t row_begin = 0, row_end = 0;  // per sequence
  int64_t keys = 0;                    // the most keys that a row sees
  int64_t rows() const { return (row_end - row_begin) * sequences; }
};

struct Forward {
  Sizes size;
  float scale = 1;
  const float* q = nullptr;
  const float* k = nullptr;
  const float* v = nullptr;
  float* out = nullptr;
  float* maxima = nullptr;  // [T, H], for the backward; null if it is not needed
  float* sums = nullptr;
  void* page_data = nullptr;
  DType pages = DType::f32;  // f32, bf16 or q8
  int64_t page_elements = 0;
  int64_t scales_at = 0;        // q8: where a page's scales begin, in bytes
  bool values_in_keys = false;  // a page holds keys row by row
  int64_t values_at = 0;        // where a page's values begin
  int64_t value_row = 0;        // stride between the values of two keys
  const int32_t* page_table = nullptr;
  int64_t max_pages = 0;
  const int32_t* offsets = nullptr;
  const int32_t* positions = nullptr;
  const int64_t* prefixes = nullptr;  // tensor/batch.h; null if no row has one
  const int32_t* tails = nullptr;
  int64_t tile_rows = kTileRows;  // fewer if there are too few rows for all threads

  void* element(int64_t i) const {
    return static_cast<char*>(page_data) + i * static_cast<int64_t>(size_of(pages));
  }
  // q8: the 32 scales of group g in a page. part 0: of keys, or of latents; 1: of values, or of rotary parts.
  float* scales(int64_t page, int64_t g, int64_t part) const {
    return static_cast<float*>(element(page * page_elements + scales_at)) + (g * 2 + part) * kKeyTile;
  }
  // Rows of a tile. If the task has several sequences, a tile holds all rows of each of its sequences.
  int64_t tile_height(const ForwardTask& task) const {
    return task.sequences == 1 ? tile_rows : kTileRows / size.heads() * size.heads();
  }
  int64_t tiles(const ForwardTask& task) const { return ceil_div(task.rows(), tile_height(task)); }
  // Scratch for a task's queries, scores and outputs, and for pages that cannot be read in place.
  int64_t scratch_floats(const ForwardTask& task) const {
    return tiles(task) * kBlockFloats * (size.k_blocks() + ceil_div(task.keys, kKeyTile) + size.v_blocks()) +
           (values_in_keys || prefixes != nullptr ? kPagesTogether * kKeyTile * size.K : 0);
  }
};

// Writes keys and values of group g of tokens [begin, end), all of sequence s, into their pages.
void write_pages(const Forward& f, int64_t s, int64_t g, int64_t begin, int64_t end);
void forward_task(const Forward& f, const ForwardTask& task, float* scratch);

// ---- backward

struct Backward {
  Sizes size;
  float scale = 1;
  const float* q = nullptr;
  const float* k = nullptr;
  const float* v = nullptr;
  const float* out = nullptr;
  const float* d_out = nullptr;
  const float* maxima = nullptr;
  const float* sums = nullptr;
  float* dq = nullptr;  // null if not needed
  float* dk = nullptr;
  float* dv = nullptr;
  bool add_dq = false, add_dk = false, add_dv = false;  // add to the gradient, or assign
  const int32_t* offsets = nullptr;
  const int32_t* parents = nullptr;  // null if no row has one
};

// One group of one family of rows (a row without children is a family of its own): its scratch and the
// current row. Key j of that row is token prefix_first + j of the batch if j < prefix, otherwise token
// first + j - prefix.
struct BackwardTask {
  const Backward* job = nullptr;
  int64_t g = 0;
  int64_t key_tiles = 0;    // of the family's longest row
  int64_t block_tiles = 1;  // row tiles per block
  int64_t first = 0, tokens = 0, rows = 0;
  int64_t prefix_first = 0, prefix = 0;
  // Per key tile: transposed keys and values, sums of dk, dv. Those of the prefix stay while children change.
  float* keys_t = nullptr;    // [key_tiles][K][32]
  float* values_t = nullptr;  // [key_tiles][V][32]
  float* dk = nullptr;        // [key_tiles * 32][k_blocks * 32]
  float* dv = nullptr;
  // Per row tile of the block.
  float* q = nullptr;    // [block_tiles][k_blocks][12][32]
  float* d_o = nullptr;  // [block_tiles][v_blocks][12][32]
  float* p = nullptr;    // [block_tiles][key_tiles][12][32]
  float* ds = nullptr;
  float* dq = nullptr;  // [block_tiles][12][k_blocks * 32]

  static int64_t scratch_floats(const Sizes& size, int64_t keys, int64_t block_tiles);
  void place(float* scratch);
  void enter(int64_t s);
  int64_t keys() const { return prefix + tokens; }
  // Key tiles that hold the row's own keys.
  int64_t first_own_tile() const { return prefix / kKeyTile; }
  int64_t own_tiles() const { return ceil_div(keys(), kKeyTile) - first_own_tile(); }
};

inline constexpr int64_t kKeyStrip = 8;  // keys whose dk and dv one kernel call sums
inline constexpr int64_t kStripsPerTile = kKeyTile / kKeyStrip;

// Copies the row's own keys and values of a tile into scratch and clears their sums.
void backward_begin(const BackwardTask& t, int64_t key_tile);
// Computes p, ds and dq of row tile `tile` of the block that begins with row tile `first`.
void backward_rows(const BackwardTask& t, int64_t first, int64_t tile);
// Adds row tiles [first, last) to dk and dv of one strip of keys.
void backward_keys(const BackwardTask& t, int64_t first, int64_t last, int64_t strip);
// Adds the sums of dk and dv of the row's own keys of a tile to their gradients, or assigns them.
void backward_end(const BackwardTask& t, int64_t key_tile);

}  // namespace r1::attention_detail
