// ops/matmul/weight_cpu.cc: makes the copy that a Weight holds, and reads rows of it.
//
// A frozen matrix is read from its file a panel at a time into a thread's scratch, which stays in its cache,
// and packed from there: it never lies in memory row by row as a whole, and no page of the file is mapped.
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/first_error.h"
#include "base/integers.h"
#include "base/pages.h"
#include "ops/convert/convert.h"
#include "ops/matmul/matmul_backend.h"
#include "ops/simd/grain.h"
#include "tensor/blocks.h"

namespace r1::cpu {
namespace {

void pack_value(Context& ctx, const Tensor& value, const Tensor& panels) {
  const int64_t N = value.dim(0), K = value.dim(1);
  const OpScope scope(ctx);
  if (panels.dtype == DType::f32) {
    pack_transposed(ctx.threads, as_f32(ctx, value), N, K, K, panels.f32());
  } else if (value.dtype == DType::bf16) {
    pack_pairs(ctx.threads, value.bf16(), N, K, static_cast<uint32_t*>(panels.data));
  } else {
    pack_pairs(ctx.threads, value.f32(), N, K, static_cast<uint32_t*>(panels.data));
  }
}

// Blocks of this size are mapped on their own (tensor/memory.cc).
constexpr size_t kLargeBlock = size_t{1} << 20;

// A thread's scratch for one panel.
struct PanelScratch {
  float* wide;       // [kPanel, K]
  uint16_t* narrow;  // [kPanel, K]
};

// Rows [first, first + width) of a matrix in f16 -> one panel of pairs. Throws Error for a value that is NaN or
// infinite, which products would take for a large one.
void pack_f16_panel(const Parameter& p, int64_t first, int64_t width, uint16_t* rows, const Tensor& panels) {
  constexpr uint16_t kExponent = 0x7C00;
  const int64_t K = p.value.dim(1), at = first * K;
  const std::span<uint16_t> values(rows, static_cast<size_t>(width * K));
  p.stored.read_raw(at, std::as_writable_bytes(values));
  uint16_t most = 0;
  for (const uint16_t v : values) most = std::max<uint16_t>(most, v & 0x7FFF);
  if (most >= kExponent) {
    std::vector<float> wide(values.size());
    p.stored.read(at, wide);
    check_finite(p.stored, at, std::span<const float>(wide));  // throws
  }
  pack_one_panel(rows, width, K,
                 static_cast<uint32_t*>(panels.data) + first / kPanel * pair_rows(K) * kPanel);
}

// Rows [first, first + width) of a stored matrix -> one panel.
void pack_stored_panel(const Parameter& p, int64_t first, int64_t width, const PanelScratch& scratch,
                       const Tensor& panels) {
  const int64_t K = p.value.dim(1), at = first * K, n = width * K, panel = first / kPanel;
  const bool rounded = p.value.dtype == DType::bf16 || panels.dtype == DType::bf16;
  if (panels.dtype == DType::f16) return pack_f16_panel(p, first, width, scratch.narrow, panels);
  if (p.stored.format == Format::bf16) {
    p.stored.read(at, std::span(scratch.narrow, static_cast<size_t>(n)));
  } else {
    p.stored.read(at, std::span(scratch.wide, static_cast<size_t>(n)));
    if (rounded) narrow(scratch.wide, n, scratch.narrow);
  }
  if (panels.dtype == DType::bf16) {
    uint32_t* pairs = static_cast<uint32_t*>(panels.data) + panel * pair_rows(K) * kPanel;
    return pack_one_panel(scratch.narrow, width, K, pairs);
  }
  if (rounded || p.stored.format == Format::bf16) widen(scratch.narrow, n, scratch.wide);
  pack_one_panel(scratch.wide, width, K, panels.f32() + panel * K * kPanel);
}

void pack_stored(Context& ctx, const Parameter& p, const Tensor& panels) {
  const int64_t N = p.value.dim(0), K = p.value.dim(1), threads = ctx.threads.size();
  const bool large = panels.bytes() >= kLargeBlock;
  if (large) use_small_pages(panels.data, panels.bytes());
  const auto panel_bytes = static_cast<int64_t>(panels.bytes()) / panels.dim(0);
  const Buffer wide({threads, kPanel, K}, DType::f32), narrow({threads, kPanel, K}, DType::bf16);
  FirstError error;
  ctx.threads.parallel_for_thread(ceil_div(N, kPanel), 1, [&](int64_t begin, int64_t end, int thread) {
    const PanelScratch scratch{wide.tensor().f32() + thread * kPanel * K,
                               narrow.tensor().bf16() + thread * kPanel * K};
    error.run([&] {
      for (int64_t i = begin; i < end; ++i) {
        if (large) provide_pages(static_cast<std::byte*>(panels.data) + i * panel_bytes, panel_bytes);
        pack_stored_panel(p, i * kPanel, std::min(kPanel, N - i * kPanel), scratch, panels);
      }
    });
  });
  error.rethrow();
  if (large) allow_huge_pages(panels.data, panels.bytes());
}

// Blocks, a panel at a time.
void pack_blocks(Context& ctx, const Parameter& p, const Tensor& panels) {
  const int64_t N = p.value.dim(0), K = p.value.dim(1), threads = ctx.threads.size();
  const Format format = p.stored.format;
  const bool large = panels.bytes() >= kLargeBlock;
  if (large) use_small_pages(panels.data, panels.bytes());
  const int64_t row_bytes = bytes_of(format, K), panel_bytes = quant_panel_bytes(format, K);
  const auto words = ceil_div(kQuantPanel * row_bytes, int64_t{4});
  const Buffer rows({threads, words}, DType::i32);
  FirstError error;
  ctx.threads.parallel_for_thread(ceil_div(N, kQuantPanel), 1, [&](int64_t begin, int64_t end, int thread) {
    auto* const bytes = reinterpret_cast<std::byte*>(rows.tensor().i32() + thread * words);
    error.run([&] {
      for (int64_t i = begin; i < end; ++i) {
        std::byte* const panel = static_cast<std::byte*>(panels.data) + i * panel_bytes;
        if (large) provide_pages(panel, static_cast<size_t>(panel_bytes));
        const int64_t width = std::min(kQuantPanel, N - i * kQuantPanel), first = i * kQuantPanel * K;
        const std::span<std::byte> blocks(bytes, static_cast<size_t>(width * row_bytes));
        p.stored.read_raw(first, blocks);
        if (const int64_t bad = first_bad_scale(format, blocks); bad >= 0) {
          std::vector<float> values(static_cast<size_t>(row_of(format).elements));
          p.stored.read(first + bad, values);
          check_finite(p.stored, first + bad, values);  // throws
        }
        pack_quant_panel(format, bytes, width, K, panel);
      }
    });
  });
  error.rethrow();
  if (large) allow_huge_pages(panels.data, panels.bytes());
}

// A row of blocks, in panels or by itself.
void copy_row_of_blocks(const CopyRows& call, int64_t row, std::span<float> to) {
  const auto* const held = static_cast<const std::byte*>(call.held.data);
  const auto bytes = static_cast<size_t>(bytes_of(*call.blocks, call.K));
  if (!call.packed)
    return dequantise_blocks(*call.blocks, {held + static_cast<size_t>(row) * bytes, bytes}, to);
  std::vector<std::byte> blocks(bytes);
  unpack_quant_row({.format = *call.blocks, .N = call.N, .K = call.K, .panels = held}, row, blocks.data());
  dequantise_blocks(*call.blocks, blocks, to);
}

void copy_row(Context& ctx, const CopyRows& call, int64_t row, float* to) {
  const int64_t K = call.K;
  const Tensor& held = call.held;
  if (call.blocks != nullptr) {
    copy_row_of_blocks(call, row, {to, static_cast<size_t>(K)});
    if (call.rounding == DType::bf16) round_to_bf16(ctx.threads, to, K, to);
    return;
  }
  if (call.packed) {
    if (held.dtype == DType::f32) return unpack_row(held.f32(), row, K, to);
    if (held.dtype == DType::f16) return unpack_f16_row(static_cast<const uint32_t*>(held.data), row, K, to);
    return unpack_row(static_cast<const uint32_t*>(held.data), row, K, to);
  }
  switch (held.dtype) {
    case DType::bf16:
      return widen(held.bf16() + row * K, K, to);
    case DType::f16:
      widen_stored(Format::f16,
                   {static_cast<const std::byte*>(held.data) + row * K * 2, static_cast<size_t>(K * 2)},
                   {to, static_cast<size_t>(K)});
      break;
    default:
      std::memcpy(to, held.f32() + row * K, static_cast<size_t>(K) * sizeof(float));
  }
  if (call.rounding == DType::bf16) round_to_bf16(ctx.threads, to, K, to);
}

}  // namespace

void pack_weight(Context& ctx, const PackWeight& call) {
  if (!call.dense->frozen()) return pack_value(ctx, call.dense->value, call.panels);
  if (ctx.measuring) return;
  if (call.blocks) return pack_blocks(ctx, *call.dense, call.panels);
  pack_stored(ctx, *call.dense, call.panels);
}

namespace {

void read_matrix(Context& ctx, const ReadRows& call) {
  const Parameter& p = *call.dense;
  const int64_t N = p.value.dim(0), K = p.value.dim(1), grain = row_grain(K);
  if (call.rows.bytes() >= kLargeBlock) use_small_pages(call.rows.data, call.rows.bytes());
  FirstError error;
  ctx.threads.parallel_for(N, grain, [&](int64_t begin, int64_t end) {
    error.run([&] {
      const int64_t at = begin * K;
      const auto n = static_cast<size_t>((end - begin) * K);
      const Tensor& to = call.rows;
      if (to.dtype == DType::i32) {
        p.stored.read_raw(at, {static_cast<std::byte*>(to.data) + bytes_of(p.stored.format, at),
                               static_cast<size_t>(bytes_of(p.stored.format, static_cast<int64_t>(n)))});
      } else if (to.dtype == DType::bf16) {
        p.stored.read(at, std::span(to.bf16() + at, n));
      } else if (to.dtype == DType::f16) {
        p.stored.read_raw(at, {static_cast<std::byte*>(to.data) + at * 2, n * 2});
      } else {
        p.stored.read(at, std::span(to.f32() + at, n));
      }
    });
  });
  error.rethrow();
}

}  // namespace

void read_rows(Context& ctx, std::span<const ReadRows> calls) {
  if (ctx.measuring) return;
  for (const ReadRows& call : calls) read_matrix(ctx, call);
}

void copy_rows(Context& ctx, const CopyRows& call) {
  ctx.threads.parallel_for(call.count, row_grain(call.K), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = call.indices.empty() ? call.first + i : call.indices[static_cast<size_t>(i)];
      copy_row(ctx, call, row, call.to + i * call.K);
    }
  });
}

}  // namespace r1::cpu
