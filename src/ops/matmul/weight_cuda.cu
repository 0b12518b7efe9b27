// ops/matmul/weight_cuda.cu: a Weight on a CUDA device: its rows, and the products that read them.
//
// A frozen matrix is read from its file in pieces that pass through the host's memory. In cuda-bf16 products
// run on tensor cores: what is f32 there, gradients above all, is rounded to bf16 in scratch.
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <span>
#include <vector>

#include "ops/convert/convert.h"
#include "ops/convert/convert_cuda.h"
#include "ops/elementwise/elementwise_cuda.h"
#include "ops/matmul/free_product_cuda.h"
#include "ops/matmul/frozen_rows_cuda.h"
#include "ops/matmul/matmul_backend.h"
#include "ops/matmul/matmul_cuda.h"
#include "ops/matmul/quant_product_cuda.h"
#include "ops/matmul/quant_tiles.h"
#include "ops/matmul/round_gradient_cuda.h"
#include "ops/matmul/split_gradient_cuda.h"
#include "ops/matmul/tensor_product_cuda.h"
#include "ops/simd/bf16_cuda.cuh"
#include "ops/simd/column_blocks_cuda.cuh"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

const float* bias_of(const Weight& w) {
  return w.bias() != nullptr ? w.bias()->value.f32() : nullptr;
}

bool on_tensor_cores(const Context& ctx) {
  return ctx.row().product == Product::tensor_bf16;
}

// Bytes of blocks that are on the device at a time, on their way to tiles.
constexpr size_t kPieceBytes = size_t{16} << 20;

// Throws Error if a scale, or a code of FP8, of rows from `first` on is NaN or infinite.
void check_blocks(const Parameter& p, int64_t first, std::span<const std::byte> blocks) {
  const Format format = p.stored.format;
  const int64_t at = first * p.value.dim(1);
  if (format != Format::f8_e4m3) {
    const int64_t bad = first_bad_scale(format, blocks);
    if (bad < 0) return;
    std::vector<float> values(static_cast<size_t>(row_of(format).elements));
    p.stored.read(at + bad, values);
    return check_finite(p.stored, at + bad, values);
  }
  constexpr std::byte kMagnitude{0x7F};
  const auto nan = std::ranges::find_if(blocks, [](std::byte b) { return (b & kMagnitude) == kMagnitude; });
  if (nan == blocks.end()) return;
  float value = 0;
  p.stored.read(at + (nan - blocks.begin()), std::span(&value, 1));
  check_finite(p.stored, at + (nan - blocks.begin()), std::span<const float>(&value, 1));
}

// Reads the blocks of a quantised matrix from its file and makes tiles of them. `room` holds kPieceBytes of the device.
void read_tiles(Context& ctx, const Parameter& p, std::byte* to, std::byte* room) {
  const Format format = p.stored.format;
  const int64_t N = p.value.dim(0), K = p.value.dim(1), row = bytes_of(format, K);
  const QuantTiles tiles{format, N, K, to};
  const int64_t most = static_cast<int64_t>(kPieceBytes) / row / kTileRows * kTileRows;
  if (most == 0)
    throw Error(p.stored.owner->path() + ": tensor " + p.stored.name + " has rows of " + std::to_string(K) +
                " numbers, too many for --device cuda: use --device cpu");
  std::vector<std::byte> piece(static_cast<size_t>(std::min(N, most) * row));
  for (int64_t first = 0; first < N; first += most) {
    const int64_t rows = std::min(most, N - first);
    const auto part = std::span(piece).first(static_cast<size_t>(rows * row));
    p.stored.read_raw(first * K, part);
    check_blocks(p, first, part);
    ctx.memory().write(room, part.data(), part.size(), ctx.stream);
    pack_tiles(tiles, room, first, rows, ctx.stream);
  }
  if (format == Format::f8_e4m3) {
    R1_CHECK(p.stored.scales != nullptr && p.stored.scales->count() == fp8_scale_count(N, K), p.name,
             " scales");
    std::vector<float> scales(static_cast<size_t>(fp8_scale_count(N, K)));
    p.stored.scales->read(0, scales);
    ctx.memory().write(to + tiles_bytes(format, N, K), scales.data(), scales.size() * sizeof(float),
                       ctx.stream);
  }
  // Any stream may read it afterwards.
  check(cudaStreamSynchronize(static_cast<cudaStream_t>(ctx.stream)), "cudaStreamSynchronize");
}

constexpr int kThreads = 256;

