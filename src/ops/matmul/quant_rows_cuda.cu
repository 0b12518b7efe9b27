// ops/matmul/quant_rows_cuda.cu: tiles of quantised matrices from stored blocks, and rows of numbers from tiles.
#include <cuda_runtime.h>

#include "base/error.h"
#include "base/integers.h"
#include "ops/matmul/quant_product_cuda.h"
#include "ops/matmul/quant_tiles_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;

__device__ __forceinline__ uint32_t byte_at(const std::byte* block, int64_t at) {
  return static_cast<uint32_t>(block[at]);
}

// Code i of a block, as tiles keep it (tensor/blocks.cc has the places).
template <Format kFormat>
__device__ __forceinline__ uint32_t code_at(const std::byte* b, int i) {
  const int part = i / 32, in_part = i % 32;
  const auto two_bits = [&](int begin) {
    return byte_at(b, begin + part / 4 * 32 + in_part) >> (part % 4 * 2) & 3;
  };
  if constexpr (kFormat == Format::q4_0) return byte_at(b, 2 + i % 16) >> (i / 16 * 4) & 15;
  if constexpr (kFormat == Format::q8_0) return byte_at(b, 2 + i) ^ 0x80;
  if constexpr (kFormat == Format::q2_k) return two_bits(16);
  if constexpr (kFormat == Format::q3_k) return two_bits(32) | (byte_at(b, in_part) >> part & 1) << 2;
  if constexpr (kFormat == Format::q4_k)
    return byte_at(b, 16 + part / 2 * 32 + in_part) >> (part % 2 * 4) & 15;
  if constexpr (kFormat == Format::q5_k)
    return (byte_at(b, 48 + part / 2 * 32 + in_part) >> (part % 2 * 4) & 15) |
           (byte_at(b, 16 + in_part) >> part & 1) << 4;
  if constexpr (kFormat == Format::q6_k)
    return (byte_at(b, part / 4 * 64 + part % 2 * 32 + in_part) >> (part % 4 / 2 * 4) & 15) | two_bits(128)
                                                                                                  << 4;
  return byte_at(b, 0);  // f8_e4m3: a block is one code
}

// A row of stored blocks, K numbers.
template <Format kFormat>
struct StoredRow {
  static constexpr int64_t kElements = kFormat == Format::f8_e4m3                           ? 1
                                       : kFormat == Format::q4_0 || kFormat == Format::q8_0 ? 32
                                                                                            : 256;
  const std::byte* blocks;  // null: zeros
  int64_t K, bytes;         // a block's numbers and bytes

  __device__ __forceinline__ const std::byte* block_of(int64_t k) const {
    return blocks + k / kElements * bytes;
  }
  __device__ __forceinline__ uint32_t code(int64_t k) const {
    if (blocks == nullptr || k >= K) return 0;
    return code_at<kFormat>(block_of(k), static_cast<int>(k % kElements));
  }
  // Byte `at` of the head of the piece that begins with k0.
  __device__ __forceinline__ uint32_t head_byte(int64_t k0, int at) const {
    constexpr TileScales kScales = tiles::Traits<kFormat>::kScales;
    if (blocks == nullptr) return 0;
    if constexpr (kScales == TileScales::d_of_32) {
      const int64_t k = k0 + at / 2 * 32;
      return k < K ? byte_at(block_of(k), at % 2) : 0;
    }
    const std::byte* const b = block_of(k0);
    if constexpr (kFormat == Format::q6_k) return byte_at(b, 192 + at);
    if constexpr (kFormat == Format::q3_k) {
      const uint32_t low = byte_at(b, 96 + at % 8) >> (at < 8 ? 0 : 4) & 15,
                     high = byte_at(b, 104 + at % 4) >> (at / 4 * 2) & 3;
      return (low | high << 4) - 32 & 0xFF;
    }
    return byte_at(b, at);
  }
  // Byte `at` of d, or of d and dmin.
  __device__ __forceinline__ uint32_t extra_byte(int64_t k0, int at) const {
    constexpr int kAt = kFormat == Format::q6_k ? 208 : kFormat == Format::q3_k ? 108 : 80;
    return blocks == nullptr ? 0 : byte_at(block_of(k0), kAt + at);
  }
};

// The four codes of a lane in a row at one step, as bytes.
template <Format kFormat>
__device__ __forceinline__ uint32_t four_codes(const StoredRow<kFormat>& row, int64_t k0, int t) {
  return row.code(k0 + 2 * t) | row.code(k0 + 2 * t + 1) << 8 | row.code(k0 + 2 * t + 8) << 16 |
         row.code(k0 + 2 * t + 9) << 24;
}

