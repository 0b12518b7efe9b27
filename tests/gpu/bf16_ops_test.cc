// tests/gpu/bf16_ops_test.cc: the ops of cuda-bf16 that multiply with no weight have cpu-bf16's bits on the
// same values, forward and backward: norms, rotary embedding, SwiGLU, slices and gathered rows, embedding,
// attention of latents and of wide heads, and the steps of latent attention.
#include <memory>

#include "base/math.h"
#include "ops/attention/attention.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embed/embed.h"
#include "ops/loss/loss.h"
#include "ops/matmul/weight.h"
#include "ops/mla/mla.h"
#include "ops/norm/norm.h"
#include "ops/rope/rope.h"
#include "ops/swiglu/swiglu.h"
#include "tensor/transfer.h"
#include "tests/gpu/device_run.h"

namespace r1 {
namespace {
using namespace test;

class CudaBf16Ops : public OnDevice {};

using Results = std::vector<std::vector<float>>;

void choose_bf16(auto& r) {
  r.ctx.numerics = r.ctx.device == Device::cuda ? Numerics::cuda_bf16 : Numerics::cpu_bf16;
}

// An activation of bf16, named on the tape.
Tensor bf16_input(auto& r, Shape shape, std::span<const float> values) {
  const Tensor t = r.ctx.output(shape, DType::bf16);
  write_values(r.ctx.memory(), t, 0, values, r.ctx.stream);
  return t;
}

std::vector<float> bf16_values(auto& r, const Tensor& t) {
  std::vector<float> out(static_cast<size_t>(t.count()));
  read_values(r.ctx.memory(), t, 0, out, r.ctx.stream);
  return out;
}

TEST_F(CudaBf16Ops, NormsHaveTheBitsOfTheCpu) {
  Random random(1);
  for (const auto& [T, D] :
       std::vector<std::array<int64_t, 2>>{{1, 7}, {5, 64}, {40, 200}, {3, 1000}, {2, 9000}}) {
    const auto x = mixed_numbers(random, T * D), w = random_normal(random, D),
               held = random_normal(random, D), dy = random_normal(random, T * D);
    for (const bool narrow : {false, true}) {
      expect_both_agree(
          [&](auto& r) -> Results {
            choose_bf16(r);
            PlacedParameter p(r.ctx.memory(), {D}, w, held);
            const Tensor in = narrow ? bf16_input(r, {T, D}, x) : r.input({T, D}, x);
            std::vector<float> dx;
            r.want(in, &dx);
            poison(r);
            const Tensor y = rms_norm(r.ctx, in, p.p, 1e-6f);
            r.seed(y, dy);
            const std::vector<float> out = bf16_values(r, y);
            r.backward();
            return {out, dx, p.gradient()};
          },
          "norm " + std::to_string(T) + " x " + std::to_string(D) + (narrow ? " of bf16" : ""));
    }
  }
}

RopeTable bf16_table(int64_t P) {
  std::vector<float> frequencies;
  for (int64_t i = 0; i < P / 2; ++i)
    frequencies.push_back(
        static_cast<float>(exact_pow(1e4, -2.0 * static_cast<double>(i) / static_cast<double>(P))));
  return {frequencies, 1.0f, 600};
}

TEST_F(CudaBf16Ops, RotaryEmbeddingHasTheBitsOfTheCpu) {
  Random random(2);
  for (const auto& [T, H, K, P] :
       std::vector<std::array<int64_t, 4>>{{1, 1, 2, 2}, {9, 3, 16, 16}, {33, 2, 21, 10}}) {
    const auto x = mixed_numbers(random, T * H * K), dy = random_normal(random, T * H * K);
    std::vector<int32_t> positions;
    for (int64_t t = 0; t < T; ++t) positions.push_back(static_cast<int32_t>(random.below(600)));
    const RopeTable table = bf16_table(P);
    for (const RopeStyle style : {RopeStyle::half, RopeStyle::interleaved}) {
      expect_both_agree(
          [&, T = T, H = H, K = K](auto& r) -> Results {
            choose_bf16(r);
            const Tensor in = bf16_input(r, {T, H, K}, x);
            std::vector<float> dx;
            r.want(in, &dx);
            poison(r);
            const Tensor y = rope(r.ctx, in, positions, table, style);
            r.seed(y, dy);
            const std::vector<float> out = bf16_values(r, y);
            r.backward();
            return {out, dx};
          },
          "rope");
    }
  }
}

TEST_F(CudaBf16Ops, SwigluSlicesAndGatheredRowsHaveTheBitsOfTheCpu) {
  Random random(3);
  for (const auto& [T, F] : std::vector<std::array<int64_t, 2>>{{1, 1}, {7, 33}, {65, 129}}) {
    const auto gate = mixed_numbers(random, T * F), up = random_normal(random, T * F),
               dy = random_normal(random, T * F);
    const std::vector<int32_t> rows = {0, static_cast<int32_t>(T - 1), 0};
    expect_both_agree(
        [&, T = T, F = F](auto& r) -> Results {
          choose_bf16(r);
          const Tensor a = bf16_input(r, {T, F}, gate), b = bf16_input(r, {T, F}, up);
          std::vector<float> da, db;
          r.want(a, &da);
          r.want(b, &db);
          poison(r);
          const Tensor y = swiglu(r.ctx, a, b);
          const Tensor part = slice_columns(r.ctx, a, F / 3, F);
          r.seed(y, dy);
          r.seed(part, std::span(dy).first(static_cast<size_t>(part.count())));
          const std::vector<float> out = bf16_values(r, y), slice = bf16_values(r, part);
          Context plain = r.ctx;
          plain.tape = nullptr;
          const std::vector<float> gathered = bf16_values(r, gather_rows(plain, a, rows));
          r.backward();
          return {out, slice, gathered, da, db};
        },
        "swiglu");
  }
}

TEST_F(CudaBf16Ops, EmbeddingHasTheBitsOfTheCpu) {
  Random random(4);
  const int64_t V = 50, D = 37, T = 80;
  const auto table = mixed_numbers(random, V * D), held = random_normal(random, V * D),
             dy = random_normal(random, T * D);
  std::vector<int32_t> tokens;
  for (int64_t t = 0; t < T; ++t) tokens.push_back(static_cast<int32_t>(random.below(V)));
  expect_both_agree(
      [&](auto& r) -> Results {
        choose_bf16(r);
        PlacedParameter p(r.ctx.memory(), {V, D}, table, held);
        const Weight weight(&p.p, nullptr, Weight::Layout::rows);
        const Tensor y = embed(r.ctx, tokens, weight);
        r.seed(y, dy);
        const std::vector<float> out = values(r, y);
        r.backward();
        return {out, p.gradient()};
      },
      "embed");
}

// Whole rows of these lengths, each with pages of its own.
struct RowsInPages {
  explicit RowsInPages(const std::vector<int64_t>& lengths) {
    for (const int64_t n : lengths) max_pages = std::max(max_pages, n / kKeyTile + 1);
    for (const int64_t n : lengths) {
      for (int64_t i = 0; i < n; ++i) positions.push_back(static_cast<int32_t>(i));
      offsets.push_back(static_cast<int32_t>(positions.size()));
      for (int64_t p = 0; p < max_pages; ++p) table.push_back(static_cast<int32_t>(table.size()));
    }
    tokens.assign(positions.size(), 0);
  }
  Batch view() const { return {tokens, positions, offsets, table, max_pages}; }
  int64_t T() const { return std::ssize(positions); }
  std::vector<int32_t> tokens, positions, offsets{0}, table;
  int64_t max_pages = 0;
};

TEST_F(CudaBf16Ops, AttentionOfWideLatentsAndHeadsHasTheBitsOfTheCpu) {
  Random random(5);
  struct Size {
    int64_t H, G, K, V;
    bool latent;
  };
  // Others run on tensor cores (tensor_attention_test.cc, latent_attention_test.cc).
  for (const Size& z : {Size{6, 2, 132, 12, false}, Size{8, 1, 64, 130, false}, Size{3, 1, 580, 24, true},
                        Size{1, 1, 577, 513, true}}) {
    const RowsInPages rows({1, 40, 7, 100});
    const int64_t T = rows.T();
    const auto q_values = random_normal(random, T * z.H * z.K),
               k_values = random_normal(random, T * z.G * z.K), d_out = random_normal(random, T * z.H * z.V);
    auto v_values = random_normal(random, T * z.G * z.V);
    for (int64_t t = 0; t < T && z.latent; ++t)
      std::copy_n(k_values.begin() + t * z.K, z.V, v_values.begin() + t * z.V);
    expect_both_agree(
        [&](auto& r) -> Results {
          choose_bf16(r);
          KvPages pages{.dtype = DType::bf16, .G = z.G, .K = z.K, .V = z.V, .values_in_keys = z.latent};
          const Buffer storage({std::ssize(rows.table), pages.page_elements()}, DType::bf16, r.ctx.memory());
          pages.data = storage.tensor().data;
          const Tensor q = bf16_input(r, {T, z.H, z.K}, q_values), k = bf16_input(r, {T, z.G, z.K}, k_values),
                       v = bf16_input(r, {T, z.G, z.V}, v_values);
          std::vector<float> dq, dk, dv;
          r.want(q, &dq);
          r.want(k, &dk);
          r.want(v, &dv);
          poison(r);
          const Tensor out = attention(r.ctx, rows.view(), pages, q, k, v, 0.3f);
          r.seed(out, d_out);
          const std::vector<float> values_out = bf16_values(r, out), held = bf16_values(r, storage.tensor());
          r.backward();
          return {values_out, held, dq, dk, dv};
        },
        "attention of K " + std::to_string(z.K));
  }
}

// The backward computes no logit that it stores: each becomes its gradient inside the product.
TEST_F(CudaBf16Ops, GradientsOfLogProbsAreNearTheReference) {
  Random random(7);
  for (const auto& [T, D, V] :
       std::vector<std::array<int64_t, 3>>{{1, 24, 50}, {70, 64, 1000}, {300, 128, 520}}) {
    auto h = random_normal(random, T * D), w = random_normal(random, V * D, 0.2);
    const auto g = random_normal(random, T);
    for (float& x : h) x = f32_from_bf16(bf16_from_f32(x));
    for (float& x : w) x = f32_from_bf16(bf16_from_f32(x));
    std::vector<int32_t> targets;
    for (int64_t t = 0; t < T; ++t)
      targets.push_back(t % 5 == 3 ? -1 : static_cast<int32_t>(random.below(static_cast<uint64_t>(V))));
    constexpr float kTemperature = 0.7f;
    DeviceRun r;
    choose_bf16(r);
    PlacedParameter p(r.ctx.memory(), {V, D}, w, std::vector<float>(static_cast<size_t>(V * D)));
    const Weight head(&p.p);
    const Tensor in = bf16_input(r, {T, D}, h);
    std::vector<float> dh;
    r.want(in, &dh);
    poison(r);
    const Tensor logprobs = token_log_probs(r.ctx, in, head, targets, kTemperature);
    r.seed(logprobs, g);
    r.backward();
    std::vector<double> want_dh(static_cast<size_t>(T * D)), want_dw(static_cast<size_t>(V * D));
    ref::token_log_probs_backward(h.data(), w.data(), targets.data(), g.data(), T, D, V,
                                  static_cast<double>(kTemperature), want_dh.data(), want_dw.data());
    const auto near = [&](const std::vector<float>& got, const std::vector<double>& want, const char* what) {
      ASSERT_EQ(got.size(), want.size());
      double difference = 0, size = 0;
      for (size_t i = 0; i < got.size(); ++i) {
        difference += std::pow(static_cast<double>(got[i]) - want[i], 2);
        size += std::pow(want[i], 2);
      }
      EXPECT_LT(std::sqrt(difference / size), 4e-3) << what << " of " << T << " x " << D << " x " << V;
    };
    near(dh, want_dh, "dh");
    near(p.gradient(), want_dw, "dW");
  }
}

// Their products run on tensor cores, so they are near; a part that no product touches is equal.
TEST_F(CudaBf16Ops, LatentAttentionsStepsAreNearTheCpu) {
  const int64_t T = 17, H = 3, n = 19, v = 7, R = 33, P = 6;
  Random random(6);
  const auto kv_b = random_normal(random, H * (n + v) * R), held = random_normal(random, H * (n + v) * R),
             q_values = random_normal(random, T * H * (n + P)), o_values = random_normal(random, T * H * R),
             c_values = random_normal(random, T * R), compressed_values = random_normal(random, T * (R + P)),
             dq = random_normal(random, T * H * (R + P)), d_out = random_normal(random, T * H * v),
             dkey = random_normal(random, T * (R + P));
  std::vector<int32_t> positions;
  for (int64_t t = 0; t < T; ++t) positions.push_back(static_cast<int32_t>(random.below(600)));
  const RopeTable table = bf16_table(P);
  const Rotary rotary{positions, &table, RopeStyle::interleaved};
  const auto op = [&](auto& r) -> Results {
    choose_bf16(r);
    PlacedParameter p(r.ctx.memory(), {H * (n + v), R}, kv_b, held);
    const LatentWeight w(&p.p, H, n, v);
    const Tensor q = bf16_input(r, {T, H, n + P}, q_values), o = bf16_input(r, {T, H, R}, o_values),
                 latent = bf16_input(r, {T, R}, c_values),
                 compressed = bf16_input(r, {T, R + P}, compressed_values);
    std::vector<float> dq_in, do_in, dlatent, dcompressed;
    r.want(q, &dq_in);
    r.want(o, &do_in);
    r.want(latent, &dlatent);
    r.want(compressed, &dcompressed);
    poison(r);
    const Tensor absorbed = absorb_query(r.ctx, q, w, rotary),
                 key = latent_key(r.ctx, latent, compressed, rotary), expanded = expand_value(r.ctx, o, w);
    r.seed(absorbed, dq);
    r.seed(key, dkey);
    r.seed(expanded, d_out);
    Results out{bf16_values(r, absorbed), bf16_values(r, key), bf16_values(r, expanded)};
    r.backward();
    out.insert(out.end(), {dq_in, do_in, dlatent, dcompressed, p.gradient()});
    return out;
  };
  OpRun cpu;
  DeviceRun device;
  const Results want = op(cpu), got = op(device);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(got[i].size(), want[i].size());
    double difference = 0, size = 0;
    for (size_t e = 0; e < want[i].size(); ++e) {
      difference += std::pow(static_cast<double>(got[i][e]) - want[i][e], 2);
      size += std::pow(static_cast<double>(want[i][e]), 2);
    }
    EXPECT_LT(std::sqrt(difference / size), 1e-2) << "result " << i;
  }
  expect_cpu_bits(got[1], want[1], "the key");
  expect_cpu_bits(got[5], want[5], "the gradient of the latent");
}

// Weight::prepare_all copies trained matrices in one launch: the ragged ones too, and again after a change.
TEST_F(CudaBf16Ops, TrainedWeightsAreCopiedTogether) {
  Random random(9);
  DeviceRun r(false);
  r.ctx.numerics = Numerics::cuda_bf16;
  const std::vector<Shape> shapes = {{3, 5}, {1, 1}, {64, 130}, {7, 4099}, {40, 1024}};
  std::vector<std::vector<float>> values;
  std::vector<std::unique_ptr<PlacedParameter>> placed;
  std::vector<Weight> weights;
  for (const Shape& shape : shapes) {
    values.push_back(mixed_numbers(random, shape.count()));
    placed.push_back(std::make_unique<PlacedParameter>(r.ctx.memory(), shape, values.back(), values.back()));
    weights.emplace_back(&placed.back()->p);
  }
  std::vector<const Weight*> list;
  for (const Weight& w : weights) list.push_back(&w);
  const auto expect_copies = [&] {
    for (size_t i = 0; i < weights.size(); ++i) {
      std::vector<uint16_t> got(values[i].size()), want;
      r.ctx.memory().read(got.data(), weights[i].bf16_rows(r.ctx), got.size() * 2, r.ctx.stream);
      for (const float v : values[i]) want.push_back(bf16_from_f32(v));
      EXPECT_EQ(got, want) << shapes[i].str();
    }
  };
  Weight::prepare_all(r.ctx, list);
  expect_copies();
  const void* const place = weights[3].held_at();
  for (const size_t changed : {size_t{0}, size_t{3}}) {
    values[changed] = mixed_numbers(random, shapes[changed].count());
    write_values(r.ctx.memory(), placed[changed]->p.value, 0, values[changed], r.ctx.stream);
    ++placed[changed]->p.version;
  }
  Weight::prepare_all(r.ctx, list);
  expect_copies();
  EXPECT_EQ(weights[3].held_at(), place);
}

}  // namespace
}  // namespace r1
