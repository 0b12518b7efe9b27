// tests/gpu/matmul_bits_test.cu: which ways of computing one product on tensor cores give the same bits?
//
// The design of GPU matmul (DESIGN.md) counts on these claims: an output's bits do not depend on the
// instruction's width, on which operand is on the M side, on where A comes from, on what the tile's other
// rows and columns hold, on zeros that pad K, or on whether the accumulator rests in memory between two
// chunks of K; and sums of chunks that are added in order are the same from every kernel. The program
// computes one product in all these ways, on data that make each rounding visible, and prints which of them
// agree in every bit. It ends with 1 if a claim fails and with 77 if there is no GPU of compute capability
// 9.0.
#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tests/gpu/bits_case.h"
#include "tests/gpu/bits_kernels.cuh"

namespace r1::test {
namespace {

// C = the sum of `count` matrices, in order.
__global__ void add_chunks(const float* parts, int count, float* c) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  float sum = parts[i];
  for (int p = 1; p < count; ++p) sum = __fadd_rn(sum, parts[p * kRows * kRows + i]);
  c[i] = sum;
}

__device__ double value_of(const uint8_t* row, int k, Type type) {
  if (type == Type::bf16) return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(row)[k]);
  __nv_fp8_e4m3 v;
  v.__x = row[k];
  return static_cast<float>(v);
}

// The sum in double, and the sum of the products' magnitudes.
__global__ void exact_product(const uint8_t* a, const uint8_t* b, int bytes, int K, Type type, double* sum,
                              double* size) {
  const uint8_t* row = a + static_cast<size_t>(blockIdx.x) * bytes;
  const uint8_t* column = b + static_cast<size_t>(threadIdx.x) * bytes;
  double s = 0, m = 0;
  for (int k = 0; k < K; ++k) {
    const double product = value_of(row, k, type) * value_of(column, k, type);
    s += product;
    m += fabs(product);
  }
  sum[blockIdx.x * kRows + threadIdx.x] = s;
  size[blockIdx.x * kRows + threadIdx.x] = m;
}

// One of the two kernels, with its grid.
struct Kernel {
  std::string name;
  std::function<void(const Job&)> run;
};

template <Type kType, bool kShort = false>
Kernel mma_kernel() {
  return {kShort ? "mma.sync k8" : "mma.sync", [](const Job& job) {
            mma_product<kType, kShort><<<dim3(kRows / 8, kRows / 16), 32>>>(job);
            R1_DONE(cudaGetLastError());
          }};
}
template <Type kType, int kN, bool kRegisters = false>
Kernel wgmma_kernel() {
  return {"wgmma n" + std::to_string(kN) + (kRegisters ? ", A in registers" : ""), [](const Job& job) {
            wgmma_product<kType, kN, kRegisters><<<dim3(kRows / kN, kRows / 64), 128>>>(job);
            R1_DONE(cudaGetLastError());
          }};
}

// A row of the table: one way of computing the product, compared with another way.
struct Row {
  std::string name;
  bool claim;  // the design relies on it
  int64_t different[4] = {}, compared[4] = {};
  double largest = 0;  // difference, relative to the sum of the products' magnitudes
};

class Table {
 public:
  Table(Type type, std::vector<int> sizes) : type_(type), sizes_(std::move(sizes)) {
    R1_DONE(cudaMalloc(&c_, sizeof(float) * kRows * kRows));
    R1_DONE(cudaMalloc(&parts_, sizeof(float) * kRows * kRows * kMaxChunks));
    R1_DONE(cudaMalloc(&exact_, sizeof(double) * kRows * kRows * 2));
  }
  ~Table() {
    cudaFree(c_);
    cudaFree(parts_);
    cudaFree(exact_);
  }
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  template <Type kType>
  void run() {
    for (size_t i = 0; i < sizes_.size(); ++i) {
      size_ = i;
      for (const Data data : kAllData) compare_all<kType>(Case(kType, sizes_[i], data));
    }
  }
  int print() const;  // returns the number of claims that failed

 private:
  static constexpr int kMaxChunks = 128;
  using Values = std::vector<float>;

  template <Type kType>
  void compare_all(const Case& test);
  Values result(const Kernel& kernel, Job job);
  Values in_pieces(const Kernel& kernel, Job job, int chunk);
  Values sum_of_parts(const Kernel& kernel, Job job, int chunk);
  void add(const std::string& name, bool claim, const Values& got, const Values& want, int stride = 1);
  void measure(const Case& test, const Matrices& m);
  void note_error(const std::string& name, const Values& got);

  Type type_;
  std::vector<int> sizes_;
  size_t size_ = 0;
  float *c_ = nullptr, *parts_ = nullptr;
  double* exact_ = nullptr;
  std::vector<double> sums_, magnitudes_;
  std::vector<Row> rows_;
  std::vector<std::pair<std::string, double>> errors_;
};

