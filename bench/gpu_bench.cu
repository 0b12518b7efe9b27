// bench/gpu_bench.cu: the kernels of a CUDA device beside its limits, measured in the same run.
//
//   gpu_bench [--json FILE]
//   gpu_bench --only NAME     measures the rows whose names contain NAME
//   gpu_bench --products      the limits, and products of bf16 matrices alone
//   gpu_bench --rows          the products of decoding alone
//   gpu_bench --decode        the attention of decoding alone
//   gpu_bench --device        prints the device's short name, "h200", for file names
//
// Limits: the rate of independent FMAs in registers, that of mma.sync on bf16 in registers, and a copy within the device's memory (bytes read plus
// bytes written). Times are medians of repeats between events, after a warm-up, on random data.
#include <cctype>
#include <cstring>

#include "bench/gpu_bench.cuh"
#include "ops/elementwise/elementwise_cuda.h"
#include "ops/embed/embed_cuda.h"
#include "ops/matmul/matmul_cuda.h"
#include "ops/matmul/tensor_product_cuda.h"
#include "ops/norm/norm_cuda.h"
#include "ops/rope/rope_cuda.h"

namespace r1::bench {

namespace {

void bench_matmul(Bench& bench, int64_t T, int64_t N, int64_t K, bool training) {
  const Floats x(T * K), w(N * K), y(T * N), dx(T * K), dw(N * K), dbias(N);
  const double flops = 2.0 * static_cast<double>(T) * static_cast<double>(N) * static_cast<double>(K);
  const auto bytes = static_cast<double>(x.bytes() + w.bytes() + y.bytes());
  void* const s = bench.stream();
  bench.row(shape("y", T, N, K), flops, bytes,
            [&] { cuda::matmul_f32(x.at(), T, w.at(), N, K, nullptr, y.at(), s); });
  if (!training) return;
  bench.row(shape("dx", T, N, K), flops, bytes,
            [&] { cuda::matmul_dx_f32(y.at(), T, w.at(), N, K, false, dx.at(), s); });
  bench.row(shape("dW", T, N, K), flops, bytes + static_cast<double>(dw.bytes()),
            [&] { cuda::matmul_dw_f32(x.at(), y.at(), T, N, K, dw.at(), s); });
  bench.row(shape("dbias", T, N, 1), static_cast<double>(T * N), static_cast<double>(y.bytes()),
            [&] { cuda::matmul_dbias_f32(y.at(), T, N, dbias.at(), s); });
}

// Products of few rows in cuda-bf16: `y` is bf16.
void bench_few_rows(Bench& bench, int64_t T, int64_t N, int64_t K) {
  const Bits x(T * K), w(N * K), y(T * N);
  const double flops = 2.0 * static_cast<double>(T) * static_cast<double>(N) * static_cast<double>(K);
  bench.tensor_row(shape("bf16 y", T, N, K), flops, static_cast<double>(x.bytes() + w.bytes() + y.bytes()),
                   [&] {
                     cuda::tensor_product(cuda::forward_product({.x = x.at(),
                                                                 .T = T,
                                                                 .w = w.at(),
                                                                 .N = N,
                                                                 .K = K,
                                                                 .y = y.at(),
                                                                 .y_bf16 = true,
                                                                 .most_shards = 8}),
                                          bench.stream());
                   });
}

void bench_norm(Bench& bench, int64_t T, int64_t D) {
  const Floats x(T * D), dy(T * D), y(T * D), w(D), rstd(T), dw(D);
  const auto matrix = static_cast<double>(x.bytes());
  const std::string at = " " + std::to_string(T) + " x " + std::to_string(D);
  void* const s = bench.stream();
  const cuda::NormRows rows{x.at(), dy.at(), rstd.at(), T, D};
  bench.row("norm" + at, 0, 2 * matrix,
            [&] { cuda::rms_norm(x.at(), w.at(), T, D, 1e-6f, y.at(), rstd.at(), s); });
  bench.row("norm dx" + at, 0, 3 * matrix, [&] { cuda::rms_norm_dx(rows, w.at(), false, y.at(), s); });
  bench.row("norm dw" + at, 0, 2 * matrix, [&] { cuda::rms_norm_dw(rows, dw.at(), s); });
}

void bench_rest(Bench& bench) {
  const int64_t T = 16384, D = 4096, V = 32000, H = 32, P = 128;
  const Floats table(V * D), x(T * D), y(T * D), turns(T * P);
  std::vector<int32_t> tokens(T), positions(T);
  for (int64_t t = 0; t < T; ++t) {
    tokens[static_cast<size_t>(t)] = static_cast<int32_t>(t * 7919 % V);
    positions[static_cast<size_t>(t)] = static_cast<int32_t>(t);
  }
  Memory& memory = cuda_memory();
  const size_t bytes = tokens.size() * sizeof(int32_t);
  auto* device_tokens = static_cast<int32_t*>(memory.allocate(bytes));
  auto* device_positions = static_cast<int32_t*>(memory.allocate(bytes));
  memory.write(device_tokens, tokens.data(), bytes);
  memory.write(device_positions, positions.data(), bytes);
  const auto matrix = static_cast<double>(x.bytes());
  void* const s = bench.stream();
  bench.row("embed 16384 x 4096", 0, 2 * matrix,
            [&] { cuda::gather_rows_f32(table.at(), device_tokens, T, D, y.at(), s); });
  std::vector<int32_t> lists(static_cast<size_t>(3 * T + 1)), counts(static_cast<size_t>(V));
  cuda::TokenPlaces places{lists.data(), lists.data() + T, lists.data() + 2 * T};
  cuda::gather_places(tokens, counts, places);
  auto* device_lists = static_cast<int32_t*>(memory.allocate(lists.size() * sizeof(int32_t)));
  memory.write(device_lists, lists.data(), lists.size() * sizeof(int32_t));
  places = {device_lists, device_lists + T, device_lists + 2 * T, places.count};
  bench.row("embed gradient 16384 x 4096", 0, 3 * matrix,
            [&] { cuda::embed_add_rows(x.at(), places, D, table.at(), s); });
  cuda::RopeRows rows{.x = x.at(),
                      .x_head = P,
                      .y = y.at(),
                      .y_head = P,
                      .T = T,
                      .H = H,
                      .P = P,
                      .positions = device_positions,
                      .table = turns.at()};
  bench.row("rope half 16384 x 32 x 128", 0, 2 * matrix, [&] { cuda::rope_rows(rows, s); });
  rows.interleaved = true;
  bench.row("rope interleaved 16384 x 32 x 128", 0, 2 * matrix, [&] { cuda::rope_rows(rows, s); });
  // As many bytes as the queries of the 98 M model in a batch of 32,768 tokens.
  constexpr int64_t kHeads = 24, kWidth = 64;
  rows.interleaved = false, rows.x_head = rows.y_head = rows.P = kWidth, rows.H = kHeads, rows.bf16 = true;
  constexpr auto kNumbers = static_cast<double>(T * kHeads * kWidth);
  bench.row("rope bf16 16384 x 24 x 64", 0, 4 * kNumbers, [&] { cuda::rope_rows(rows, s); });
  rows.bf16 = false, rows.rounds = true, rows.back = true;
  bench.row("rope back, to bf16 16384 x 24 x 64", 0, 6 * kNumbers, [&] { cuda::rope_rows(rows, s); });
  memory.free(device_tokens, bytes);
  memory.free(device_positions, bytes);
  memory.free(device_lists, lists.size() * sizeof(int32_t));
}

// "NVIDIA H200" is "h200".
std::string short_name(std::string name) {
  if (name.starts_with("NVIDIA ")) name.erase(0, 7);
  for (char& c : name)
    c = std::isalnum(static_cast<unsigned char>(c)) ? static_cast<char>(std::tolower(c)) : '-';
  return name;
}

void run(int argc, char** argv) {
  const bool json = argc == 3 && std::strcmp(argv[1], "--json") == 0;
  const bool name = argc == 2 && std::strcmp(argv[1], "--device") == 0;
  const bool only = argc == 3 && std::strcmp(argv[1], "--only") == 0;
  const bool products = argc == 2 && std::strcmp(argv[1], "--products") == 0;
  const bool rows = argc == 2 && std::strcmp(argv[1], "--rows") == 0;
  const bool decode = argc == 2 && std::strcmp(argv[1], "--decode") == 0;
  if (argc != 1 && !json && !name && !only && !products && !rows && !decode)
    throw Error(
        "usage: gpu_bench [--json FILE], gpu_bench --only NAME (rows whose names contain it), gpu_bench "
        "--products, "
        "gpu_bench --rows, gpu_bench --decode or gpu_bench --device");
  const cuda::DeviceFacts device = cuda::device_facts();
  if (name) {
    std::printf("%s\n", short_name(device.name).c_str());
    return;
  }
  std::printf("%s, compute capability %d.%d, driver for CUDA %d.%d\n", device.name.c_str(), device.major,
              device.minor, device.driver / 1000, device.driver % 1000 / 10);
  Bench bench;
  if (only) bench.leave_out_all_but(argv[2]);
  bench.limits();
  if (products) return bench_products(bench);
  if (rows) return bench_few_rows(bench);
  if (decode) return bench_decode(bench);
  bench_matmul(bench, 8192, 4096, 4096, true);
  bench_matmul(bench, 2048, 14336, 4096, true);
  bench_matmul(bench, 2048, 1024, 1024, true);
  bench_matmul(bench, 4096, 512, 128, true);
  for (const int64_t T : {1, 4, 16, 64}) bench_matmul(bench, T, 14336, 4096, false);
  bench_matmul(bench, 1, 4096, 4096, false);
  bench_matmul(bench, 1, 4096, 14336, false);
  for (const int64_t T : {1, 2, 4, 8, 16}) bench_few_rows(bench, T, 14336, 4096);
  for (const int64_t T : {1, 16}) bench_few_rows(bench, T, 4096, 14336);
  for (const int64_t T : {1, 16}) bench_few_rows(bench, T, 2048, 1536);
  bench_products(bench);
  bench_norm(bench, 16384, 4096);
  bench_norm(bench, 131072, 128);
  bench_norm(bench, 32768, 1024);
  bench_rest(bench);
  bench_quant(bench);
  bench_ops(bench);
  bench_few_rows(bench);
  bench_decode(bench);
  if (json) bench.write_json(argv[2]);
}

}  // namespace
}  // namespace r1::bench

int main(int argc, char** argv) {
  try {
    r1::bench::run(argc, argv);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gpu_bench: %s\n", error.what());
    return 2;
  }
}
