// ops/attention/kernels.h: what the op (attention_cpu.cc) and its vector kernels say to each other. Private
// to this folder.
//
// Query rows: the tokens of one sequence times the heads of one key/value group, heads inside: row r is head
// r % (H / G) of token r / (H / G). Kernels see them in tiles of up to kTileRows, so that the heads of a
// group share every key that is read, in decoding too.
#pragma once

#include <cstdint>

#include "base/integers.h"
#include "base/threads.h"
#include "tensor/batch.h"

namespace r1::attention_detail {

// 12 rows x 32 lanes: 24 accumulators of AVX-512; other machines cut the tile further.
inline constexpr int64_t kTileRows = 12;
inline constexpr int64_t kBlockFloats = kTileRows * kKeyTile;  // one [12][32] block of a tile

struct Sizes {
  int64_t H = 0, G = 0, K = 0, V = 0;
  int64_t heads() const { return H / G; }                     // of one group
  int64_t k_blocks() const { return ceil_div(K, kKeyTile); }  // blocks of 32 columns
  int64_t v_blocks() const { return ceil_div(V, kKeyTile); }
};

// ---- forward

inline constexpr int64_t kMaxTaskTiles = 4;
inline constexpr int64_t kPagesTogether = 2;  // at most, in one pass over scores

// Query rows [row_begin, row_end) of each of some sequences from s on, and group g; at most kMaxTaskTiles
// tiles. Several sequences have all rows of one token each, and one prefix: its keys are read once.
struct ForwardTask {
  int32_t s = 0, sequences = 1, g = 0;
  int64_t row_begin = 0, row_end = 0;  // of a sequence
  int64_t keys = 0;                    // the most that a row sees
  int64_t rows() const { return (row_end - row_begin) * sequences; }
};

struct Forward {
  Sizes size;
  float scale = 1;
  const float* q = nullptr;
  const float* k = nullptr;
  const float* v = nullptr;
  float* out = nullptr;
  float* maxima = nullptr;  // [T, H], for the backward; null: not wanted
  float* sums = nullptr;
  void* page_data = nullptr;  // of f32 or bf16
  bool bf16_pages = false;
  int64_t page_elements = 0;
  bool values_in_keys = false;  // a page holds keys by rows
  int64_t values_at = 0;        // where a page's values begin
  int64_t value_row = 0;        // between those of two keys
  const int32_t* page_table = nullptr;
  int64_t max_pages = 0;
  const int32_t* offsets = nullptr;
  const int32_t* positions = nullptr;
  const int64_t* prefixes = nullptr;  // tensor/batch.h; null: no row has one
  const int32_t* tails = nullptr;
  int64_t tile_rows = kTileRows;  // fewer where there are too few rows to go round

  void* element(int64_t i) const {
    return static_cast<char*>(page_data) +
           i * static_cast<int64_t>(bf16_pages ? sizeof(uint16_t) : sizeof(float));
  }
  // Rows of a tile: all of a sequence's, where the task has several sequences.
  int64_t tile_height(const ForwardTask& task) const {
    return task.sequences == 1 ? tile_rows : kTileRows / size.heads() * size.heads();
  }
  int64_t tiles(const ForwardTask& task) const { return ceil_div(task.rows(), tile_height(task)); }
  // Scratch of a task: queries, scores, outputs, and pages that cannot be read as they lie.
  int64_t scratch_floats(const ForwardTask& task) const {
    return tiles(task) * kBlockFloats * (size.k_blocks() + ceil_div(task.keys, kKeyTile) + size.v_blocks()) +
           (values_in_keys || prefixes != nullptr ? kPagesTogether * kKeyTile * size.K : 0);
  }
};

// Writes keys and values of group g of tokens [begin, end) of the batch, all of sequence s, into their pages.
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
  float* dq = nullptr;  // null: not wanted
  float* dk = nullptr;
  float* dv = nullptr;
  bool add_dq = false, add_dk = false, add_dv = false;  // to what is there, or assign
  const int32_t* offsets = nullptr;
  const int32_t* parents = nullptr;  // null: no row has one
};

// One family of rows (a row without children is one) and group: where its scratch lies, and the row in hand.
// Key j of that row is token prefix_first + j of the batch for j < prefix, then token first + j - prefix.
struct BackwardTask {
  const Backward* job = nullptr;
  int64_t g = 0;
  int64_t key_tiles = 0;    // of the family's longest row
  int64_t block_tiles = 1;  // row tiles a block
  int64_t first = 0, tokens = 0, rows = 0;
  int64_t prefix_first = 0, prefix = 0;
  // By key tile, those of the prefix staying while children come and go: transposed keys and values; sums of
  // dk, dv.
  float* keys_t = nullptr;    // [key_tiles][K][32]
  float* values_t = nullptr;  // [key_tiles][V][32]
  float* dk = nullptr;        // [key_tiles * 32][k_blocks * 32]
  float* dv = nullptr;
  // By row tile of the block.
  float* q = nullptr;    // [block_tiles][k_blocks][12][32]
  float* d_o = nullptr;  // [block_tiles][v_blocks][12][32]
  float* p = nullptr;    // [block_tiles][key_tiles][12][32]
  float* ds = nullptr;
  float* dq = nullptr;  // [block_tiles][12][k_blocks * 32]

  static int64_t scratch_floats(const Sizes& size, int64_t keys, int64_t block_tiles);
  void place(float* scratch);
  void enter(int64_t s);
  int64_t keys() const { return prefix + tokens; }
  // Key tiles that hold keys of the row's own.
  int64_t first_own_tile() const { return prefix / kKeyTile; }
  int64_t own_tiles() const { return ceil_div(keys(), kKeyTile) - first_own_tile(); }
};

inline constexpr int64_t kKeyStrip = 8;  // keys whose dk, dv one kernel call sums
inline constexpr int64_t kStripsPerTile = kKeyTile / kKeyStrip;

// Puts the row's own keys of a tile into scratch and clears their sums; backward_end hands the sums on.
void backward_begin(const BackwardTask& t, int64_t key_tile);
// Row tile `tile`, the block's first being `first`: p, ds and dq.
void backward_rows(const BackwardTask& t, int64_t first, int64_t tile);
// Adds the rows of tiles [first, last) to dk, dv of one strip of keys.
void backward_keys(const BackwardTask& t, int64_t first, int64_t last, int64_t strip);
void backward_end(const BackwardTask& t, int64_t key_tile);

}  // namespace r1::attention_detail