// Runs one kernel into poisoned memory.
Table::Values Table::result(const Kernel& kernel, Job job) {
  if (!job.from_c) R1_DONE(cudaMemset(c_, 0xFF, sizeof(float) * kRows * kRows));
  job.c = c_;
  kernel.run(job);
  Values out(kRows * kRows);
  R1_DONE(cudaMemcpy(out.data(), c_, sizeof(float) * out.size(), cudaMemcpyDeviceToHost));
  return out;
}

// One chain whose accumulators rest in memory between two launches.
Table::Values Table::in_pieces(const Kernel& kernel, Job job, int chunk) {
  Values out;
  for (int k = 0; k < job.bytes; k += chunk) {
    job.begin = k;
    job.end = std::min(k + chunk, job.bytes);
    job.from_c = k > 0;
    out = result(kernel, job);
  }
  return out;
}

// Every chunk by a launch of its own into memory of its own, then their sum in order.
Table::Values Table::sum_of_parts(const Kernel& kernel, Job job, int chunk) {
  int parts = 0;
  for (int k = 0; k < job.bytes; k += chunk, ++parts) {
    job.begin = k;
    job.end = std::min(k + chunk, job.bytes);
    job.c = parts_ + static_cast<size_t>(parts) * kRows * kRows;
    kernel.run(job);
  }
  add_chunks<<<kRows, kRows>>>(parts_, parts, c_);
  R1_DONE(cudaGetLastError());
  Values out(kRows * kRows);
  R1_DONE(cudaMemcpy(out.data(), c_, sizeof(float) * out.size(), cudaMemcpyDeviceToHost));
  return out;
}

// Compares elements whose row and column are multiples of `stride`.
void Table::add(const std::string& name, bool claim, const Values& got, const Values& want, int stride) {
  auto row = std::find_if(rows_.begin(), rows_.end(), [&](const Row& r) { return r.name == name; });
  if (row == rows_.end()) row = rows_.insert(rows_.end(), Row{name, claim});
  for (int r = 0; r < kRows; r += stride) {
    for (int c = 0; c < kRows; c += stride) {
      const size_t i = static_cast<size_t>(r) * kRows + c;
      ++row->compared[size_];
      if (std::memcmp(&got[i], &want[i], sizeof(float)) == 0) continue;
      ++row->different[size_];
      const double by = std::fabs(static_cast<double>(got[i]) - want[i]) / magnitudes_[i];
      row->largest = std::isnan(by) ? INFINITY : std::max(row->largest, by);
    }
  }
}

void Table::measure(const Case& test, const Matrices& m) {
  exact_product<<<kRows, kRows>>>(m.a, m.b, m.bytes, test.K, test.type, exact_, exact_ + kRows * kRows);
  R1_DONE(cudaGetLastError());
  sums_.resize(kRows * kRows);
  magnitudes_.resize(kRows * kRows);
  const size_t bytes = sizeof(double) * sums_.size();
  R1_DONE(cudaMemcpy(sums_.data(), exact_, bytes, cudaMemcpyDeviceToHost));
  R1_DONE(cudaMemcpy(magnitudes_.data(), exact_ + kRows * kRows, bytes, cudaMemcpyDeviceToHost));
}

void Table::note_error(const std::string& name, const Values& got) {
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::fabs(got[i] - sums_[i]) / magnitudes_[i];
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  const auto at =
      std::find_if(errors_.begin(), errors_.end(), [&](const auto& e) { return e.first == name; });
  if (at == errors_.end()) {
    errors_.emplace_back(name, worst);
  } else {
    at->second = std::max(at->second, worst);
  }
}

