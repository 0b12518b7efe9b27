// tests/gpu/bits_case.h: the matrices of matmul_bits_test.cu, in the forms that must not, or may, change the
// bits.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "tests/gpu/bits_kernels.cuh"

namespace r1::test {

inline constexpr int kPadding = 192;  // bytes of zeros in the padded matrices

inline void check(cudaError_t error, const char* what, int line) {
  if (error == cudaSuccess) return;
  std::printf("matmul_bits_test: line %d: %s: %s\n", line, what, cudaGetErrorString(error));
  std::exit(1);
}
#define R1_DONE(call) check(call, #call, __LINE__)

// Random numbers: a counter, mixed (splitmix64).
struct Draws {
  uint64_t state;
  uint64_t bits() {
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
  }
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  double normal() {
    return std::sqrt(-2 * std::log(1 - uniform())) * std::cos(6.283185307179586 * uniform());
  }
  double sign() { return bits() & 1 ? 1 : -1; }
};

// normal: magnitudes about one. wide: exponents uniform over much of the type's range. cancel: wide, and
// every product but the last few has a partner, near or far in K, that cancels it up to a few bits.
enum class Data { normal, wide, cancel };
inline constexpr Data kAllData[] = {Data::normal, Data::wide, Data::cancel};

inline double draw(Draws& draws, Type type, Data data) {
  if (data == Data::normal) return draws.normal() * (type == Type::bf16 ? std::exp(draws.normal()) : 8);
  const double exponent = type == Type::bf16 ? draws.uniform() * 60 - 30 : draws.uniform() * 17 - 9;
  return draws.sign() * std::exp2(exponent);
}

// Row-major, `bytes` per row; columns past K hold zeros.
using Bytes = std::vector<uint8_t>;

inline Bytes encode(const std::vector<float>& values, int K, int bytes, Type type) {
  Bytes out(static_cast<size_t>(kRows) * bytes);
  for (int r = 0; r < kRows; ++r) {
    for (int k = 0; k < K; ++k) {
      const float v = values[static_cast<size_t>(r) * K + k];
      if (type == Type::bf16) {
        const __nv_bfloat16 rounded = __float2bfloat16(v);
        std::memcpy(&out[static_cast<size_t>(r) * bytes + 2 * k], &rounded, 2);
      } else {
        out[static_cast<size_t>(r) * bytes + k] = __nv_cvt_float_to_fp8(v, __NV_SATFINITE, __NV_E4M3);
      }
    }
  }
  return out;
}

// Makes column partner[i] cancel column i: half of the pairs lie within 64 columns, the others anywhere.
inline void cancel_columns(std::vector<float>& a, std::vector<float>& b, int K, Draws& draws) {
  std::vector<int> order(K);
  for (int k = 0; k < K; ++k) order[k] = k;
  const auto shuffle = [&](int begin, int end) {
    for (int k = end - 1; k > begin; --k) std::swap(order[k], order[begin + draws.bits() % (k - begin + 1)]);
  };
  for (int k = 0; k + 64 <= K; k += 64) shuffle(k, k + 64);
  shuffle(K / 2, K);
  for (int i = 0; i + 1 < K - 6; i += 2) {
    const int from = order[i], to = order[i + 1];
    for (int r = 0; r < kRows; ++r) {
      const size_t row = static_cast<size_t>(r) * K;
      a[row + to] = a[row + from];
      b[row + to] = -b[row + from] * (draws.bits() % 4 == 0 ? 1 + 0x1p-7f : 1);
    }
  }
}

struct Matrices {
  uint8_t *a = nullptr, *b = nullptr;
  int bytes = 0;
  Matrices(const Bytes& host_a, const Bytes& host_b, int row) : bytes(row) {
    R1_DONE(cudaMalloc(&a, host_a.size()));
    R1_DONE(cudaMalloc(&b, host_b.size()));
    R1_DONE(cudaMemcpy(a, host_a.data(), host_a.size(), cudaMemcpyHostToDevice));
    R1_DONE(cudaMemcpy(b, host_b.data(), host_b.size(), cudaMemcpyHostToDevice));
  }
  ~Matrices() {
    cudaFree(a);
    cudaFree(b);
  }
  Matrices(const Matrices&) = delete;
  Matrices& operator=(const Matrices&) = delete;
  Job job() const { return {.a = a, .b = b, .bytes = bytes, .end = bytes}; }
};

// One product's inputs: as they are, and in the forms that must not, or may, change the bits.
struct Case {
  Case(Type type, int K, Data data)
      : type(type), K(K), bytes(type == Type::bf16 ? 2 * K : K), chunk(type == Type::bf16 ? 1024 : 128) {
    Draws draws{static_cast<uint64_t>(K) * 16 + static_cast<uint64_t>(data) * 2 + (type == Type::bf16)};
    std::vector<float> a(static_cast<size_t>(kRows) * K), b(a.size());
    for (float& v : a) v = static_cast<float>(draw(draws, type, data));
    for (float& v : b) v = static_cast<float>(draw(draws, type, data));
    if (data == Data::cancel) cancel_columns(a, b, K, draws);
    plain_a = encode(a, K, bytes, type);
    plain_b = encode(b, K, bytes, type);
    padded_a = encode(a, K, bytes + kPadding, type);
    padded_b = encode(b, K, bytes + kPadding, type);
    nan_a = with_nan_rows(plain_a);
    nan_b = with_nan_rows(plain_b);
    const int step = type == Type::bf16 ? 16 : 32;  // columns of one instruction
    std::vector<int> order(step);
    for (int i = 0; i < step; ++i) order[i] = (i * 11 + 5) % step;
    shuffled_a = shuffled(plain_a, order);
    shuffled_b = shuffled(plain_b, order);
  }
  Bytes with_nan_rows(Bytes m) const {
    for (int r = 1; r < kRows; r += 2) std::fill_n(m.begin() + static_cast<int64_t>(r) * bytes, bytes, 0xFF);
    return m;  // 0xFF is a NaN of e4m3, 0xFFFF one of bf16
  }
  Bytes shuffled(const Bytes& m, const std::vector<int>& order) const {
    Bytes out(m.size());
    const size_t size = type == Type::bf16 ? 2 : 1;
    for (size_t i = 0; i < m.size() / size; ++i) {
      const size_t from = i / order.size() * order.size() + order[i % order.size()];
      std::memcpy(&out[i * size], &m[from * size], size);
    }
    return out;
  }

  Type type;
  int K, bytes, chunk;
  Bytes plain_a, plain_b, padded_a, padded_b, nan_a, nan_b, shuffled_a, shuffled_b;
};

}  // namespace r1::test
