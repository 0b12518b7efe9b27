// bench/gpu_ops.cu: whole ops of training and decoding on a CUDA device. Times include what the host does.
#include <numeric>
#include <optional>
#include <span>

#include "base/integers.h"
#include "bench/gpu_bench.cuh"
#include "ops/attention/attention.h"
#include "ops/loss/loss.h"
#include "ops/moe/moe.h"
#include "ops/optim/optim.h"
#include "ops/sample/sample.h"
#include "tensor/context.h"

namespace r1::bench {
namespace {

// Random activations in [-1, 1), of f32 or bf16.
class Operand {
 public:
  Operand(int64_t n, bool bf16) {
    if (bf16) {
      narrow_.emplace(n);
    } else {
      wide_.emplace(n);
    }
  }
  void* at() const { return narrow_ ? static_cast<void*>(narrow_->at()) : wide_->at(); }

 private:
  std::optional<Bits> narrow_;
  std::optional<Floats> wide_;
};

// An op's surroundings on the device.
struct OpBench {
  explicit OpBench(cudaStream_t stream, bool bf16 = false)
      : tensors(Arena::kDefaultLimit, cuda_memory()),
        tape(tensors, host),
        ctx{.arena = tensors,
            .threads = threads,
            .device = Device::cuda,
            .numerics = bf16 ? Numerics::cuda_bf16 : Numerics::cpu_f32,
            .host_arena = &host,
            .stream = stream} {}
  Tensor tensor(const Floats& from, Shape shape) {
    Tensor t;
    t.data = from.at();
    t.shape = shape;
    if (ctx.tape != nullptr) tape.name(t);
    return t;
  }
  // An activation of the numerics' type: the same memory, read as f32 or as bf16.
  Tensor activation(const Floats& from, Shape shape) {
    Tensor t = tensor(from, shape);
    t.dtype = ctx.activations();
    return t;
  }
  Tensor operand(const Operand& from, Shape shape) {
    Tensor t;
    t.data = from.at();
    t.shape = shape;
    t.dtype = ctx.activations();
    if (ctx.tape != nullptr) tape.name(t);
    return t;
  }
  std::string name() const { return ctx.activations() == DType::bf16 ? "bf16 " : ""; }
  ThreadPool threads{1};
  Arena tensors, host;
  Tape tape;
  Context ctx;
};

// Runs forward(b) -> output, and its backward from a gradient of random values.
template <class Forward>
void differentiate(OpBench& b, const Floats& gradient, const Forward& forward) {
  const OpScope scope(b.ctx);
  b.ctx.tape = &b.tape;
  const Tensor y = forward();
  const Tensor dy = b.tape.slot(y).grad;
  b.ctx.memory().copy(dy.data, gradient.at(), dy.bytes(), b.ctx.stream);
  b.tape.backward(b.ctx);
  b.ctx.tape = nullptr;
}

std::vector<int32_t> counted(int64_t n, int32_t step = 1) {
  std::vector<int32_t> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i)] = static_cast<int32_t>(i) * step;
  return out;
}

struct Heads {
  const char* name;
  int64_t H, G, K, V;
  bool latent;
};

// Rows of a batch of training: `parents` rows of `prompt` tokens, each with `children` behind it (0: none) of n tokens.
struct TrainingRows {
  int64_t parents, prompt, children = 0, n = 0;
  int64_t S() const { return parents * (1 + children); }
  int64_t T() const { return parents * (prompt + children * n); }
  // Pairs of a query and a key that it sees, per head.
  double pairs() const {
    const auto triangle = [](int64_t k) { return static_cast<double>(k) * static_cast<double>(k + 1) / 2; };
    return static_cast<double>(parents) *
           (triangle(prompt) + static_cast<double>(children) * (triangle(prompt + n) - triangle(prompt)));
  }
  std::string name() const {
    return std::to_string(parents) + " x " +
           (children == 0 ? std::to_string(prompt)
                          : "(" + std::to_string(prompt) + " + " + std::to_string(children) + " x " +
                                std::to_string(n) + ")");
  }
};

