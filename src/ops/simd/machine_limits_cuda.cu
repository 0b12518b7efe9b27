// ops/simd/machine_limits_cuda.cu: the limits of a CUDA device.
#include <cuda_runtime.h>

#include <algorithm>
#include <functional>

#include "ops/simd/machine_limits.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256, kBlocksEach = 16;  // per multiprocessor
constexpr int kChains = 16, kFmas = 4096;        // independent chains, and the FMAs of each
constexpr int kTensorChains = 8, kTensorSteps = 1024;

__global__ void __launch_bounds__(kThreads) fma_chains(float* out) {
  float v[kChains];
#pragma unroll
  for (int c = 0; c < kChains; ++c) v[c] = static_cast<float>(threadIdx.x + c);
  for (int i = 0; i < kFmas; ++i) {
#pragma unroll
    for (int c = 0; c < kChains; ++c) v[c] = __fmaf_rn(v[c], 0.5f, 1.0f);
  }
  float sum = 0;
#pragma unroll
  for (int c = 0; c < kChains; ++c) sum += v[c];
  if (sum == -1.0f) *out = sum;  // never: it keeps the chains
}

// Tensor cores by mma.sync on registers: chains of instructions that do not wait for each other.
__global__ void __launch_bounds__(kThreads) tensor_chains(float* out) {
  float d[kTensorChains][4] = {};
  uint32_t a[4], b[2];
  for (int i = 0; i < 4; ++i) a[i] = 0x3F803C00u + threadIdx.x * 4 + i;
  for (int i = 0; i < 2; ++i) b[i] = 0x3C003F80u + threadIdx.x * 2 + i;
  for (int i = 0; i < kTensorSteps; ++i) {
#pragma unroll
    for (int c = 0; c < kTensorChains; ++c)
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
          "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
          : "+f"(d[c][0]), "+f"(d[c][1]), "+f"(d[c][2]), "+f"(d[c][3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
  float sum = 0;
  for (int c = 0; c < kTensorChains; ++c) sum += d[c][0] + d[c][1] + d[c][2] + d[c][3];
  if (sum == -1.0f) *out = sum;  // never: it keeps the chains
}

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "cudaEventCreate"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_{};
};

// Seconds of one call: the best of several.
double best_of(const std::function<void(cudaStream_t)>& run) {
  constexpr int kRuns = 8;
  const Stream stream;
  const auto s = static_cast<cudaStream_t>(stream.get());
  const Event begin, end;
  double best = 1e30;
  for (int i = 0; i < kRuns; ++i) {
    check(cudaEventRecord(begin.get(), s), "cudaEventRecord");
    run(s);
    check(cudaEventRecord(end.get(), s), "cudaEventRecord");
    check(cudaEventSynchronize(end.get()), "cudaEventSynchronize");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin.get(), end.get()), "cudaEventElapsedTime");
    best = std::min(best, ms * 1e-3);
  }
  return best;
}

class Bytes {
 public:
  explicit Bytes(size_t bytes) : bytes_(bytes), at_(cuda_memory().allocate(bytes)) {}
  ~Bytes() { cuda_memory().free(at_, bytes_); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  void* at() const { return at_; }

 private:
  size_t bytes_;
  void* at_;
};

}  // namespace

double copy_limit(int64_t bytes) {
  const auto n = static_cast<size_t>(bytes);
  const Bytes from(n), to(n);
  return 2 * static_cast<double>(bytes) / best_of([&](cudaStream_t s) {
           check(cudaMemcpyAsync(to.at(), from.at(), n, cudaMemcpyDeviceToDevice, s), "cudaMemcpyAsync");
         });
}

double fma_limit() {
  const Bytes out(sizeof(float));
  const int blocks = multiprocessors() * kBlocksEach;
  return 2.0 * blocks * kThreads * kChains * kFmas / best_of([&](cudaStream_t s) {
           fma_chains<<<blocks, kThreads, 0, s>>>(static_cast<float*>(out.at()));
           check_launch("fma_chains");
         });
}

double tensor_limit() {
  constexpr double kProducts = 16 * 8 * 16;  // of one instruction
  const Bytes out(sizeof(float));
  const int blocks = multiprocessors() * kBlocksEach;
  return 2.0 * blocks * (kThreads / 32) * kTensorChains * kTensorSteps * kProducts /
         best_of([&](cudaStream_t s) {
           tensor_chains<<<blocks, kThreads, 0, s>>>(static_cast<float*>(out.at()));
           check_launch("tensor_chains");
         });
}

}  // namespace r1::cuda
