// tests/gpu/moe_test.cc: the mixture of experts on the device has cpu-f32's bits: routing, experts, balance
// loss, counts, and the backward.
#include "ops/moe/moe.h"

#include "tests/gpu/device_run.h"

namespace r1 {
namespace {
using namespace test;

class CudaMoe : public OnDevice {};

struct MoeCase {
  MoeCase(const MoeConfig& moe, int64_t t, int64_t d, int64_t f, uint64_t seed)
      : config(moe), T(t), D(d), F(f) {
    Random random(seed);
    const auto matrix = [&](int64_t n, int64_t k) {
      return random_normal(random, n * k, 1.2 / std::sqrt(static_cast<double>(k)));
    };
    values.push_back(matrix(config.experts, D));
    for (int64_t e = 0; e < config.experts; ++e) {
      values.push_back(matrix(F, D));
      values.push_back(matrix(F, D));
      values.push_back(matrix(D, F));
    }
    for (const auto& v : values) held.push_back(random_normal(random, std::ssize(v)));
    bias = random_normal(random, config.experts, 0.1);
    x = random_normal(random, T * D);
    dy = random_normal(random, T * D);
    dx = random_normal(random, T * D);
    offsets.push_back(0);
    while (offsets.back() < T)
      offsets.push_back(static_cast<int32_t>(std::min<int64_t>(T, offsets.back() + random.below(T / 3 + 2))));
  }
  std::string name() const {
    return "T " + std::to_string(T) + " D " + std::to_string(D) + " F " + std::to_string(F) + " E " +
           std::to_string(config.experts) + " A " + std::to_string(config.active) + " groups " +
           std::to_string(config.top_groups) + "/" + std::to_string(config.groups) +
           (config.score == RouterScore::softmax ? " softmax" : "") +
           (config.group_rank == GroupRank::best ? " best" : "");
  }
  MoeConfig config;
  int64_t T, D, F;
  std::vector<std::vector<float>> values, held;  // router, then each expert's gate, up, down
  std::vector<float> bias, x, dy, dx;
  std::vector<int32_t> offsets;
};

struct PlacedMoe {
  PlacedMoe(Memory& memory, const MoeCase& c, bool with_bias)
      : bias(memory, {c.config.experts}, c.bias, c.bias) {
    size_t at = 0;
    const auto next = [&](int64_t n, int64_t k) {
      all.push_back(std::make_unique<PlacedParameter>(memory, Shape{n, k}, c.values[at], c.held[at]));
      ++at;
      return &all.back()->p;
    };
    w.config = c.config;
    w.router = Weight(next(c.config.experts, c.D));
    for (int64_t e = 0; e < c.config.experts; ++e) {
      Parameter *gate = next(c.F, c.D), *up = next(c.F, c.D), *down = next(c.D, c.F);
      w.experts.push_back({Weight(gate), Weight(up), Weight(down)});
    }
    if (with_bias) w.bias = &bias.p;
  }
  std::vector<std::unique_ptr<PlacedParameter>> all;
  PlacedParameter bias;
  MoeWeights w;
};

struct How {
  bool bias = true, gradient = true, held_dx = false, balance = false;
};

void compare_moe(const MoeCase& c, const How& how) {
  std::vector<double> losses;
  std::vector<std::vector<int64_t>> counts;
  expect_both_agree(
      [&](auto& r) -> std::vector<std::vector<float>> {
        PlacedMoe moe_weights(r.ctx.memory(), c, how.bias);
        Batch batch;
        batch.offsets = c.offsets;
        const Tensor x = r.input({c.T, c.D}, c.x);
        std::vector<float> dx;
        r.want(x, &dx);
        MoeStats stats;
        double loss = 0.125;
        poison(r);
        const Tensor y = moe(r.ctx, batch, x, moe_weights.w,
                             {.balance_scale = how.balance ? 0.01f : 0.0f,
                              .stats = &stats,
                              .balance_loss = how.balance ? &loss : nullptr});
        std::vector<std::vector<float>> out = {guarded_values(r, y)};
        if (how.held_dx) r.seed(x, c.dx);
        if (how.gradient) r.seed(y, c.dy);
        r.backward();
        out.push_back(dx);
        for (const auto& p : moe_weights.all) out.push_back(p->gradient());
        losses.push_back(loss);
        counts.push_back(stats.selected);
        return out;
      },
      c.name());
  EXPECT_EQ(losses.at(0), losses.at(1)) << c.name();
  EXPECT_EQ(counts.at(0), counts.at(1)) << c.name();
}

MoeConfig random_config(Random& random) {
  MoeConfig config;
  config.groups = int64_t{1} << random.below(3);
  config.experts = config.groups * random.between(1, 16 / config.groups);
  config.top_groups = random.between(1, config.groups);
  config.active = random.between(1, config.top_groups * (config.experts / config.groups));
  config.norm_topk = random.below(4) != 0;
  config.routed_scaling = random.below(2) == 0 ? 1.0f : 2.5f;
  config.score = random.below(2) == 0 ? RouterScore::sigmoid : RouterScore::softmax;
  config.group_rank = random.below(2) == 0 ? GroupRank::two_best : GroupRank::best;
  return config;
}

TEST_F(CudaMoe, HasTheBitsOfTheCpu) {
  Random random(6);
  for (const int64_t T : {1, 2, 3, 17, 64, 100, 300}) {
    for (int i = 0; i < 8; ++i) {
      const int64_t D = random.between(1, 70), F = random.between(1, 70);
      const MoeCase c(random_config(random), T, D, F, random.next_u32());
      compare_moe(c, {.bias = i != 2, .held_dx = i == 1, .balance = i >= 3});
      if (i == 3) compare_moe(c, {.gradient = false, .balance = true});
    }
  }
}

TEST_F(CudaMoe, SelectsAmongManyExpertsAndGroups) {
  const MoeConfig config{
      .experts = 256, .active = 8, .groups = 8, .top_groups = 4, .norm_topk = true, .routed_scaling = 2.5f};
  compare_moe(MoeCase(config, 200, 32, 16, 11), {.balance = true});
  MoeConfig softmax = config;
  softmax.score = RouterScore::softmax, softmax.group_rank = GroupRank::best;
  compare_moe(MoeCase(softmax, 150, 20, 16, 16), {.bias = false, .balance = true});
  MoeConfig odd = config;
  odd.experts = 77, odd.groups = 7, odd.top_groups = 3, odd.active = 33;
  compare_moe(MoeCase(odd, 90, 24, 20, 12), {});
}

// Their keys do not fit shared memory.
TEST_F(CudaMoe, SelectsAmongThousandsOfExperts) {
  compare_moe(MoeCase({.experts = 3100, .active = 5, .groups = 62, .top_groups = 9}, 20, 3, 2, 17), {});
}

// Equal scores: the lower index wins. NaN counts as the largest.
TEST_F(CudaMoe, BreaksTiesAsTheCpuDoes) {
  MoeCase c({.experts = 12, .active = 3, .groups = 4, .top_groups = 2}, 40, 16, 8, 13);
  std::ranges::fill(c.values[0], 0.0f);
  std::ranges::fill(c.bias, 0.0f);
  compare_moe(c, {.balance = true});
  c.values[0][5 * 16] = kNaN;
  compare_moe(c, {.balance = false});
}

// More tokens than a chunk holds.
TEST_F(CudaMoe, ChunksChangeNoBit) {
  compare_moe(MoeCase({.experts = 3, .active = 2}, 70000, 4, 3, 14), {.held_dx = true, .balance = true});
}

TEST_F(CudaMoe, RunsWithoutATape) {
  const MoeCase c({.experts = 16, .active = 4, .groups = 2, .top_groups = 1}, 70, 40, 24, 15);
  expect_both_agree(
      [&](auto& r) -> std::vector<std::vector<float>> {
        PlacedMoe moe_weights(r.ctx.memory(), c, true);
        const Tensor x = r.input({c.T, c.D}, c.x);
        r.ctx.tape = nullptr;
        poison(r);
        Batch batch;
        batch.offsets = c.offsets;
        return {guarded_values(r, moe(r.ctx, batch, x, moe_weights.w))};
      },
      "inference");
}

}  // namespace
}  // namespace r1