void bench_training_attention(Bench& bench, const Heads& h, const TrainingRows& rows, bool bf16 = false) {
  OpBench b(bench.stream(), bf16);
  const int64_t T = rows.T(), S = rows.S(), pages = ceil_div(rows.prompt + rows.n, kKeyTile);
  const Operand q(T * h.H * h.K, bf16), k(T * h.G * h.K, bf16), v(T * h.G * h.V, bf16);
  const Floats gradient(T * h.H * h.V);
  KvPages shape{nullptr, b.ctx.row().cache, h.G, h.K, h.V, h.latent};
  const Floats storage(S * pages * shape.page_elements());
  shape.data = storage.at();
  std::vector<int32_t> positions, offsets{0}, table, parents, tails;
  std::vector<int64_t> prefixes;
  for (int64_t s = 0; s < S; ++s) {
    const int64_t in_family = s % (1 + rows.children), first = in_family == 0 ? 0 : rows.prompt,
                  n = in_family == 0 ? rows.prompt : rows.n, parent = s - in_family;
    parents.push_back(in_family == 0 ? -1 : static_cast<int32_t>(parent));
    prefixes.push_back(first);
    tails.push_back(first % kKeyTile == 0 ? -1 : static_cast<int32_t>(parent * pages + first / kKeyTile));
    for (int64_t t = 0; t < n; ++t) positions.push_back(static_cast<int32_t>(first + t));
    offsets.push_back(static_cast<int32_t>(positions.size()));
    for (int64_t p = 0; p < pages; ++p)
      table.push_back(static_cast<int32_t>((p < first / kKeyTile ? parent : s) * pages + p));
  }
  Batch batch{positions, positions, offsets, table, pages};
  if (rows.children > 0) batch.prefixes = prefixes, batch.tails = tails, batch.parents = parents;
  const auto run = [&] {
    return attention(b.ctx, batch, shape, b.operand(q, {T, h.H, h.K}), b.operand(k, {T, h.G, h.K}),
                     b.operand(v, {T, h.G, h.V}), 0.1f);
  };
  const auto row = [&](const std::string& name, double flops_of, const std::function<void()>& work) {
    return bf16 ? bench.tensor_row(b.name() + name, flops_of, 0, work) : bench.row(name, flops_of, 0, work);
  };
  const double pairs = rows.pairs() * static_cast<double>(2 * h.H);
  const double flops = pairs * static_cast<double>(h.K + h.V);
  const std::string at = std::string(" ") + h.name + " " + rows.name();
  row("attention" + at, flops, [&] {
    const OpScope scope(b.ctx);
    run();
  });
  const double backward = pairs * static_cast<double>(3 * h.K + 2 * h.V);
  row("attention both ways" + at, flops + backward, [&] { differentiate(b, gradient, run); });
}

// S rows of n tokens each, from position 0.
void bench_training_attention(Bench& bench, const Heads& h, int64_t S, int64_t n, bool bf16 = false) {
  bench_training_attention(bench, h, TrainingRows{S, n}, bf16);
}

// One token of each of S sequences behind `keys` keys.
void bench_decoding(Bench& bench, const Heads& h, int64_t S, int64_t keys, bool bf16 = false) {
  OpBench b(bench.stream(), bf16);
  const int64_t pages = keys / kKeyTile + 1;
  const Floats q(S * h.H * h.K), k(S * h.G * h.K), v(S * h.G * h.V);
  KvPages shape{nullptr, b.ctx.row().cache, h.G, h.K, h.V, h.latent};
  const Floats storage(S * pages * shape.page_elements());
  shape.data = storage.at();
  const std::vector<int32_t> positions(static_cast<size_t>(S), static_cast<int32_t>(keys)),
      table = counted(S * pages), offsets = counted(S + 1);
  const Batch batch{positions, positions, offsets, table, pages};
  const double bytes = static_cast<double>(S * keys) * static_cast<double>(shape.page_bytes()) / kKeyTile;
  bench.row(b.name() + "decoding " + h.name + " " + std::to_string(S) + " x " + std::to_string(keys),
            static_cast<double>(S * keys * h.H * (h.K + h.V) * 2), bytes, [&] {
              const OpScope scope(b.ctx);
              attention(b.ctx, batch, shape, b.activation(q, {S, h.H, h.K}), b.activation(k, {S, h.G, h.K}),
                        b.activation(v, {S, h.G, h.V}), 0.1f);
            });
}

