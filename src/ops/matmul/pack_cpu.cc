// ops/matmul/pack_cpu.cc: copies between row-major matrices and the panels of gemm.h.
#include <algorithm>

#include "ops/matmul/gemm.h"
#include "tensor/dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/matmul/pack_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/simd/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {

// Packs `width` rows of w [., K] into a panel [K][kPanel]; columns beyond `width` become zeros.
void pack_panel(const float* w, int64_t width, int64_t K, int64_t w_row, float* to) {
  constexpr int64_t kBlock = 64;  // steps of k: the panel's lines stay near while rows are spread over them
  for (int64_t k = 0; k < K; k += kBlock) {
    const int64_t n = std::min(kBlock, K - k);
    float* at = to + k * kPanel;
    if (width < kPanel) std::fill_n(at, n * kPanel, 0.0f);
    transpose_rows(w + k, w_row, width, n, at);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <bit>

#include "base/integers.h"

namespace r1 {

HWY_EXPORT(pack_panel);

void pack_rows(ThreadPool& threads, const float* b, int64_t K, int64_t N, int64_t b_row, float* panels) {
  threads.parallel_for(K, std::max<int64_t>(1, 16384 / std::max<int64_t>(N, 1)),
                       [&](int64_t begin, int64_t end) {
                         for (int64_t k = begin; k < end; ++k)
                           for (int64_t n0 = 0; n0 < N; n0 += kPanel) {
                             float* to = panels + n0 * K + k * kPanel;
                             const int64_t width = std::min(kPanel, N - n0);
                             std::copy_n(b + k * b_row + n0, width, to);
                             std::fill(to + width, to + kPanel, 0.0f);
                           }
                       });
}

void pack_transposed(ThreadPool& threads, const float* w, int64_t N, int64_t K, int64_t w_row,
                     float* panels) {
  threads.parallel_for(ceil_div(N, kPanel), 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      HWY_DYNAMIC_DISPATCH(pack_panel)
      (w + p * kPanel * w_row, std::min(kPanel, N - p * kPanel), K, w_row, panels + p * K * kPanel);
    }
  });
}

namespace {

// bits(v) returns one element as bf16.
template <class T, class Bits>
void pack_pairs_by(const T* w, int64_t width, int64_t K, uint32_t* to, const Bits& bits) {
  for (int64_t k0 = 0; k0 < K; k0 += 32) {  // blocks of k, as in pack_panel
    const int64_t k1 = std::min(k0 + 32, K);
    for (int64_t n = 0; n < width; ++n) {
      const T* row = w + n * K;
      for (int64_t k = k0; k < k1; k += 2) {
        const uint32_t high = k + 1 < K ? bits(row[k + 1]) : 0;
        to[k / 2 * kPanel + n] = bits(row[k]) | high << 16;
      }
    }
    for (int64_t k = k0; k < k1; k += 2)
      std::fill(to + k / 2 * kPanel + width, to + (k / 2 + 1) * kPanel, 0u);
  }
}

template <class T>
void pack_all_pairs(ThreadPool& threads, const T* w, int64_t N, int64_t K, uint32_t* pairs) {
  threads.parallel_for(ceil_div(N, kPanel), 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p)
      pack_one_panel(w + p * kPanel * K, std::min(kPanel, N - p * kPanel), K,
                     pairs + p * pair_rows(K) * kPanel);
  });
}

}  // namespace

void pack_one_panel(const float* w, int64_t width, int64_t K, float* panel) {
  HWY_DYNAMIC_DISPATCH(pack_panel)(w, width, K, K, panel);
}

void pack_one_panel(const float* w, int64_t width, int64_t K, uint32_t* pairs) {
  pack_pairs_by(w, width, K, pairs, [](float v) -> uint32_t { return bf16_from_f32(v); });
}

void pack_one_panel(const uint16_t* w, int64_t width, int64_t K, uint32_t* pairs) {
  if (K % 2 == 0 && reinterpret_cast<uintptr_t>(w) % alignof(float) == 0) {
    // Pairs are units of 32 bits in the rows, too, so that they are transposed like floats.
    HWY_DYNAMIC_DISPATCH(pack_panel)
    (reinterpret_cast<const float*>(w), width, K / 2, K / 2, reinterpret_cast<float*>(pairs));
  } else {
    pack_pairs_by(w, width, K, pairs, [](uint16_t v) -> uint32_t { return v; });
  }
}

void pack_pairs(ThreadPool& threads, const float* w, int64_t N, int64_t K, uint32_t* pairs) {
  pack_all_pairs(threads, w, N, K, pairs);
}

void pack_pairs(ThreadPool& threads, const uint16_t* w, int64_t N, int64_t K, uint32_t* pairs) {
  pack_all_pairs(threads, w, N, K, pairs);
}

void pack_rows_as_pairs(const uint16_t* b, int64_t K, int64_t N, uint32_t* pairs) {
  for (int64_t n0 = 0; n0 < N; n0 += kPanel) {
    uint32_t* to = pairs + n0 * pair_rows(K);
    const int64_t width = std::min(kPanel, N - n0);
    for (int64_t k = 0; k < K; k += 2, to += kPanel) {
      for (int64_t n = 0; n < width; ++n) {
        const uint32_t high = k + 1 < K ? b[(k + 1) * N + n0 + n] : 0;
        to[n] = b[k * N + n0 + n] | high << 16;
      }
      std::fill(to + width, to + kPanel, 0u);
    }
  }
}

void unpack_row(const float* panels, int64_t n, int64_t K, float* to) {
  const float* from = panels + n / kPanel * K * kPanel + n % kPanel;
  for (int64_t k = 0; k < K; ++k) to[k] = from[k * kPanel];
}

void unpack_row(const uint32_t* pairs, int64_t n, int64_t K, float* to) {
  const uint32_t* from = pairs + n / kPanel * pair_rows(K) * kPanel + n % kPanel;
  for (int64_t k = 0; k < K; ++k) {
    const uint32_t pair = from[k / 2 * kPanel];
    to[k] = std::bit_cast<float>(k % 2 == 0 ? pair << 16 : pair & 0xFFFF0000u);
  }
}

void unpack_f16_row(const uint32_t* pairs, int64_t n, int64_t K, float* to) {
  const uint32_t* from = pairs + n / kPanel * pair_rows(K) * kPanel + n % kPanel;
  for (int64_t k = 0; k < K; ++k)
    to[k] = f32_from_f16(static_cast<uint16_t>(from[k / 2 * kPanel] >> k % 2 * 16));
}

}  // namespace r1
#endif  // HWY_ONCE