// y[r] = row indices[r], or first + r, of `table`, in f32; rounded to bf16 if kRound.
template <class From, bool kRound>
__global__ void __launch_bounds__(kThreads)
    widen_rows(const From* table, const int32_t* indices, int64_t first, int64_t K, float* y) {
  const int64_t r = blockIdx.x;
  const From* from = table + (indices != nullptr ? indices[r] : first + r) * K;
  for (int64_t i = threadIdx.x; i < K; i += kThreads) {
    const float value = to_f32(from[i]);
    y[r * K + i] = kRound ? through_bf16(value) : value;
  }
}

}  // namespace

void read_rows(Context& ctx, std::span<const ReadRows> calls) {
  const OpScope scope(ctx);
  const bool tiled = std::ranges::any_of(calls, [](const ReadRows& c) { return c.rows.dtype == DType::i32; });
  auto* room = tiled ? static_cast<std::byte*>(ctx.arena.take(kPieceBytes)) : nullptr;
  std::vector<NarrowTensor> trained;
  for (const ReadRows& call : calls) {
    const Parameter& p = *call.dense;
    const Tensor& rows = call.rows;
    if (!p.frozen()) {
      trained.push_back({.from = p.value.f32(), .n = rows.count(), .to = rows.bf16()});
    } else if (ctx.measuring) {
      continue;
    } else if (rows.dtype == DType::i32) {
      read_tiles(ctx, p, static_cast<std::byte*>(rows.data), room);
    } else {
      read_frozen_rows(ctx, p, rows);
    }
  }
  if (trained.size() > 1) return narrow_tensors(ctx, trained);
  if (trained.size() == 1 && !ctx.measuring)
    narrow_f32(trained[0].from, trained[0].n, trained[0].to, ctx.stream);
}

void copy_rows(Context& ctx, const CopyRows& call) {
  const OpScope scope(ctx);
  const int64_t n = call.count;
  const int32_t* indices = call.indices.empty() ? nullptr : on_device(ctx, call.indices);
  if (ctx.measuring || n == 0) return;
  if (call.blocks != nullptr) {
    const QuantTiles tiles{*call.blocks, call.N, call.K, static_cast<const std::byte*>(call.held.data)};
    if (call.bits != nullptr) return dequantise_tiles(tiles, call.first, n, call.bits, ctx.stream);
    return widen_tile_rows(tiles, indices, call.first, n, call.to, ctx.stream);
  }
  const bool wide = call.held.dtype == DType::f32, round = call.rounding == DType::bf16;
  if (wide && !round) {
    if (indices != nullptr) return gather_rows_f32(call.held.f32(), indices, n, call.K, call.to, ctx.stream);
    const size_t bytes = static_cast<size_t>(n * call.K) * sizeof(float);
    return ctx.memory().copy(call.to, call.held.f32() + call.first * call.K, bytes, ctx.stream);
  }
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  const auto blocks = static_cast<unsigned>(n);
  if (wide) {
    widen_rows<float, true>
        <<<blocks, kThreads, 0, stream>>>(call.held.f32(), indices, call.first, call.K, call.to);
  } else {
    widen_rows<uint16_t, false>
        <<<blocks, kThreads, 0, stream>>>(call.held.bf16(), indices, call.first, call.K, call.to);
  }
  check_launch("copy_rows");
}

