// ops/attention/backward_cpu.cc: the backward kernels.
//
// For one row of the batch and one group, with rows r = (query i, head h of the group) in that order:
//
//   p[r, j]  = exp(s[r, j] - m[r]) * (1 / sum[r])              s as in the forward
//   dp[r, j] = sum over d of do[r, d] * v[j, d]                d in order
//   delta[r] = sum over d of o[r, d] * do[r, d]                16 lanes, then a tree
//   ds[r, j] = p[r, j] * (dp[r, j] - delta[r]) * scale
//   dq[r]    = sum over j of ds[r, j] * k[j]                   j in order
//   dk[j]    = sum over r of ds[r, j] * q[r]                   r in order
//   dv[j]    = sum over r of p[r, j] * do[r]                   r in order
//
// Each sum is one chain of FMAs from +0 (masked entries that share a tile with visible ones enter as zeros).
// If there is already a gradient, the whole sum is added to it. So neither the block size nor the cut over
// threads changes a bit. Children of a row (tensor/batch.h) follow it: the chains of its keys run over its
// own rows, then over theirs.
//
// Rows are processed in blocks of row tiles: backward_rows computes p and ds of a tile for all its keys, and
// dq; then backward_keys adds the block to dk and dv of a strip of 8 keys. Calls of one step are independent.
#include <cmath>
#include <cstring>

