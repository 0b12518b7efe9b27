// bench/gpu_bench.cuh: what the GPU's benchmarks share: random arrays, times, and the device's limits.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "ops/simd/machine_limits.h"
#include "tensor/cuda.h"

namespace r1::bench {

static __global__ void fill_kernel(float* to, int64_t n, uint32_t seed) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  uint32_t z = static_cast<uint32_t>(i) * 0x9E3779B9u + seed;
  z = (z ^ z >> 16) * 0x85EBCA6Bu;
  z = (z ^ z >> 13) * 0xC2B2AE35u;
  to[i] = static_cast<float>(z >> 8) * 0x1p-23f - 1.0f;
}

// Random floats in the device's memory, in [-1, 1).
class Floats {
 public:
  explicit Floats(int64_t n) : count_(n) {
    cuda::check(cudaMalloc(&data_, static_cast<size_t>(n) * sizeof(float)), "cudaMalloc");
    fill_kernel<<<static_cast<unsigned>((n + 255) / 256), 256>>>(data_, n, seed_ += 77);
    cuda::check_launch("fill_kernel");
    cuda::check(cudaDeviceSynchronize(), "fill_kernel");
  }
  ~Floats() { cudaFree(data_); }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  float* at() const { return data_; }
  size_t bytes() const { return static_cast<size_t>(count_) * sizeof(float); }

 private:
  static inline uint32_t seed_ = 1;
  float* data_ = nullptr;
  int64_t count_;
};

// Random bf16 in the device's memory, in [-1, 1).
static __global__ void narrow_kernel(const float* from, int64_t n, uint16_t* to) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) to[i] = static_cast<uint16_t>(__float_as_uint(from[i]) >> 16);
}

class Bits {
 public:
  explicit Bits(int64_t n) : count_(n) {
    const Floats values(n);
    cuda::check(cudaMalloc(&data_, bytes()), "cudaMalloc");
    narrow_kernel<<<static_cast<unsigned>((n + 255) / 256), 256>>>(values.at(), n, data_);
    cuda::check_launch("narrow_kernel");
    cuda::check(cudaDeviceSynchronize(), "narrow_kernel");
  }
  ~Bits() { cudaFree(data_); }
  Bits(const Bits&) = delete;
  Bits& operator=(const Bits&) = delete;
  uint16_t* at() const { return data_; }
  size_t bytes() const { return static_cast<size_t>(count_) * sizeof(uint16_t); }

 private:
  uint16_t* data_ = nullptr;
  int64_t count_;
};

class Bench {
 public:
  Bench() {
    cuda::check(cudaEventCreate(&begin_), "cudaEventCreate");
    cuda::check(cudaEventCreate(&end_), "cudaEventCreate");
  }

  // Rows whose names do not contain `only` are left out.
  void leave_out_all_but(std::string only) { only_ = std::move(only); }

  // Seconds of one call: the median of 11 groups of calls that take about 5 ms each.
  double seconds(const std::function<void()>& run) {
    run();
    run();
    int calls = 1;
    while (time(run, calls) < 5e-3 && calls < 4096) calls *= 2;
    std::vector<double> times(11);
    for (double& t : times) t = time(run, calls) / calls;
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

  void limits() {
    fma_peak_ = cuda::fma_limit();
    mma_peak_ = cuda::tensor_limit();
    copy_ = cuda::copy_limit(int64_t{1} << 31);
    std::printf("limits: f32 FMA %.1f TFLOP/s, bf16 by mma.sync %.1f TFLOP/s, copy %.2f TB/s\n",
                fma_peak_ / 1e12, mma_peak_ / 1e12, copy_ / 1e12);
    std::printf("%-36s %10s %9s %9s %7s\n", "kernel", "us", "TFLOP/s", "TB/s", "limit");
  }

  // Prints a row; the limit is the larger of the two shares.
  void row(const std::string& name, double flops, double bytes, const std::function<void()>& run) {
    row_of(name, flops, fma_peak_, "FMA", bytes, run);
  }
  // False if a row of this name is left out.
  bool measures(const std::string& name) const { return name.find(only_) != std::string::npos; }
  // Prints the row of one of `count` launches that `run` makes, each of which reads `bytes`.
  void row_per(const std::string& name, double bytes, int64_t count, const std::function<void()>& run) {
    row_of(name, 0, fma_peak_, "FMA", bytes, run, static_cast<double>(count));
  }
  // Prints the row of a product on tensor cores.
  void tensor_row(const std::string& name, double flops, double bytes, const std::function<void()>& run) {
    row_of(name, flops, mma_peak_, "mma.sync", bytes, run);
  }

 private:
  void row_of(const std::string& name, double flops, double peak, const char* unit, double bytes,
              const std::function<void()>& run, double count = 1) {
    if (!measures(name)) return;
    const double s = seconds(run) / count;
    const double compute = flops / s / peak, memory = bytes / s / copy_;
    std::printf("%-36s %10.1f %9.2f %9.3f %5.0f %% %s\n", name.c_str(), s * 1e6, flops / s / 1e12,
                bytes / s / 1e12, 100 * std::max(compute, memory), compute > memory ? unit : "copy");
    char line[256];
    std::snprintf(line, sizeof line,
                  "%s{\"name\": \"%s\", \"us\": %.3f, \"tflops\": %.3f, \"tbs\": %.4f, \"of_limit\": %.4f}",
                  rows_.empty() ? "" : ", ", name.c_str(), s * 1e6, flops / s / 1e12, bytes / s / 1e12,
                  std::max(compute, memory));
    rows_ += line;
  }

 public:
  void write_json(const char* path) const {
    FILE* file = std::fopen(path, "w");
    if (file == nullptr) throw Error(std::string(path) + ": cannot be written");
    std::fprintf(file,
                 "{\"device\": \"%s\", \"fma_tflops\": %.3f, \"mma_tflops\": %.3f, \"copy_tbs\": %.4f, "
                 "\"rows\": [%s]}\n",
                 cuda::device_facts().name.c_str(), fma_peak_ / 1e12, mma_peak_ / 1e12, copy_ / 1e12,
                 rows_.c_str());
    std::fclose(file);
  }

  cudaStream_t stream() const { return static_cast<cudaStream_t>(stream_.get()); }

 private:
  double time(const std::function<void()>& run, int calls) {
    cuda::check(cudaEventRecord(begin_, stream()), "cudaEventRecord");
    for (int i = 0; i < calls; ++i) run();
    cuda::check(cudaEventRecord(end_, stream()), "cudaEventRecord");
    cuda::check(cudaEventSynchronize(end_), "cudaEventSynchronize");
    float ms = 0;
    cuda::check(cudaEventElapsedTime(&ms, begin_, end_), "cudaEventElapsedTime");
    return ms * 1e-3;
  }

  cuda::Stream stream_;
  cudaEvent_t begin_{}, end_{};
  double fma_peak_ = 1, mma_peak_ = 1, copy_ = 1;
  std::string rows_, only_;
};

inline std::string shape(const char* name, int64_t T, int64_t N, int64_t K) {
  return std::string(name) + " " + std::to_string(T) + " x " + std::to_string(N) + " x " + std::to_string(K);
}

void bench_ops(Bench& bench);       // gpu_ops.cu
void bench_products(Bench& bench);  // gpu_products.cu
void bench_quant(Bench& bench);     // gpu_quant.cu
void bench_few_rows(Bench& bench);  // gpu_rows.cu
void bench_decode(Bench& bench);    // gpu_decode.cu

}  // namespace r1::bench
