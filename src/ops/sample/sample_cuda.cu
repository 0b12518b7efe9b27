// ops/sample/sample_cuda.cu: the draws of a batch on a CUDA device: one block per row, one launch, and one
// read of the drawn tokens. The host lists what the settings change (history.h); the device changes it.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "base/integers.h"
#include "ops/sample/draw_cuda.cuh"
#include "ops/sample/history.h"
#include "ops/sample/plain_draw_cuda.h"
#include "ops/sample/sample_backend.h"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

// A token whose logit is changed: biases come first, then penalised tokens, then forbidden ones.
struct EditedToken {
  int32_t token = 0;
  float bias = 0;
  int32_t generated = 0;
};

struct DrawRow {
  const float* from = nullptr;  // the logits
  float* z = nullptr;           // where they are changed; may be `from`
  int64_t top_k = 0;
  float scale = 1, top_p = 1, min_p = 0, uniform = 0;
  float repetition = 1, presence = 0, frequency = 0;
  int32_t greedy = 0, looks_back = 0;
  int32_t edits = 0, biases = 0, penalised = 0, forbidden = 0;  // where its edits begin, and how many of each
  int64_t allowed = -1;                                         // where its mask begins; -1: none
};

struct DrawJob {
  int64_t V;
  const DrawRow* rows;
  const EditedToken* edits;
  const uint64_t* allowed;
  float *changed, *before;  // per edit: the changed logit, and the value that it replaces
  double* block_sums;       // [rows, ceil(V / kSampleBlock)]
  Sampled* out;
};

union DrawShared {
  SoftmaxShared softmax;
  CutShared cut;
};

// Notes what the changes make of each logit, and takes them back: log-probs are of the model's own logits.
__device__ void note_changes(const DrawRow& row, const EditedToken* edits, int32_t count, float* changed,
                             float* before) {
  float* z = row.z;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kDrawThreads) before[i] = z[edits[i].token];
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int i = 0; i < row.biases; ++i) z[edits[i].token] = __fadd_rn(z[edits[i].token], edits[i].bias);
  }
  __syncthreads();
  const int penalised_end = row.biases + row.penalised;
  for (int i = row.biases + static_cast<int>(threadIdx.x); i < penalised_end; i += kDrawThreads) {
    float logit = z[edits[i].token];
    if (row.repetition != 1.0f)
      logit = logit < 0.0f ? __fmul_rn(logit, row.repetition) : __fdiv_rn(logit, row.repetition);
    if (edits[i].generated > 0) {
      logit = __fsub_rn(logit, __fmul_rn(row.frequency, static_cast<float>(edits[i].generated)));
      logit = __fsub_rn(logit, row.presence);
    }
    z[edits[i].token] = logit;
  }
  __syncthreads();
  for (int i = penalised_end + static_cast<int>(threadIdx.x); i < count; i += kDrawThreads)
    z[edits[i].token] = minus_infinity();
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kDrawThreads) changed[i] = z[edits[i].token];
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kDrawThreads) z[edits[i].token] = before[i];
  __syncthreads();
}

// Makes the changes again, on tempered logits.
__device__ void make_changes(const DrawRow& row, const EditedToken* edits, int32_t count,
                             const float* changed, float* before) {
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kDrawThreads) before[i] = row.z[edits[i].token];
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kDrawThreads)
    row.z[edits[i].token] = __fmul_rn(changed[i], row.scale);
  __syncthreads();
}

// Filters and draws, as draw_token() does.
__device__ int64_t draw_token(const DrawRow& row, const DrawState& state) {
  if (row.greedy) return first_maximum(state);
  if (row.top_k > 0 && row.top_k < state.V) cut_row<false>(state, static_cast<double>(row.top_k));
  if (row.top_p < 1) cut_row<true>(state, static_cast<double>(row.top_p));
  if (row.min_p > 0) keep_weights_of_at_least(state, fminf(row.min_p, 1.0f));
  return draw(state, row.uniform);
}