#include "ops/attention/kernels_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention/backward_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/attention/chains-inl.h"
#include "ops/attention/pack-inl.h"
#include "ops/simd/exp-inl.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1::attention_detail {
namespace HWY_NAMESPACE {
using namespace r1::HWY_NAMESPACE;
namespace hn = hwy::HWY_NAMESPACE;

// A row: its token's position, its index in [T, H], and what the forward saved for it.
struct BackwardRow {
  int64_t position = 0;
  int64_t index = 0;
  float maximum = 0, inverse = 0, delta = 0;
};

// Replaces scores in p and dp in ds, both [rows][32], by p and ds. Keys after a row's position become zeros.
HWY_INLINE void softmax_backward(const BackwardRow* rows, int64_t count, int64_t first_key, float scale,
                                 float* HWY_RESTRICT p, float* HWY_RESTRICT ds) {
  const LaneTag d;
  const LaneVector scales = hn::Set(d, scale);
  for (int64_t r = 0; r < count; ++r) {
    const int64_t seen = rows[r].position - first_key + 1;
    const LaneVector top = hn::Set(d, rows[r].maximum), inverse = hn::Set(d, rows[r].inverse);
    const LaneVector delta = hn::Set(d, rows[r].delta);
    for (int64_t at = 0; at < kKeyTile; at += static_cast<int64_t>(kLaneWidth)) {
      float* pr = p + r * kKeyTile + at;
      float* dr = ds + r * kKeyTile + at;
      LaneVector probability = hn::Mul(exp_vector(d, hn::Sub(hn::LoadU(d, pr), top)), inverse);
      LaneVector slope = hn::Mul(hn::Mul(probability, hn::Sub(hn::LoadU(d, dr), delta)), scales);
      if (at + static_cast<int64_t>(kLaneWidth) > seen) {
        const auto mask = hn::FirstN(d, static_cast<size_t>(seen > at ? seen - at : 0));
        probability = hn::IfThenElseZero(mask, probability);
        slope = hn::IfThenElseZero(mask, slope);
      }
      hn::StoreU(probability, d, pr);
      hn::StoreU(slope, d, dr);
    }
  }
}

// The positions of the row's own keys in a tile.
struct OwnKeys {
  int64_t begin, end;
  OwnKeys(const BackwardTask& t, int64_t key_tile)
      : begin(key_tile * kKeyTile > t.prefix ? key_tile * kKeyTile : t.prefix),
        end((key_tile + 1) * kKeyTile < t.keys() ? (key_tile + 1) * kKeyTile : t.keys()) {}
  int64_t count() const { return end - begin; }
};

HWY_INLINE void put(const float* from, float* to, int64_t n, bool add) {
  if (add) {
    map2(from, to, to, n, [](auto, auto a, auto b) HWY_ATTR { return hwy::HWY_NAMESPACE::Add(b, a); });
  } else {
    copy_row(from, n, to);
  }
}

void backward_begin_kernel(const BackwardTask& t, int64_t key_tile) {
  const Backward& b = *t.job;
  const auto& z = b.size;
  const int64_t tile = key_tile * kKeyTile;
  const OwnKeys own(t, key_tile);
  const int64_t key = (t.first + own.begin - t.prefix) * z.G + t.g;
  float* keys = t.keys_t + tile * z.K;
  float* values = t.values_t + tile * z.V;
  // Kernels read the whole tile and drop the results of unset lanes; zeros there cannot trap.
  if (own.begin == tile && own.count() < kKeyTile) {
    std::memset(keys, 0, static_cast<size_t>(kKeyTile * z.K) * sizeof(float));
    std::memset(values, 0, static_cast<size_t>(kKeyTile * z.V) * sizeof(float));
  }
  const int64_t lane = own.begin - tile;  // after the prefix's lanes
  transpose_rows(b.k + key * z.K, z.G * z.K, own.count(), z.K, keys + lane);
  transpose_rows(b.v + key * z.V, z.G * z.V, own.count(), z.V, values + lane);
  const int64_t k_wide = z.k_blocks() * kKeyTile, v_wide = z.v_blocks() * kKeyTile;
  const auto cleared = static_cast<size_t>(kKeyTile - lane) * sizeof(float);
  std::memset(t.dk + own.begin * k_wide, 0, cleared * static_cast<size_t>(k_wide));
  std::memset(t.dv + own.begin * v_wide, 0, cleared * static_cast<size_t>(v_wide));
}

void backward_rows_kernel(const BackwardTask& t, int64_t first, int64_t tile) {
  const Backward& b = *t.job;
  const auto& z = b.size;
  const int64_t slot = tile - first, row0 = tile * kTileRows;
  const int64_t rows = t.rows - row0 < kTileRows ? t.rows - row0 : kTileRows;
  float* q = t.q + slot * z.k_blocks() * kBlockFloats;
  float* d_o = t.d_o + slot * z.v_blocks() * kBlockFloats;
  float* p = t.p + slot * t.key_tiles * kBlockFloats;
  float* ds = t.ds + slot * t.key_tiles * kBlockFloats;
  const int64_t heads = z.heads();
  int64_t token = row0 / heads, head = row0 % heads;
  BackwardRow row[kTileRows];
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = (t.first + token) * z.H + t.g * heads + head;
    row[r].position = t.prefix + token;
    row[r].index = at;
    if (++head == heads) head = 0, ++token;
    row[r].maximum = b.maxima[at];
    row[r].inverse = 1.0f / b.sums[at];
    row[r].delta = tree_sum(fold2(Lanes16::set(0), b.out + at * z.V, b.d_out + at * z.V, z.V,
                                  [](auto, auto lane, auto o, auto g)
                                      HWY_ATTR { return hwy::HWY_NAMESPACE::MulAdd(o, g, lane); }));
    pack_row(b.q + at * z.K, z.K, q + r * kKeyTile);
    pack_row(b.d_out + at * z.V, z.V, d_o + r * kKeyTile);
  }
  const int64_t keys = row[rows - 1].position + 1;
  for (int64_t j = 0; j * kKeyTile < keys; ++j) {
    const int64_t lanes = keys - j * kKeyTile <= 16 ? 16 : kKeyTile;  // the others are masked for all rows
    Chain c;
    c.a = q;
    c.a_block = kBlockFloats;
    c.b = t.keys_t + j * z.K * kKeyTile;
    c.b_block = kKeyTile * kKeyTile;
    c.b_row = kKeyTile;
    c.k_end = z.K;
    c.c = p + j * kBlockFloats;
    c.c_row = kKeyTile;
    c.scale = b.scale;
    chain_rows(c, rows, 0, lanes);
    c.a = d_o;
    c.b = t.values_t + j * z.V * kKeyTile;
    c.k_end = z.V;
    c.c = ds + j * kBlockFloats;
    c.scale = 1;
    chain_rows(c, rows, 0, lanes);
    softmax_backward(row, rows, j * kKeyTile, b.scale, p + j * kBlockFloats, ds + j * kBlockFloats);
  }
  if (b.dq == nullptr) return;
  Chain c;
  c.a = ds;
  c.a_block = kBlockFloats;
  c.b_row = z.G * z.K;
  c.b_block = kKeyTile * c.b_row;
  c.c_row = z.k_blocks() * kKeyTile;
  c.c = t.dq + slot * kTileRows * c.c_row;
  if (t.prefix > 0) {
    c.b = b.k + (t.prefix_first * z.G + t.g) * z.K;
    c.k_end = t.prefix;
    chain_rows(c, rows, 0, z.K);
    c.accumulate = true;
  }
  c.b = b.k + ((t.first - t.prefix) * z.G + t.g) * z.K;  // a parent's tokens precede its children's
  c.k_begin = t.prefix;
  c.k_end = keys;
  chain_rows(c, rows, 0, z.K);
  for (int64_t r = 0; r < rows; ++r) put(c.c + r * c.c_row, b.dq + row[r].index * z.K, z.K, b.add_dq);
}