// A warp packs one piece of a tile.
template <Format kFormat>
__global__ void __launch_bounds__(kThreads)
    pack_pieces(const std::byte* stored, int64_t rows, int64_t K, int64_t row_bytes, int64_t block_bytes,
                int64_t bytes_of_tile, std::byte* to) {
  using Is = tiles::Traits<kFormat>;
  const int64_t pieces = (K + kTilePiece - 1) / kTilePiece,
                at = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  const int64_t tile = at / pieces, piece = at % pieces;
  if (tile * kTileRows >= rows) return;
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  const int64_t k0 = piece * kTilePiece;
  std::byte* const out = to + tile * bytes_of_tile + piece * Is::kPiece;
  const auto row_of = [&](int64_t r) {
    const int64_t n = tile * kTileRows + r;
    return StoredRow<kFormat>{n < rows ? stored + n * row_bytes : nullptr, K, block_bytes};
  };
  for (int i = lane; i < Is::kHead; i += 32)
    out[i] = static_cast<std::byte>(row_of(i / 16).head_byte(k0, i % 16));
  constexpr int kEach = Is::kExtra / static_cast<int>(kTileRows);
  if constexpr (kEach > 0) {
    for (int i = lane; i < Is::kExtra; i += 32)
      out[Is::kHead + i] = static_cast<std::byte>(row_of(i / kEach).extra_byte(k0, i % kEach));
  }
  const StoredRow<kFormat> first = row_of(g), second = row_of(g + 8);
  for (int half = 0; half < 2; ++half) {
    std::byte* const planes = out + Is::kHead + Is::kExtra + half * Is::kHalf;
    uint32_t ones[2] = {}, pairs[4] = {};
    for (int s = 0; s < kHalfSteps; ++s) {
      const int64_t k = k0 + half * kTileHalf + s * 16;
      if (k >= K && (!Is::kHalves || s % 4 == 0)) break;
      const uint32_t code[2] = {four_codes(first, k, t), four_codes(second, k, t)};
      std::byte* const main = planes + Is::kMainBegin;
      if constexpr (Is::kBytes) {
        auto* const words = reinterpret_cast<uint32_t*>(main + s / 2 * 512 + lane * 16);
        words[s % 2 * 2] = code[0], words[s % 2 * 2 + 1] = code[1];
      }
      if constexpr (Is::kHalves)
        reinterpret_cast<uint32_t*>(main + s / 4 * 512 + lane * 16)[s % 4] =
            (code[0] & 0x0F0F0F0Fu) | (code[1] & 0x0F0F0F0Fu) << 4;
      for (int r = 0; r < 2; ++r) {
        pairs[s / 2] |= (code[r] >> Is::kPairsAt & 0x03030303u) << (s % 2 * 4 + 2 * r);
        ones[s / 4] |= (code[r] >> Is::kOnesAt & 0x01010101u) << (s % 4 * 2 + r);
      }
    }
    if constexpr (Is::kOnes) reinterpret_cast<uint2*>(planes)[lane] = {ones[0], ones[1]};
    if constexpr (Is::kPairs)
      reinterpret_cast<uint4*>(planes + Is::kPairsBegin)[lane] = {pairs[0], pairs[1], pairs[2], pairs[3]};
  }
}

// Where a warp finds half `half` of a tile's row of pieces.
template <Format kFormat>
struct HalfAt {
  const std::byte *head, *codes;
  float scale[2];
  int steps;
  __device__ __forceinline__ HalfAt(const std::byte* data, const std::byte* fp8_scales, int64_t tile,
                                    int64_t half, int64_t K, int64_t bytes_of_tile) {
    using Is = tiles::Traits<kFormat>;
    const std::byte* const piece = data + tile * bytes_of_tile + half / 2 * Is::kPiece;
    head = piece;
    codes = piece + Is::kHead + Is::kExtra + half % 2 * Is::kHalf;
    steps = static_cast<int>(min(int64_t{kHalfSteps}, (K - half * kTileHalf) / 16));
    if constexpr (Is::kScales == TileScales::of_matrix) {
      const int64_t columns = (K + kFp8Block - 1) / kFp8Block, row = tile * kTileRows / kFp8Block;
      scale[0] = scale[1] = reinterpret_cast<const float*>(fp8_scales)[row * columns + half];
      head = reinterpret_cast<const std::byte*>(scale);
    }
  }
};

struct TileArrays {
  const std::byte *data, *fp8_scales;
  int64_t K, bytes_of_tile;
};
TileArrays arrays_of(const QuantTiles& w) {
  return {w.data, w.data + tiles_bytes(w.format, w.N, w.K), w.K, tile_bytes(w.format, w.K)};
}