__global__ void __launch_bounds__(kDrawThreads) draw_rows(DrawJob job) {
  __shared__ DrawShared shared;
  __shared__ float model_logit;
  const DrawRow row = job.rows[blockIdx.x];
  const int64_t V = job.V;
  const EditedToken* edits = job.edits + row.edits;
  float *changed = job.changed + row.edits, *before = job.before + row.edits;
  const int32_t count = row.biases + row.penalised + row.forbidden;
  const auto give = [&](int32_t token, float logprob) {
    if (threadIdx.x == 0) job.out[blockIdx.x] = {token, logprob};
  };
  const float nan = __int_as_float(0x7FC00000);
  if (row.z != row.from) {
    for (int64_t i = threadIdx.x; i < V; i += kDrawThreads) row.z[i] = row.from[i];
    __syncthreads();
  }
  if (count > 0) note_changes(row, edits, count, changed, before);
  softmax_of_row<kDrawThreads, false>(row.z, V, row.scale, shared.softmax);
  const float softmax_max = shared.softmax.max, sum = shared.softmax.sum, log_sum = shared.softmax.log_sum;
  __syncthreads();
  if (!isfinite(sum)) return give(kNotNumbers, nan);
  if (count > 0) make_changes(row, edits, count, changed, before);
  if (row.allowed >= 0) {
    const uint64_t* mask = job.allowed + row.allowed;
    for (int64_t i = threadIdx.x; i < V; i += kDrawThreads)
      if ((mask[i / 64] >> (i % 64) & 1) == 0) row.z[i] = minus_infinity();
    __syncthreads();
  }
  float max = softmax_max;
  if (row.looks_back || row.allowed >= 0) {
    float highest = minus_infinity();
    for (int64_t i = threadIdx.x; i < V; i += kDrawThreads) highest = fmaxf(highest, row.z[i]);
    max = __fadd_rn(block_max<kDrawThreads>(highest, shared.softmax.by_warp), 0.0f);
  }
  if (!isfinite(max)) return give(row.looks_back && max > 0 ? kNotNumbers : kNothingLeft, nan);
  const int64_t blocks = (V + kSampleBlock - 1) / kSampleBlock;
  const DrawState state{row.z, V, max, job.block_sums + blockIdx.x * blocks, shared.cut};
  const int64_t chosen = draw_token(row, state);
  if (chosen < 0) return give(kNoneLeft, nan);
  if (threadIdx.x == 0) model_logit = row.z[chosen];
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kDrawThreads)
    if (edits[i].token == chosen) model_logit = before[i];  // the same from every edit of it
  __syncthreads();
  give(static_cast<int32_t>(chosen), __fsub_rn(__fsub_rn(model_logit, softmax_max), log_sum));
}

// The rows' lists, made on the host.
struct DrawLists {
  std::vector<DrawRow> rows;
  std::vector<EditedToken> edits;
  std::vector<uint64_t> allowed;

  void add(const RowToSample& row, int64_t V, float* scratch) {
    const SamplingParams& p = *row.params;
    R1_CHECK(V >= 1 && p.temperature >= 0 && row.uniform >= 0 && row.uniform < 1, "V ", V, ", temperature ",
             p.temperature, ", uniform ", row.uniform);
    DrawRow out;
    out.from = row.logits.f32();
    out.z = scratch != nullptr ? scratch : row.logits.f32();
    out.top_k = p.top_k, out.top_p = p.top_p, out.min_p = p.min_p;
    out.uniform = row.uniform;
    out.greedy = p.temperature == 0;
    out.scale = p.temperature == 0 ? 1.0f : 1.0f / p.temperature;
    if (row.history != nullptr) add_edits(row, out);
    if (!row.allowed.empty()) {
      R1_CHECK(std::ssize(row.allowed) == ceil_div(V, 64), "a mask of ", row.allowed.size(), " words for ", V,
               " tokens");
      out.allowed = std::ssize(allowed);
      allowed.insert(allowed.end(), row.allowed.begin(), row.allowed.end());
    }
    rows.push_back(out);
  }

 private:
  void add_edits(const RowToSample& row, DrawRow& out) {
    const SamplingParams& p = *row.params;
    const TokenEdits list = token_edits(p, *row.history, row.stop_tokens);
    out.looks_back = 1;
    out.repetition = p.repetition_penalty, out.presence = p.presence_penalty;
    out.frequency = p.frequency_penalty;
    out.edits = static_cast<int32_t>(edits.size());
    for (const TokenEdits::Bias& b : list.biases) edits.push_back({b.token, b.bias, 0});
    out.biases = static_cast<int32_t>(list.biases.size());
    if (list.penalised) {
      for (const TokenHistory::Seen& seen : row.history->seen())
        edits.push_back({seen.token, 0, seen.generated});
      out.penalised = static_cast<int32_t>(row.history->seen().size());
    }
    for (const int32_t token : list.forbidden) edits.push_back({token, 0, 0});
    out.forbidden = static_cast<int32_t>(list.forbidden.size());
  }
};

}  // namespace

