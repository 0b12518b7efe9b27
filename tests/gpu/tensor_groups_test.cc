// tests/gpu/tensor_groups_test.cc: products of experts and of heads by wgmma have the bits of the same products by mma.sync.
// Experts have any number of rows, none among them: one product, two of one input, and the sum of two.
#include <cuda.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>

#include "ops/matmul/tensor_groups_sm90.h"
#include "ops/matmul/tensor_product_sm90.h"
#include "tests/gpu/device_bits.h"

namespace r1 {
namespace {
using namespace test;
using cuda::TensorKernel;
using cuda::TensorProduct;

class CudaTensorGroups : public OnDevice {
 protected:
  void SetUp() override {
    OnDevice::SetUp();
    if (!IsSkipped() && cuda::device_facts().major != 9) GTEST_SKIP() << "this GPU has no wgmma";
  }
};

constexpr int64_t kShards = 8;

// Products of experts whose matrices are [I, K], or [K, I] if not by_k, with rows of K.
struct GroupCase {
  std::vector<int64_t> rows;  // the number of each expert
  int64_t I, K;
  bool by_k, bf16;
  int64_t experts() const { return std::ssize(rows); }
  int64_t slots() const { return std::accumulate(rows.begin(), rows.end(), int64_t{0}); }
  std::string name() const {
    return std::to_string(experts()) + " experts, " + std::to_string(slots()) + " rows, I " +
           std::to_string(I) + " K " + std::to_string(K) + (by_k ? " y" : " dx") + (bf16 ? " in bf16" : "");
  }
};

// One of the products: its matrices and rows of Q.
struct GroupOperands {
  GroupOperands(const GroupCase& c, uint64_t seed)
      : weights(numbers(seed, c.experts() * c.I * c.K)), q(numbers(seed + 100, c.slots() * c.K)) {}
  static std::vector<float> numbers(uint64_t seed, int64_t n) {
    Random random(seed);
    return bf16_numbers(random, n);
  }
  DeviceBits weights, q;
};

// A list in the device's memory, which begins at a multiple of 256 bytes.
template <class T>
class DeviceList {
 public:
  explicit DeviceList(std::span<const T> list)
      : buffer_({static_cast<int64_t>(list.size_bytes() / sizeof(int32_t))}, DType::i32, cuda_memory()) {
    cuda_memory().write(buffer_.tensor().data, list.data(), list.size_bytes());
  }
  const T* data() const { return static_cast<const T*>(buffer_.tensor().data); }

 private:
  Buffer buffer_;
};

// The products of a case, by both kernels.
class GroupRun {
 public:
  explicit GroupRun(const GroupCase& c) : c_(c), operands_{GroupOperands(c, 1), GroupOperands(c, 2)} {
    std::vector<int64_t> starts(c.rows.size() + 1);
    std::partial_sum(c.rows.begin(), c.rows.end(), starts.begin() + 1);
    starts_.emplace(starts);
    for (size_t n = 0; n < operands_.size(); ++n) {
      std::vector<const uint16_t*> matrices;
      std::vector<CUtensorMap> maps;
      for (int64_t e = 0; e < c.experts(); ++e) {
        matrices.push_back(operands_[n].weights.data() + e * c.I * c.K);
        TensorProduct one = product(n, nullptr);
        one.p.data = matrices.back();
        maps.push_back(cuda::wgmma_group_map(one));
      }
      matrices_[n].emplace(matrices);
      maps_[n].emplace(maps);
    }
  }
  // q_of: the product whose rows of Q are read.
  TensorProduct product(size_t q_of, void* d) const {
    return {.I = c_.I,
            .J = *std::ranges::max_element(c_.rows),
            .K = c_.K,
            .p = {nullptr, c_.by_k ? c_.K : c_.I, c_.by_k},
            .q = {operands_[q_of].q.data(), c_.K, true},
            .d = d,
            .d_i = 1,
            .d_j = c_.I,
            .d_bf16 = c_.bf16,
            .most_shards = kShards};
  }
  int64_t words() const { return (c_.slots() * c_.I + 1) / (c_.bf16 ? 2 : 1); }
  void by_mma(const TensorProduct& product, size_t matrices) const {
    cuda::tensor_products(product,
                          {.count = c_.experts(),
                           .starts = starts_->data(),
                           .matrices = matrices_[matrices]->data(),
                           .aligned = true,
                           .typical = c_.slots() / c_.experts()},
                          TensorKernel::small_tiles, stream.get());
  }
  void by_wgmma(std::span<const TensorProduct> products, bool summed, int64_t typical) const {
    const std::array maps{maps_[0]->data(), maps_[1]->data()};
    cuda::wgmma_group_products({.products = products,
                                .maps = std::span(maps).first(products.size()),
                                .starts = starts_->data(),
                                .experts = c_.experts(),
                                .rows = c_.slots(),
                                .typical = typical,
                                .summed = summed},
                               stream.get());
  }
  void expect_same(const DeviceInts& got, const DeviceInts& want, const std::string& what) const {
    EXPECT_EQ(got.values(stream), want.values(stream)) << c_.name() << ", " << what;
  }