namespace {

// Bits of bf16: in place, or rounded into the arena.
const uint16_t* as_bf16(Context& ctx, const float* from, int64_t n) {
  auto* to = ctx.arena.array<uint16_t>(n);
  if (!ctx.measuring) narrow_f32(from, n, to, ctx.stream);
  return to;
}
const uint16_t* as_bf16(Context& ctx, const Tensor& t) {
  return t.dtype == DType::bf16 ? t.bf16() : as_bf16(ctx, t.f32(), t.count());
}

// y = x W^T, without the address of W.
TensorProduct product_of(Context& ctx, const Weight& w, const uint16_t* x, int64_t T, void* y, bool y_bf16) {
  return forward_product({.x = x,
                          .T = T,
                          .w = nullptr,
                          .N = w.N(),
                          .K = w.K(),
                          .bias = bias_of(w),
                          .y = y,
                          .y_bf16 = y_bf16,
                          .most_shards = ctx.row().k_shards,
                          .early = launches_early(ctx)});
}

QuantTiles tiles_of(Context& ctx, const Weight& w) {
  return {w.dense().stored.format, w.N(), w.K(), w.tiles(ctx)};
}

void dense_times(Context& ctx, const TensorProduct& product);

// The product of a quantised matrix: many rows of x read it in bf16, some rows of W after the other, which stay in the
// second-level cache.
void quant_times(Context& ctx, const QuantTiles& w, const TensorProduct& product) {
  if (product.J <= kMostQuantRows) {
    const QuantProductOnTiles one{w, product};
    if (!ctx.measuring && product.J > 0) quant_products_of(std::span(&one, 1), ctx.stream);
    return;
  }
  constexpr int64_t kCacheBytes = int64_t{32} << 20, kLeastRows = 256;
  const int64_t rows = std::min(w.N, std::max(kLeastRows, kCacheBytes / (2 * w.K) / kLeastRows * kLeastRows));
  auto* scratch = ctx.arena.array<uint16_t>(rows * w.K);
  for (int64_t first = 0; first < w.N; first += rows) {
    const OpScope scope(ctx);
    TensorProduct part = product;
    part.I = std::min(rows, w.N - first);
    part.p.data = scratch;
    const int64_t at = first * product.d_i;
    part.d = product.d_bf16 ? static_cast<void*>(static_cast<uint16_t*>(product.d) + at)
                            : static_cast<void*>(static_cast<float*>(product.d) + at);
    if (product.bias != nullptr) part.bias = product.bias + first;
    part.early = false;  // the rows are new
    if (!ctx.measuring) dequantise_tiles(w, first, part.I, scratch, ctx.stream);
    dense_times(ctx, part);
  }
}

void tensor_times(Context& ctx, const Weight& w, const uint16_t* x, int64_t T, void* y, bool y_bf16) {
  TensorProduct product = product_of(ctx, w, x, T, y, y_bf16);
  if (w.has_tiles(ctx)) return quant_times(ctx, tiles_of(ctx, w), product);
  product.p.data = w.bf16_rows(ctx);
  dense_times(ctx, product);
}

void dense_times(Context& ctx, const TensorProduct& product) {
  if (!ctx.exact && free_product(ctx, product)) return;
  const int64_t parts = split_parts(product);
  float* sums = parts > 1 ? ctx.arena.array<float>(parts * product.I * product.J) : nullptr;
  if (ctx.measuring) return;
  if (sums != nullptr) return tensor_product_in_parts(product, sums, ctx.stream);
  tensor_product(product, ctx.stream);
}

void tensor_times_transposed(Context& ctx, const Weight& w, const uint16_t* dy, int64_t T, bool accumulate,
                             float* dx) {
  const TensorProduct product =
      input_gradient_product(dy, T, w.bf16_rows(ctx), w.N(), w.K(), ctx.row().k_shards, accumulate, dx);
  if (!ctx.exact && free_product(ctx, product)) return;
  if (!ctx.measuring) tensor_product(product, ctx.stream);
}

void tensor_weight_gradient(Context& ctx, const Weight& w, const uint16_t* dy, const uint16_t* x, int64_t T) {
  float* grad = w.dense().grad.f32();
  if (!ctx.exact && free_product(ctx, weight_gradient_product(x, dy, T, w.N(), w.K(), nullptr, 0, grad)))
    return;
  if (const TokenSteps* steps = ctx.steps) {
    const int64_t tokens = std::accumulate(steps->families.begin(), steps->families.end(), int64_t{0});
    R1_CHECK(tokens == T, w.dense().name, ": a gradient over ", T, " tokens, the batch has ", tokens);
    return split_weight_gradient(ctx, x, dy, w.N(), w.K(), grad);
  }
  if (ctx.measuring) return measure_split_gradient(ctx, T, w.N(), w.K());
  tensor_product(weight_gradient_product(x, dy, T, w.N(), w.K(), nullptr, 0, grad), ctx.stream);
}

struct AddDy {
  __device__ float operator()(float sum, float dy, float, float) const { return __fadd_rn(sum, dy); }
};

void add_bias_gradient(Context& ctx, const Weight& w, const float* dy, int64_t T) {
  if (w.bias() == nullptr || !w.bias()->grad) return;
  float* grad = w.bias()->grad.f32();
  if (sums_by_family(ctx))
    return run_column_blocks<false, false>(ctx, "matmul_dbias", {dy, nullptr, nullptr}, T, w.N(), grad,
                                           AddDy());
  if (!ctx.measuring) matmul_dbias_f32(dy, T, w.N(), grad, ctx.stream);
}

// Returns dy [T, N] in bf16 and adds its columns to the gradient of the bias, in one pass if the shapes allow it.
const uint16_t* rounded_gradient(Context& ctx, const Weight& w, const Tensor& dy) {
  if (w.bias() == nullptr || !w.bias()->grad) return as_bf16(ctx, dy);
  auto* rounded = ctx.arena.array<uint16_t>(dy.count());
  if (round_and_sum_columns(ctx, dy.f32(), dy.dim(0), w.N(), rounded, w.bias()->grad.f32())) return rounded;
  if (!ctx.measuring) narrow_f32(dy.f32(), dy.count(), rounded, ctx.stream);
  add_bias_gradient(ctx, w, dy.f32(), dy.dim(0));
  return rounded;
}

}  // namespace