namespace {

bool asks_for_more(const RowToSample& row) {
  return row.options.forced >= 0 || !row.options.likeliest.empty();
}

Sampled draw_on_host(Context& ctx, int64_t V, const RowToSample& row) {
  std::vector<float> logits(static_cast<size_t>(V));
  ctx.memory().read(logits.data(), row.logits.data, logits.size() * sizeof(float), ctx.stream);
  if (row.history == nullptr)
    return sample_token(logits.data(), V, *row.params, row.uniform, row.allowed, row.options);
  return sample_token(logits.data(), V, *row.params, *row.history, row.stop_tokens, row.uniform, row.allowed,
                      row.options);
}

void check_drawn(std::span<const Sampled> out) {
  for (const Sampled& drawn : out) R1_CHECK(drawn.token != kNoneLeft, "no token left to draw from");
}

// Rows that ask for more than a draw are drawn on the host, with the same bits; the others on the device.
void sample_apart(Context& ctx, const SampleRows& call) {
  std::vector<RowToSample> plain;
  std::vector<size_t> places;
  for (size_t i = 0; i < call.rows.size(); ++i) {
    if (asks_for_more(call.rows[i])) {
      call.out[i] = draw_on_host(ctx, call.V, call.rows[i]);
    } else {
      plain.push_back(call.rows[i]);
      places.push_back(i);
    }
  }
  std::vector<Sampled> drawn(plain.size());
  sample_rows(ctx, {.V = call.V, .rows = plain, .out = drawn});
  for (size_t i = 0; i < places.size(); ++i) call.out[places[i]] = drawn[i];
}

}  // namespace

void sample_rows(Context& ctx, const SampleRows& call) {
  if (!ctx.measuring && std::ranges::any_of(call.rows, asks_for_more)) return sample_apart(ctx, call);
  const OpScope scope(ctx);
  if (draws_plainly(call, ctx.measuring)) {
    draw_plainly(ctx, call);
    if (!ctx.measuring) return check_drawn(call.out);  // none if they stay on the device
  }
  const int64_t V = call.V, S = std::ssize(call.rows),
                kept = std::ranges::count_if(call.rows, &RowToSample::keep);
  float* scratch = ctx.arena.array<float>(kept * V);
  DrawJob job{};
  job.V = V;
  job.block_sums = ctx.arena.array<double>(S * ceil_div(V, kSampleBlock));
  job.out = call.drawn != nullptr ? call.drawn : ctx.arena.array<Sampled>(S);
  if (ctx.measuring || S == 0) return;
  DrawLists lists;
  for (const RowToSample& row : call.rows) {
    lists.add(row, V, row.keep ? scratch : nullptr);
    if (row.keep) scratch += V;
  }
  const auto edits = std::ssize(lists.edits);
  job.changed = ctx.arena.array<float>(edits);
  job.before = ctx.arena.array<float>(edits);
  Upload upload(ctx);
  const int rows = upload.add(std::span<const DrawRow>(lists.rows)),
            edited = upload.add(std::span<const EditedToken>(lists.edits)),
            allowed = upload.add(std::span<const uint64_t>(lists.allowed));
  upload.send();
  job.rows = upload.at<DrawRow>(rows);
  job.edits = upload.at<EditedToken>(edited);
  job.allowed = upload.at<uint64_t>(allowed);
  draw_rows<<<static_cast<unsigned>(S), kDrawThreads, 0, static_cast<cudaStream_t>(ctx.stream)>>>(job);
  check_launch("sample_rows");
  if (call.drawn != nullptr) return;
  ctx.memory().read(call.out.data(), job.out, call.out.size_bytes(), ctx.stream);
  check_drawn(call.out);
}

namespace {

__global__ void feed(const Sampled* drawn, const int32_t* from, int64_t n, int32_t* tokens) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n && from[i] >= 0) tokens[i] = max(drawn[from[i]].token, 0);
}

}  // namespace

void feed_tokens(Context& ctx, const FeedTokens& call) {
  const OpScope scope(ctx);
  const auto n = std::ssize(call.from);
  auto* from = ctx.arena.array<int32_t>(n);
  if (ctx.measuring || n == 0) return;
  ctx.memory().write(from, call.from.data(), call.from.size_bytes(), ctx.stream);
  constexpr unsigned kThreads = 128;
  feed<<<(static_cast<unsigned>(n) + kThreads - 1) / kThreads, kThreads, 0,
         static_cast<cudaStream_t>(ctx.stream)>>>(call.drawn, from, n, call.tokens);
  check_launch("feed_tokens");
}

}  // namespace r1::cuda