// A warp dequantises a half of a tile. Rows are passed through shared memory, so that lines are stored whole.
template <Format kFormat>
__global__ void __launch_bounds__(kThreads)
    dequantise_halves(TileArrays from, int64_t first_tile, int64_t rows, uint16_t* to) {
  constexpr int kLine = kTileHalf + 8;  // elements; eight lines' words are in different banks
  __shared__ __align__(16) uint16_t lines[kWarps][kTileRows * kLine];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32,
            g = lane / 4, t = lane % 4;
  const int64_t halves = (from.K + kTileHalf - 1) / kTileHalf,
                at = static_cast<int64_t>(blockIdx.x) * kWarps + warp;
  const int64_t tile = at / halves, half = at % halves;
  if (tile * kTileRows >= rows) return;
  const HalfAt<kFormat> here(from.data, from.fp8_scales, first_tile + tile, half, from.K, from.bytes_of_tile);
  auto* const words = reinterpret_cast<uint32_t*>(lines[warp]);
  each_step<kFormat, true, false>(here.head, here.codes, static_cast<int>(half % 2), 0, here.steps,
                                  [&](int s, const uint32_t(&a)[4]) {
#pragma unroll
                                    for (int e = 0; e < 4; ++e)
                                      words[(g + e % 2 * 8) * (kLine / 2) + 8 * s + t + e / 2 * 4] = a[e];
                                  });
  __syncwarp();
  const int vectors = here.steps * 2;
  for (int r = lane / 16; r < kTileRows; r += 2) {
    const int64_t n = tile * kTileRows + r;
    const int vector = lane % 16;
    if (n < rows && vector < vectors)
      *reinterpret_cast<uint4*>(to + n * from.K + half * kTileHalf + vector * 8) =
          *reinterpret_cast<const uint4*>(lines[warp] + r * kLine + vector * 8);
  }
}

// A warp widens a half of one row.
template <Format kFormat>
__global__ void __launch_bounds__(kThreads)
    widen_halves(TileArrays from, const int32_t* indices, int64_t first, float* to) {
  const int lane = static_cast<int>(threadIdx.x) % 32, t = lane % 4;
  const int64_t i = blockIdx.x, halves = (from.K + kTileHalf - 1) / kTileHalf;
  const int64_t row = indices != nullptr ? indices[i] : first + i;
  const int in_tile = static_cast<int>(row % kTileRows);
  for (int64_t half = threadIdx.x / 32; half < halves; half += kWarps) {
    const HalfAt<kFormat> here(from.data, from.fp8_scales, row / kTileRows, half, from.K, from.bytes_of_tile);
    float* const out = to + i * from.K + half * kTileHalf + 2 * t;
    each_step<kFormat, true, false>(here.head, here.codes, static_cast<int>(half % 2), 0, here.steps,
                                    [&](int s, const uint32_t(&a)[4]) {
                                      if (lane / 4 != in_tile % 8) return;
#pragma unroll
                                      for (int e = 0; e < 2; ++e) {
                                        const uint32_t two = in_tile < 8 ? a[2 * e] : a[2 * e + 1];
                                        out[16 * s + 8 * e] = __uint_as_float(two << 16);
                                        out[16 * s + 8 * e + 1] = __uint_as_float(two & 0xFFFF0000u);
                                      }
                                    });
  }
}

void check_matrix(const QuantTiles& w, int64_t first) {
  R1_CHECK(has_tiles(w.format, w.K) && first % kTileRows == 0, name_of(w.format), " [", w.N, ", ", w.K,
           "] from row ", first);
}

}  // namespace

void pack_tiles(const QuantTiles& to, const std::byte* blocks, int64_t first, int64_t rows, void* stream) {
  check_matrix(to, first);
  if (rows == 0) return;
  const int64_t bytes = tile_bytes(to.format, to.K), warps = tile_count(rows) * ceil_div(to.K, kTilePiece);
  with_tile_format(to.format, [&]<Format kFormat>() {
    pack_pieces<kFormat><<<static_cast<unsigned>(ceil_div(warps, int64_t{kWarps})), kThreads, 0,
                           static_cast<cudaStream_t>(stream)>>>(
        blocks, rows, to.K, bytes_of(to.format, to.K), row_of(to.format).bytes, bytes,
        const_cast<std::byte*>(to.data) + first / kTileRows * bytes);
  });
  check_launch("pack_tiles");
}

void dequantise_tiles(const QuantTiles& from, int64_t first, int64_t rows, uint16_t* to, void* stream) {
  check_matrix(from, first);
  if (rows == 0) return;
  const int64_t warps = tile_count(rows) * ceil_div(from.K, kTileHalf);
  with_tile_format(from.format, [&]<Format kFormat>() {
    dequantise_halves<kFormat>
        <<<static_cast<unsigned>(ceil_div(warps, int64_t{kWarps})), kThreads, 0,
           static_cast<cudaStream_t>(stream)>>>(arrays_of(from), first / kTileRows, rows, to);
  });
  check_launch("dequantise_tiles");
}

void widen_tile_rows(const QuantTiles& from, const int32_t* indices, int64_t first, int64_t count, float* to,
                     void* stream) {
  check_matrix(from, 0);
  if (count == 0) return;
  with_tile_format(from.format, [&]<Format kFormat>() {
    widen_halves<kFormat><<<static_cast<unsigned>(count), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
        arrays_of(from), indices, first, to);
  });
  check_launch("widen_tile_rows");
}

}  // namespace r1::cuda