template <Type kType>
void Table::compare_all(const Case& test) {
  const Matrices plain(test.plain_a, test.plain_b, test.bytes);
  const Matrices padded(test.padded_a, test.padded_b, test.bytes + kPadding);
  const Matrices shuffled(test.shuffled_a, test.shuffled_b, test.bytes);
  const Matrices nan(test.nan_a, test.nan_b, test.bytes);
  measure(test, plain);

  const Kernel mma = mma_kernel<kType>(), n8 = wgmma_kernel<kType, 8>(), n64 = wgmma_kernel<kType, 64>(),
               n256 = wgmma_kernel<kType, 256>();
  // The two families are interchangeable in bf16. In e4m3 the design uses one family on one GPU.
  const bool both = kType == Type::bf16;
  const Job job = plain.job();
  Job swapped = job;
  std::swap(swapped.a, swapped.b);
  std::swap(swapped.c_row, swapped.c_col);
  Job flag = job;
  flag.flag = true;

  const Values chain = result(both ? mma : n8, job);
  note_error("mma.sync", result(mma, job));
  note_error("wgmma", result(n8, job));
  if (both) {
    add("wgmma n8", true, result(n8, job), chain);
  } else {
    add("mma.sync", false, result(mma, job), chain);
  }
  for (const Kernel& kernel :
       {wgmma_kernel<kType, 16>(), n64, wgmma_kernel<kType, 128>(), n256, wgmma_kernel<kType, 8, true>(),
        wgmma_kernel<kType, 64, true>(), wgmma_kernel<kType, 256, true>()}) {
    add(kernel.name, true, result(kernel, job), chain);
  }
  add("wgmma n64, first step without D", true, result(n64, flag), chain);
  for (const Kernel& kernel : {mma, n8, n256}) {
    const bool claim = both || kernel.name != mma.name;
    add("A and B swapped, " + kernel.name, claim, result(kernel, swapped), chain);
    add("accumulator rests in memory, " + kernel.name, claim, in_pieces(kernel, job, test.chunk), chain);
    add("K padded with zeros, " + kernel.name, claim, result(kernel, padded.job()), chain);
    add("other rows are NaN, " + kernel.name, claim, result(kernel, nan.job()), chain, 2);
  }
  add("k shuffled within a step, wgmma n64", false, result(n64, shuffled.job()), chain);
  if (both) add("mma.sync k8, twice per step", false, result(mma_kernel<Type::bf16, true>(), job), chain);

  const Values parts = sum_of_parts(both ? mma : n8, job, test.chunk);
  Job chunked = job;
  chunked.chunk = test.chunk;
  for (const Kernel& kernel : {mma, n8, n256}) {
    const bool claim = both || kernel.name != mma.name;
    add("chunk sums apart, " + kernel.name, claim, sum_of_parts(kernel, job, test.chunk), parts);
    add("chunk sums in one kernel, " + kernel.name, claim, result(kernel, chunked), parts);
  }
  add("chunk sums against one chain", false, parts, chain);
}

int Table::print() const {
  std::printf("\n%s, compared with %s; C is %d x %d, 3 kinds of data for each K; different elements\n",
              type_ == Type::bf16 ? "bf16" : "e4m3", type_ == Type::bf16 ? "mma.sync" : "wgmma n8", kRows,
              kRows);
  std::printf("  %-46s", "computed by");
  for (const int K : sizes_) std::printf("  K = %-6d", K);
  std::printf("  largest   verdict\n");
  int failed = 0;
  for (const Row& row : rows_) {
    std::printf("  %-46s", row.name.c_str());
    int64_t different = 0;
    for (size_t i = 0; i < sizes_.size(); ++i) {
      different += row.different[i];
      const double share =
          100.0 * static_cast<double>(row.different[i]) / static_cast<double>(row.compared[i]);
      char cell[32];
      std::snprintf(cell, sizeof cell, "%.3f %%", share);
      std::printf("  %-10s", row.different[i] == 0 ? "=" : cell);
    }
    failed += row.claim && different > 0;
    std::printf("  %-8.1e  %s\n", row.largest,
                different == 0 ? "equal"
                : row.claim    ? "DIFFERENT: the design relies on it"
                               : "different");
  }
  // Far above what rounding can do and far below what a wrong element of A or B does (K = 64: about 2^-3).
  const double most = type_ == Type::bf16 ? 0x1p-14 : 0x1p-6;
  for (const auto& [name, worst] : errors_) {
    std::printf("  largest error of %s against the exact sum: 2^%.1f of the sum of magnitudes%s\n",
                name.c_str(), std::log2(worst), worst <= most ? "" : ": FAILED, this is no rounding");
    failed += !(worst <= most);
  }
  const auto sensitive = std::find_if(rows_.begin(), rows_.end(),
                                      [](const Row& r) { return r.name == "chunk sums against one chain"; });
  if (sensitive->different[1] == 0) {
    std::printf("  FAILED: the data do not tell one order of summation from another\n");
    ++failed;
  }
  return failed;
}

int run_all() {
  int count = 0;
  cudaDeviceProp device{};
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    std::printf("matmul_bits_test: SKIPPED: this machine has no CUDA device\n");
    return 77;
  }
  R1_DONE(cudaGetDeviceProperties(&device, 0));
  int driver = 0;
  R1_DONE(cudaDriverGetVersion(&driver));
  std::printf("matmul_bits_test on %s, compute capability %d.%d, driver for CUDA %d.%d\n", device.name,
              device.major, device.minor, driver / 1000, driver % 1000 / 10);
  if (device.major != 9) {
    std::printf("matmul_bits_test: SKIPPED: wgmma needs compute capability 9.0\n");
    return 77;
  }
  Table bf16(Type::bf16, {64, 576, 4096, 14336}), e4m3(Type::e4m3, {64, 576, 4096, 14336});
  bf16.run<Type::bf16>();
  int failed = bf16.print();
  e4m3.run<Type::e4m3>();
  failed += e4m3.print();
  std::printf("\nmatmul_bits_test: %s\n", failed == 0 ? "every claim holds" : "CLAIMS FAILED");
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace r1::test

int main() {
  return r1::test::run_all();
}