  cuda::Stream stream;

 private:
  const GroupCase& c_;
  std::array<GroupOperands, 2> operands_;
  std::optional<DeviceList<int64_t>> starts_;
  std::array<std::optional<DeviceList<const uint16_t*>>, 2> matrices_;
  std::array<std::optional<DeviceList<CUtensorMap>>, 2> maps_;
};

void expect_equal_bits(const GroupCase& c) {
  const GroupRun run(c);
  ASSERT_TRUE(cuda::wgmma_groups_fit(run.product(0, nullptr), c.experts())) << c.name();
  const DeviceInts first(run.words()), second(run.words());
  run.by_mma(run.product(0, first.data()), 0);
  run.by_mma(run.product(0, second.data()), 1);
  for (const int64_t typical : {64, 1000}) {  // tiles of 64 and of 128 rows
    const std::string what = typical == 64 ? "narrow tiles" : "wide tiles";
    const DeviceInts alone(run.words()), both[2] = {DeviceInts(run.words()), DeviceInts(run.words())};
    const std::array one{run.product(0, alone.data())};
    run.by_wgmma(one, false, typical);
    run.expect_same(alone, first, what);
    const std::array two{run.product(0, both[0].data()), run.product(0, both[1].data())};
    run.by_wgmma(two, false, typical);
    run.expect_same(both[0], first, what + ", first of two");
    run.expect_same(both[1], second, what + ", second of two");
    if (c.bf16) continue;
    const DeviceInts sum(run.words()), want(run.words());
    run.by_mma(run.product(0, want.data()), 0);
    TensorProduct added = run.product(1, want.data());
    added.accumulate = true;
    run.by_mma(added, 1);
    const std::array terms{run.product(0, sum.data()), run.product(1, sum.data())};
    run.by_wgmma(terms, true, typical);
    run.expect_same(sum, want, what + ", the sum of two");
  }
}

TEST_F(CudaTensorGroups, HaveTheBitsOfMma) {
  const std::vector<std::vector<int64_t>> rows = {
      {5, 0, 130, 64, 1, 0}, {0, 0, 3}, {128, 256, 64}, {1, 2, 3, 4, 5, 6, 7, 8, 0, 70}};
  for (const auto& counts : rows) {
    for (const bool by_k : {true, false}) {
      expect_equal_bits({counts, 136, 64, by_k, false});
      expect_equal_bits({counts, 64, 72, by_k, false});
    }
    expect_equal_bits({counts, 264, 512, true, true});
    expect_equal_bits({counts, 128, 256, false, false});
  }
  expect_equal_bits({std::vector<int64_t>(70, 3), 40, 128, true, false});
}

// Heads whose matrices have rows, and whose inputs and results have columns, that belong to nobody between them.
struct HeadCase {
  int64_t heads, T, I, K;
  bool by_k, bf16;
  std::string name() const {
    return std::to_string(heads) + " heads, T " + std::to_string(T) + " I " + std::to_string(I) + " K " +
           std::to_string(K) + (by_k ? " by k" : "") + (bf16 ? " in bf16" : "");
  }
};

TEST_F(CudaTensorGroups, HeadsHaveTheBitsOfMma) {
  for (const HeadCase& c : std::vector<HeadCase>{{3, 200, 64, 128, true, true},
                                                 {2, 129, 128, 64, false, true},
                                                 {4, 64, 192, 64, true, false},
                                                 {3, 300, 64, 512, false, false},
                                                 {1, 5, 128, 256, true, true}}) {
    constexpr int64_t kBetween = 32;
    const int64_t rows = c.by_k ? c.I + kBetween : c.K + kBetween, row = c.by_k ? c.K : c.I,
                  q_head = c.K + kBetween, d_head = c.I + kBetween;
    Random random(static_cast<uint64_t>(c.T));
    const DeviceBits p(bf16_numbers(random, c.heads * rows * row)),
        q(bf16_numbers(random, c.T * c.heads * q_head));
    const int64_t words = c.T * c.heads * d_head / (c.bf16 ? 2 : 1);
    const DeviceInts got(words), want(words);
    const auto product = [&](const DeviceInts& d) {
      return TensorProduct{.I = c.I,
                           .J = c.T,
                           .K = c.K,
                           .p = {p.data(), row, c.by_k},
                           .q = {q.data(), c.heads * q_head, true},
                           .d = d.data(),
                           .d_i = 1,
                           .d_j = c.heads * d_head,
                           .d_bf16 = c.bf16,
                           .most_shards = kShards};
    };
    const cuda::TensorGroups heads{.count = c.heads, .p = rows * row, .q = q_head, .d = d_head};
    ASSERT_TRUE(cuda::wgmma_heads_fit(product(got), heads)) << c.name();
    const cuda::Stream stream;
    cuda::tensor_products(product(want), heads, TensorKernel::small_tiles, stream.get());
    cuda::wgmma_heads_product(product(got), heads, stream.get());
    EXPECT_EQ(got.values(stream), want.values(stream)) << c.name();
  }
}

}  // namespace
}  // namespace r1
