// ops/moe/balance_cuda.cu: the sequence-wise balance loss on a CUDA device, in the order of balance_cpu.cc.
//
// A block takes a row of the batch. Sums over experts are chains of one thread per token, sums over tokens
// are chains of one thread per expert.
#include <cuda_runtime.h>

#include "ops/moe/moe_backend.h"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 128;  // and tokens at a time

struct BalanceJob {
  Routing routing;
  Balance balance;
  const int32_t* offsets;
  double scale;
  bool softmax;    // whose scores sum to 1
  double* room;    // [S, 2, E]: f and share
  double* losses;  // [S]; null: not wanted
};

__global__ void __launch_bounds__(kThreads) balance_rows(BalanceJob job) {
  __shared__ double sums[kThreads];
  const Routing& r = job.routing;
  const int64_t row = blockIdx.x, begin = job.offsets[row], end = job.offsets[row + 1], E = r.E;
  double* f = job.room + row * 2 * E;
  double* share = f + E;
  for (int64_t t = begin + threadIdx.x; t < end; t += kThreads)
    job.balance.token_row[t] = static_cast<int32_t>(row);
  const int64_t slots = r.A * (end - begin);
  const double unit = __ddiv_rn(static_cast<double>(E), static_cast<double>(slots > 0 ? slots : 1));
  for (int64_t e = threadIdx.x; e < E; e += kThreads) {
    int64_t count = 0;
    for (int64_t slot = begin * r.A; slot < end * r.A; ++slot) count += r.experts[slot] == e;
    f[e] = __dmul_rn(static_cast<double>(count), unit);
    job.balance.pull[row * E + e] = static_cast<float>(__dmul_rn(job.scale, f[e]));
    share[e] = 0;
  }
  if (job.losses == nullptr) return;
  for (int64_t t0 = begin; t0 < end; t0 += kThreads) {
    const int64_t t = t0 + threadIdx.x;
    double sum = job.softmax ? 1.0 : 1e-20;
    for (int64_t e = 0; e < E && t < end && !job.softmax; ++e)
      sum = __dadd_rn(sum, static_cast<double>(r.scores[t * E + e]));
    sums[threadIdx.x] = sum;
    __syncthreads();
    const int64_t n = min(end - t0, int64_t{kThreads});
    for (int64_t e = threadIdx.x; e < E; e += kThreads) {
      double total = share[e];
      for (int64_t i = 0; i < n; ++i)
        total = __dadd_rn(total, __ddiv_rn(static_cast<double>(r.scores[(t0 + i) * E + e]), sums[i]));
      share[e] = total;
    }
    __syncthreads();
  }
  __syncthreads();  // a row may have no tokens
  if (threadIdx.x != 0) return;
  double loss = 0;
  for (int64_t e = 0; e < E; ++e) loss = __dadd_rn(loss, __dmul_rn(f[e], share[e]));
  constexpr double kUnit = 0x1p-40;  // sums of multiples are exact
  job.losses[row] = __dmul_rn(rint(__ddiv_rn(__dmul_rn(job.scale, loss), kUnit)), kUnit);
}

}  // namespace

void moe_balance(Context& ctx, const MoeBalance& call) {
  const int64_t S = call.batch.S();
  const OpScope scope(ctx);
  const bool wanted = call.training.balance_loss != nullptr;
  BalanceJob job{};
  job.routing = call.routing;
  job.balance = call.balance;
  job.scale = static_cast<double>(call.training.balance_scale);
  job.softmax = call.score == RouterScore::softmax;
  job.room = ctx.arena.array<double>(2 * S * call.routing.E);
  job.losses = wanted ? ctx.arena.array<double>(S) : nullptr;
  auto* losses = ctx.host().array<double>(S);
  Upload lists(ctx);
  const int offsets = lists.add(call.batch.offsets);
  lists.send();
  if (ctx.measuring || S == 0) return;
  job.offsets = lists.at<int32_t>(offsets);
  balance_rows<<<static_cast<unsigned>(S), kThreads, 0, static_cast<cudaStream_t>(ctx.stream)>>>(job);
  check_launch("moe balance");
  if (!wanted) return;
  ctx.memory().read(losses, job.losses, static_cast<size_t>(S) * sizeof(double), ctx.stream);
  for (int64_t row = 0; row < S; ++row) *call.training.balance_loss += losses[row];
}

}  // namespace r1::cuda
