// tests/gpu/mla_test.cc: the steps around latent attention on the device have cpu-f32's bits, forward and
// backward.
#include "ops/mla/mla.h"

#include "base/math.h"
#include "tests/gpu/device_run.h"

namespace r1 {
namespace {
using namespace test;

class CudaMla : public OnDevice {};

struct MlaCase {
  int64_t T, H, n, v, R, P;
  std::string name() const {
    return "T " + std::to_string(T) + " H " + std::to_string(H) + " n " + std::to_string(n) + " v " +
           std::to_string(v) + " R " + std::to_string(R) + " P " + std::to_string(P);
  }
};

RopeTable table_of(int64_t P) {
  std::vector<float> frequencies;
  for (int64_t i = 0; i < P / 2; ++i)
    frequencies.push_back(
        static_cast<float>(exact_pow(1e4, -2.0 * static_cast<double>(i) / static_cast<double>(P))));
  return {frequencies, 1.0f, 600};
}

// Each op is recorded `times` times on the same inputs.
void compare_mla(const MlaCase& c, RopeStyle style, int times) {
  const auto [T, H, n, v, R, P] = c;
  Random random(static_cast<uint64_t>(T * 31 + H * 7 + R));
  const auto kv_b = random_normal(random, H * (n + v) * R), held = random_normal(random, H * (n + v) * R);
  const auto q_values = mixed_numbers(random, T * H * (n + P)), o_values = random_normal(random, T * H * R);
  const auto c_values = random_normal(random, T * R), compressed_values = random_normal(random, T * (R + P));
  const auto dq = random_normal(random, T * H * (R + P)), d_out = random_normal(random, T * H * v),
             dkey = random_normal(random, T * (R + P));
  std::vector<int32_t> positions;
  for (int64_t t = 0; t < T; ++t) positions.push_back(static_cast<int32_t>(random.below(600)));
  const RopeTable table = table_of(P);
  const Rotary rotary{positions, &table, style};
  expect_both_agree(
      [&](auto& r) -> std::vector<std::vector<float>> {
        PlacedParameter p(r.ctx.memory(), {H * (n + v), R}, kv_b, held);
        const LatentWeight w(&p.p, H, n, v);
        const Tensor q = r.input({T, H, n + P}, q_values), o = r.input({T, H, R}, o_values),
                     latent = r.input({T, R}, c_values), compressed = r.input({T, R + P}, compressed_values);
        std::vector<float> dq_in, do_in, dlatent, dcompressed;
        r.want(q, &dq_in);
        r.want(o, &do_in);
        r.want(latent, &dlatent);
        r.want(compressed, &dcompressed);
        std::vector<std::vector<float>> out;
        for (int i = 0; i < times; ++i) {
          poison(r);
          const Tensor absorbed = absorb_query(r.ctx, q, w, rotary);
          out.push_back(guarded_values(r, absorbed));
          poison(r);
          const Tensor key = latent_key(r.ctx, latent, compressed, rotary);
          out.push_back(guarded_values(r, key));
          poison(r);
          const Tensor expanded = expand_value(r.ctx, o, w);
          out.push_back(guarded_values(r, expanded));
          r.seed(absorbed, dq);
          r.seed(key, dkey);
          r.seed(expanded, d_out);
        }
        r.backward();
        out.insert(out.end(), {dq_in, do_in, dlatent, dcompressed, p.gradient()});
        return out;
      },
      c.name());
}

TEST_F(CudaMla, HasTheBitsOfTheCpu) {
  for (const RopeStyle style : {RopeStyle::interleaved, RopeStyle::half}) {
    for (const int64_t T : {1, 2, 3, 16, 17, 100}) {
      compare_mla({T, 1, 1, 1, 1, 2}, style, 1);
      compare_mla({T, 4, 32, 32, 64, 16}, style, 1);
      compare_mla({T, 3, 19, 7, 33, 6}, style, 2);
      compare_mla({T, 16, 12, 20, 130, 8}, style, 2);
    }
  }
}

// A checkpoint's bf16 values are widened into a copy, of a frozen matrix too.
TEST_F(CudaMla, ReadsBf16AndFrozenMatrices) {
  class Bytes final : public StoredBytes {
   public:
    explicit Bytes(std::span<const std::byte> bytes) : bytes_(bytes.begin(), bytes.end()) {}
    const std::string& path() const override { return path_; }
    void read(uint64_t begin, std::span<std::byte> to, std::string_view) const override {
      std::memcpy(to.data(), bytes_.data() + begin, to.size());
    }

   private:
    std::vector<std::byte> bytes_;
    std::string path_ = "memory";
  };
  const int64_t T = 9, H = 3, n = 5, v = 6, R = 21, P = 4;
  Random random(8);
  const auto values_of = random_normal(random, H * (n + v) * R),
             q_values = random_normal(random, T * H * (n + P)), o_values = random_normal(random, T * H * R);
  const std::vector<int32_t> positions(static_cast<size_t>(T), 3);
  const RopeTable table = table_of(P);
  const Rotary rotary{positions, &table, RopeStyle::half};
  for (const bool frozen : {false, true}) {
    expect_both_agree(
        [&](auto& r) -> std::vector<std::vector<float>> {
          r.ctx.tape = nullptr;
          Memory& memory = r.ctx.memory();
          const Buffer value({H * (n + v), R}, DType::bf16, memory);
          write_values(memory, value.tensor(), 0, values_of);
          Parameter p;
          p.name = p.stored.name = "kv_b";
          p.value = value.tensor();
          if (frozen) {
            p.value.data = nullptr;
            p.stored.shape = p.value.shape;
            p.stored.owner = std::make_shared<Bytes>(std::as_bytes(std::span(values_of)));
          }
          const LatentWeight w(&p, H, n, v);
          w.prepare(r.ctx);
          const Tensor q = r.input({T, H, n + P}, q_values), o = r.input({T, H, R}, o_values);
          return {values(r, absorb_query(r.ctx, q, w, rotary)), values(r, expand_value(r.ctx, o, w))};
        },
        frozen ? "frozen" : "bf16");
  }
}

}  // namespace
}  // namespace r1