// A parameter over a random array, with a gradient.
struct BenchParameter {
  BenchParameter(int64_t n, int64_t k) : value(n * k), grad(n * k) {
    p.name = "bench";
    p.value.data = value.at();
    p.grad.data = grad.at();
    p.value.shape = p.grad.shape = {n, k};
  }
  Floats value, grad;
  Parameter p;
};

// The head's product alone, then log-probs and entropies, then log-probs and their gradients.
void bench_loss(Bench& bench, int64_t T, int64_t D, int64_t V, bool bf16 = false) {
  OpBench b(bench.stream(), bf16);
  const Floats h(T * D), gradient(T);
  BenchParameter w(V, D);
  const Weight head(&w.p);
  const std::vector<int32_t> targets(static_cast<size_t>(T), 7);
  const Floats entropies(T);
  const auto run = [&] { return token_log_probs(b.ctx, b.activation(h, {T, D}), head, targets, 1.0f); };
  const auto row = [&](const std::string& name, double flops_of, const std::function<void()>& work) {
    return bf16 ? bench.tensor_row(b.name() + name, flops_of, 0, work) : bench.row(name, flops_of, 0, work);
  };
  const double flops = 2.0 * static_cast<double>(T * D) * static_cast<double>(V);
  const std::string at = " " + std::to_string(T) + " x " + std::to_string(D) + " x " + std::to_string(V);
  row("log-probs" + at, flops, [&] {
    const OpScope scope(b.ctx);
    run();
  });
  if (bf16) {
    row("log-probs and entropy" + at, flops, [&] {
      const OpScope scope(b.ctx);
      token_log_probs(b.ctx, b.activation(h, {T, D}), head, targets, 1.0f, b.tensor(entropies, {T}));
    });
    row("head's product in bf16" + at, flops, [&] {
      const OpScope scope(b.ctx);
      matmul(b.ctx, b.activation(h, {T, D}), head, DType::bf16);
    });
  }
  row("log-probs both ways" + at, 4 * flops, [&] { differentiate(b, gradient, run); });
}

void bench_sample(Bench& bench, int64_t S, int64_t V, const SamplingParams& params, const char* what) {
  OpBench b(bench.stream());
  const Floats logits(S * V);
  std::vector<RowToSample> rows;
  for (int64_t s = 0; s < S; ++s) {
    Tensor row;
    row.data = logits.at() + s * V;
    row.shape = {V};
    rows.push_back({.logits = row, .params = &params, .uniform = 0.4f});
  }
  std::vector<Sampled> out(rows.size());
  bench.row(std::string("sample ") + what + " " + std::to_string(S) + " x " + std::to_string(V), 0,
            static_cast<double>(logits.bytes()), [&] { sample_rows(b.ctx, V, rows, out); });
}

void bench_adamw(Bench& bench, int64_t n) {
  OpBench b(bench.stream());
  BenchParameter w(n, 1);
  const Floats m(n), v(n);
  Parameter* list[] = {&w.p};
  const auto bytes = static_cast<double>(m.bytes());
  bench.row("adamw " + std::to_string(n), 0, 7 * bytes, [&] {
    adamw_update(b.ctx, w.p, b.tensor(m, {n, 1}), b.tensor(v, {n, 1}), {.lr = 0, .step = 3}, 1.0f);
  });
  bench.row("gradient norm " + std::to_string(n), 0, bytes, [&] { gradient_norm(b.ctx, list); });
}