void times(Context& ctx, const WeightProduct& call) {
  const Weight& w = *call.w;
  const OpScope scope(ctx);
  if (on_tensor_cores(ctx))
    return tensor_times(ctx, w, as_bf16(ctx, call.x, call.T * w.K()), call.T, call.y, false);
  const float* rows = w.rows(ctx);
  if (ctx.measuring) return;
  matmul_f32(call.x, call.T, rows, w.N(), w.K(), bias_of(w), call.y, ctx.stream);
}

void times_transposed(Context& ctx, const WeightTransposed& call) {
  const Weight& w = *call.w;
  const OpScope scope(ctx);
  if (on_tensor_cores(ctx)) {
    const uint16_t* dy = as_bf16(ctx, call.dy, call.T * w.N());
    return tensor_times_transposed(ctx, w, dy, call.T, call.accumulate, call.dx);
  }
  const float* rows = w.rows(ctx);
  if (ctx.measuring) return;
  matmul_dx_f32(call.dy, call.T, rows, w.N(), w.K(), call.accumulate, call.dx, ctx.stream);
}

void add_weight_gradient(Context& ctx, const WeightGradient& call) {
  const Weight& w = *call.w;
  if (const Tensor& grad = w.dense().grad) {
    if (on_tensor_cores(ctx)) {
      const OpScope scope(ctx);
      const uint16_t* dy = as_bf16(ctx, call.dy, call.T * w.N());
      tensor_weight_gradient(ctx, w, dy, as_bf16(ctx, call.x, call.T * w.K()), call.T);
    } else if (!ctx.measuring) {
      matmul_dw_f32(call.x, call.dy, call.T, w.N(), w.K(), grad.f32(), ctx.stream);
    }
  }
  add_bias_gradient(ctx, w, call.dy, call.T);
}

void matmul_forward(Context& ctx, const MatmulForward& call) {
  if (on_tensor_cores(ctx)) {
    const OpScope scope(ctx);
    return tensor_times(ctx, *call.w, as_bf16(ctx, call.x), call.x.dim(0), call.y.data,
                        call.y.dtype == DType::bf16);
  }
  times(ctx, {.w = call.w, .x = call.x.f32(), .T = call.x.dim(0), .y = call.y.f32()});
}

bool matmuls_forward(Context& ctx, std::span<const MatmulForward> calls) {
  std::array<TensorProduct, kMostProducts> products;
  std::array<QuantProductOnTiles, kMostProducts> on_tiles;
  if (!on_tensor_cores(ctx) || calls.empty() || calls.size() > products.size()) return false;
  if (calls.front().x.dtype != DType::bf16) return false;
  constexpr int64_t kFewRows = 32;  // are bound by memory, whatever the order
  if (!ctx.exact && calls.front().x.dim(0) > kFewRows) return false;
  size_t count = 0, tile_count = 0;
  for (const MatmulForward& call : calls) {
    const Weight& w = *call.w;
    const int64_t T = call.x.dim(0);
    TensorProduct product = product_of(ctx, w, call.x.bf16(), T, call.y.data, call.y.dtype == DType::bf16);
    if (w.has_tiles(ctx)) {
      if (T > kMostQuantRows) return false;
      on_tiles[tile_count++] = {tiles_of(ctx, w), product};
    } else {
      product.p.data = w.bf16_rows(ctx);
      products[count++] = product;
    }
  }
  if (ctx.measuring || calls.front().x.dim(0) == 0) return true;
  if (count > 0) tensor_products_of(std::span(products).first(count), ctx.stream);
  if (tile_count > 0) quant_products_of(std::span(on_tiles).first(tile_count), ctx.stream);
  return true;
}

void matmul_backward(Context& ctx, const MatmulBackward& call) {
  const int64_t T = call.x.dim(0);
  if (on_tensor_cores(ctx)) {
    const OpScope scope(ctx);
    const Weight& w = *call.w;
    ctx.tape->await_turn();
    const uint16_t* narrow = call.rounded ? call.rounded.bf16() : rounded_gradient(ctx, w, call.dy);
    if (call.dx) tensor_times_transposed(ctx, w, narrow, T, call.dx.accumulate, call.dx.grad.f32());
    if (w.dense().grad) tensor_weight_gradient(ctx, w, narrow, as_bf16(ctx, call.x), T);
    return;
  }
  const float* dy = call.dy.f32();
  if (call.dx) {
    times_transposed(
        ctx, {.w = call.w, .dy = dy, .T = T, .dx = call.dx.grad.f32(), .accumulate = call.dx.accumulate});
  }
  ctx.tape->await_turn();
  add_weight_gradient(ctx, {.w = call.w, .dy = dy, .x = call.x.f32(), .T = T});
}

}  // namespace r1::cuda
