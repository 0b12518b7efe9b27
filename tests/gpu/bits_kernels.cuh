// tests/gpu/bits_kernels.cuh: one product by either family of instructions, with its K cut in several ways.
#pragma once

#include "tests/gpu/tensor_core.cuh"

namespace r1::test {

inline constexpr int kRows = 256;  // of A and of B: C is 256 x 256
inline constexpr int kStage = 64;  // bytes of K that wait in shared memory: two instructions

// C[r, c] = sum over K of A[r, k] B[c, k], with C at c + r * c_row + c * c_col.
struct Job {
  const uint8_t* a = nullptr;
  const uint8_t* b = nullptr;
  int bytes = 0;           // of one row of A or B
  int begin = 0, end = 0;  // the part of K, in bytes
  int chunk = 0;           // bytes of K after which the sum is added to C and begins anew; 0: one chain
  __device__ int end_of_chunk(int from) const { return chunk > 0 && from + chunk < end ? from + chunk : end; }
  bool from_c = false;  // the chain starts from C
  bool flag = false;    // a sum begins with an instruction that does not read D, not with zeros in D
  float* c = nullptr;
  int c_row = kRows, c_col = 1;
};

// The elements of C that a thread holds; shared by both families.
struct Place {
  int row, column;  // of d[0] of the first column block
  __device__ float* at(const Job& job, int i) const {
    int c_col = job.c_col;
    asm volatile(
        ""
        : "+r"(c_col));  // hidden: the compiler would keep the addresses of all elements in registers
    return job.c + (row + i / 2 % 2 * 8) * job.c_row + (column + i / 4 * 8 + i % 2) * c_col;
  }
};

template <int kCount>
__device__ __forceinline__ void begin_sum(float (&d)[kCount], const Job& job, const Place& place) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) d[i] = job.from_c ? *place.at(job, i) : 0.0f;
}

// Adds the sum of a chunk to C; the first one is C.
template <int kCount>
__device__ __forceinline__ void end_sum(const float (&d)[kCount], const Job& job, const Place& place,
                                        bool first) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    float* at = place.at(job, i);
    *at = first ? d[i] : __fadd_rn(*at, d[i]);
  }
}

// One warp per 16 x 8 outputs. kShort: two instructions of 16 bytes of K each.
template <Type kType, bool kShort>
__global__ void mma_product(Job job) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const uint8_t* a = job.a + static_cast<size_t>(blockIdx.y * 16 + g) * job.bytes + 4 * t;
  const uint8_t* b = job.b + static_cast<size_t>(blockIdx.x * 8 + g) * job.bytes + 4 * t;
  const Place place{static_cast<int>(blockIdx.y) * 16 + g, static_cast<int>(blockIdx.x) * 8 + 2 * t};
  const auto word = [](const uint8_t* at) { return *reinterpret_cast<const uint32_t*>(at); };
  for (int k = job.begin; k < job.end;) {
    const bool first = k == job.begin;
    float d[4];
    begin_sum(d, job, place);
    for (const int end = job.end_of_chunk(k); k < end; k += kStep) {
      const uint8_t* low = a + 8 * job.bytes;
      const uint32_t av[4] = {word(a + k), word(low + k), word(a + k + 16), word(low + k + 16)};
      const uint32_t bv[2] = {word(b + k), word(b + k + 16)};
      if constexpr (kShort) {
        mma_sync_short(d, av[0], av[1], bv[0]);
        mma_sync_short(d, av[2], av[3], bv[1]);
      } else {
        mma_sync<kType>(d, av, bv);
      }
    }
    end_sum(d, job, place, first);
  }
}

// Copies kStage bytes of `rows` rows into core matrices.
__device__ __forceinline__ void load_stage(uint8_t* to, const uint8_t* from, int rows, int bytes) {
  for (int i = threadIdx.x; i < rows * (kStage / 16); i += blockDim.x) {
    const int row = i / (kStage / 16), byte = i % (kStage / 16) * 16;
    *reinterpret_cast<uint4*>(to + core_offset(rows, row, byte)) =
        *reinterpret_cast<const uint4*>(from + static_cast<size_t>(row) * bytes + byte);
  }
}

// The products of one stage. kRegisters: A comes from registers. `accumulate`: the first step reads D.
template <Type kType, int kN, bool kRegisters>
__device__ __forceinline__ void multiply_stage(float (&d)[kN / 2], uint8_t* a_stage, uint8_t* b_stage,
                                               bool accumulate) {
  const int row = threadIdx.x / 4, t = threadIdx.x % 4;  // of A's fragment: row 8 w + g becomes 16 w + g
  uint32_t a[kStage / kStep][4];
#pragma unroll
  for (int i = 0; kRegisters && i < kStage / kStep * 4; ++i) {
    const int byte = i / 2 * 16 + 4 * t;
    const int at = core_offset(64, row / 8 * 16 + row % 8 + i % 2 * 8, byte);
    a[i / 4][i % 4] = *reinterpret_cast<const uint32_t*>(a_stage + at);
  }
  wgmma_open(d);
#pragma unroll
  for (int step = 0; step < kStage / kStep; ++step) {
    const uint64_t b = core_descriptor(b_stage + core_offset(kN, 0, step * kStep), kN);
    if constexpr (kRegisters) {
      Wgmma<kType, kN>::registers(d, a[step], b, accumulate || step > 0);
    } else {
      const uint64_t shared_a = core_descriptor(a_stage + core_offset(64, 0, step * kStep), 64);
      Wgmma<kType, kN>::shared(d, shared_a, b, accumulate || step > 0);
    }
  }
  wgmma_wait(d);
}

// One warpgroup per 64 x kN outputs.
template <Type kType, int kN, bool kRegisters>
__global__ void __launch_bounds__(128, 1) wgmma_product(Job job) {
  __shared__ __align__(128) uint8_t a_stage[64 * kStage];
  __shared__ __align__(128) uint8_t b_stage[kN * kStage];
  const uint8_t* a = job.a + static_cast<size_t>(blockIdx.y) * 64 * job.bytes;
  const uint8_t* b = job.b + static_cast<size_t>(blockIdx.x) * kN * job.bytes;
  const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
  const Place place{static_cast<int>(blockIdx.y) * 64 + row,
                    static_cast<int>(blockIdx.x) * kN + 2 * (static_cast<int>(threadIdx.x) % 4)};
  for (int k = job.begin; k < job.end;) {
    const bool first = k == job.begin;
    bool accumulate = !job.flag;
    float d[kN / 2];
    begin_sum(d, job, place);
    for (const int end = job.end_of_chunk(k); k < end; k += kStage) {
      load_stage(a_stage, a + k, 64, job.bytes);
      load_stage(b_stage, b + k, kN, job.bytes);
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
      __syncthreads();
      multiply_stage<kType, kN, kRegisters>(d, a_stage, b_stage, accumulate);
      accumulate = true;
      __syncthreads();
    }
    end_sum(d, job, place, first);
  }
}

}  // namespace r1::test