void bench_moe(Bench& bench, int64_t T, int64_t D, int64_t F, const MoeConfig& config, bool bf16 = false) {
  OpBench b(bench.stream(), bf16);
  const Floats x(T * D), gradient(T * D);
  std::vector<std::unique_ptr<BenchParameter>> own;
  const auto weight = [&](int64_t n, int64_t k) {
    own.push_back(std::make_unique<BenchParameter>(n, k));
    return Weight(&own.back()->p);
  };
  MoeWeights w;
  w.config = config;
  w.router = weight(config.experts, D);
  for (int64_t e = 0; e < config.experts; ++e)
    w.experts.push_back({weight(F, D), weight(F, D), weight(D, F)});
  const double flops = 6.0 * static_cast<double>(T * config.active) * static_cast<double>(D * F);
  const double bytes =
      (bf16 ? 6.0 : 12.0) * static_cast<double>(std::min(config.experts, T * config.active) * D * F);
  const auto row = [&](const std::string& name, double flops_of, double bytes_of,
                       const std::function<void()>& work) {
    return bf16 ? bench.tensor_row(b.name() + name, flops_of, bytes_of, work)
                : bench.row(name, flops_of, bytes_of, work);
  };
  const std::string at = " " + std::to_string(T) + " x " + std::to_string(D) + " x " + std::to_string(F);
  const auto run = [&] { return moe(b.ctx, {}, b.activation(x, {T, D}), w); };
  row("moe" + at, flops, bytes, [&] {
    const OpScope scope(b.ctx);
    run();
  });
  row("moe both ways" + at, 3 * flops, 3 * bytes, [&] { differentiate(b, gradient, run); });
}

}  // namespace

void bench_ops(Bench& bench) {
  const Heads grouped{"32/8 x 128", 32, 8, 128, 128, false}, small{"4/4 x 32", 4, 4, 32, 32, false},
      latent{"16 x 576", 16, 1, 576, 512, true};
  bench_training_attention(bench, grouped, 8, 1024);
  bench_training_attention(bench, small, 64, 128);
  bench_training_attention(bench, latent, 8, 512);
  const Heads narrow{"12/12 x 64", 12, 12, 64, 64, false}, wide{"12/2 x 128", 12, 2, 128, 128, false};
  const Heads shared{"9/3 x 64", 9, 3, 64, 64, false}, six{"6/6 x 64", 6, 6, 64, 64, false};
  bench_training_attention(bench, grouped, 8, 1024, true);
  bench_training_attention(bench, wide, 8, 1024, true);
  bench_training_attention(bench, wide, 1, 8192, true);
  bench_training_attention(bench, narrow, 32, 1024, true);
  bench_training_attention(bench, small, 64, 128, true);
  bench_training_attention(bench, shared, TrainingRows{64, 200, 16, 250}, true);
  bench_training_attention(bench, six, 1024, 450, true);
  const Heads latent_small{"latents 8 x 128 + 32", 8, 1, 160, 128, true},
      latent_wide{"latents 16 x 512 + 64", 16, 1, 576, 512, true};
  bench_training_attention(bench, latent_small, 32, 512, true);
  bench_training_attention(bench, latent_wide, 8, 1024, true);
  for (const int64_t S : {1, 256}) bench_decoding(bench, latent_small, S, 512, true);
  for (const int64_t S : {1, 64}) bench_decoding(bench, latent_wide, S, 1024, true);
  for (const int64_t S : {1, 64, 512}) bench_decoding(bench, wide, S, 1024, true);
  for (const int64_t S : {1, 64}) bench_decoding(bench, grouped, S, 1024, true);
  bench_decoding(bench, wide, 1, 16384, true);
  for (const int64_t S : {1, 64}) {
    bench_decoding(bench, grouped, S, 1024);
    bench_decoding(bench, latent, S, 1024);
  }
  bench_decoding(bench, small, 1024, 128);
  bench_loss(bench, 4096, 1024, 32000);
  bench_loss(bench, 8192, 128, 512);
  bench_loss(bench, 8192, 1536, 151936, true);
  bench_loss(bench, 32768, 768, 16384, true);
  for (const int64_t S : {1, 64}) {
    bench_sample(bench, S, 152064, {}, "plain");
    bench_sample(bench, S, 152064, {.top_k = 50, .top_p = 0.95f}, "top-k top-p");
  }
  bench_sample(bench, 1024, 512, {}, "plain");
  bench_adamw(bench, int64_t{100} << 20);
  const MoeConfig config{.experts = 64, .active = 6, .groups = 1, .top_groups = 1};
  bench_moe(bench, 4096, 1024, 512, config);
  bench_moe(bench, 64, 1024, 512, config);
  const MoeConfig small_moe{.experts = 32, .active = 4, .groups = 1, .top_groups = 1};
  bench_moe(bench, 16384, 512, 256, small_moe, true);
  bench_moe(bench, 256, 512, 256, small_moe, true);
}

}  // namespace r1::bench