void backward_keys_kernel(const BackwardTask& t, int64_t first, int64_t last, int64_t strip) {
  const auto& z = t.job->size;
  const int64_t key = strip * kKeyStrip;
  const int64_t block_row = first * kTileRows;
  const int64_t end = (last * kTileRows < t.rows ? last * kTileRows : t.rows) - block_row;
  const int64_t visible = (key - t.prefix) * z.heads() - block_row;  // earlier rows see none of these keys
  const int64_t begin = visible > 0 ? visible : 0;
  if (begin >= end) return;
  Chain c;
  c.a_block = t.key_tiles * kBlockFloats;
  c.b_row = kKeyTile;
  c.b_panel = kBlockFloats;
  c.k_begin = begin;
  c.k_end = end;
  c.accumulate = true;
  const int64_t at = strip / kStripsPerTile * kBlockFloats + strip % kStripsPerTile * kKeyStrip;
  if (t.job->dv != nullptr) {
    c.a = t.p + at;
    c.b = t.d_o;
    c.b_block = z.v_blocks() * kBlockFloats;
    c.c_row = z.v_blocks() * kKeyTile;
    c.c = t.dv + key * c.c_row;
    chain_strip(c, (z.V + 15) / 16 * 16);
  }
  if (t.job->dk != nullptr) {
    c.a = t.ds + at;
    c.b = t.q;
    c.b_block = z.k_blocks() * kBlockFloats;
    c.c_row = z.k_blocks() * kKeyTile;
    c.c = t.dk + key * c.c_row;
    chain_strip(c, (z.K + 15) / 16 * 16);
  }
}

void backward_end_kernel(const BackwardTask& t, int64_t key_tile) {
  const Backward& b = *t.job;
  const auto& z = b.size;
  const OwnKeys own(t, key_tile);
  for (int64_t j = own.begin; j < own.end; ++j) {
    const int64_t key = (t.first + j - t.prefix) * z.G + t.g;
    if (b.dk != nullptr) put(t.dk + j * z.k_blocks() * kKeyTile, b.dk + key * z.K, z.K, b.add_dk);
    if (b.dv != nullptr) put(t.dv + j * z.v_blocks() * kKeyTile, b.dv + key * z.V, z.V, b.add_dv);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace r1::attention_detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1::attention_detail {
HWY_EXPORT(backward_begin_kernel);
HWY_EXPORT(backward_rows_kernel);
HWY_EXPORT(backward_keys_kernel);
HWY_EXPORT(backward_end_kernel);

int64_t BackwardTask::scratch_floats(const Sizes& z, int64_t keys, int64_t block_tiles) {
  const int64_t tiles = ceil_div(keys, kKeyTile), wide = (z.k_blocks() + z.v_blocks()) * kKeyTile;
  return tiles * kKeyTile * (z.K + z.V + wide) +
         block_tiles * kBlockFloats * (2 * z.k_blocks() + z.v_blocks() + 2 * tiles);
}

void BackwardTask::place(float* scratch) {
  const Sizes& z = job->size;
  const auto next = [&scratch](int64_t floats) {
    float* at = scratch;
    scratch += floats;
    return at;
  };
  dk = next(key_tiles * kKeyTile * z.k_blocks() * kKeyTile);
  dv = next(key_tiles * kKeyTile * z.v_blocks() * kKeyTile);
  keys_t = next(key_tiles * kKeyTile * z.K);
  values_t = next(key_tiles * kKeyTile * z.V);
  q = next(block_tiles * z.k_blocks() * kBlockFloats);
  dq = next(block_tiles * z.k_blocks() * kBlockFloats);
  d_o = next(block_tiles * z.v_blocks() * kBlockFloats);
  p = next(block_tiles * key_tiles * kBlockFloats);
  ds = next(block_tiles * key_tiles * kBlockFloats);
}

void BackwardTask::enter(int64_t s) {
  const int64_t parent = job->parents == nullptr ? -1 : job->parents[s];
  first = job->offsets[s];
  tokens = job->offsets[s + 1] - first;
  rows = tokens * job->size.heads();
  prefix_first = parent < 0 ? 0 : job->offsets[parent];
  prefix = parent < 0 ? 0 : job->offsets[parent + 1] - prefix_first;
}

void backward_begin(const BackwardTask& t, int64_t key_tile) {
  HWY_DYNAMIC_DISPATCH(backward_begin_kernel)(t, key_tile);
}
void backward_rows(const BackwardTask& t, int64_t first, int64_t tile) {
  HWY_DYNAMIC_DISPATCH(backward_rows_kernel)(t, first, tile);
}
void backward_keys(const BackwardTask& t, int64_t first, int64_t last, int64_t strip) {
  HWY_DYNAMIC_DISPATCH(backward_keys_kernel)(t, first, last, strip);
}
void backward_end(const BackwardTask& t, int64_t key_tile) {
  HWY_DYNAMIC_DISPATCH(backward_end_kernel)(t, key_tile);
}

}  // namespace r1::attention_detail
#endif
