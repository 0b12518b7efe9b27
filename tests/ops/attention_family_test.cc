// Attention of families (tensor/batch.h). Rows that continue from an earlier row of the batch give the same
// bits as whole sequences. The gradients of shared keys are the sums over their uses.
#include "tests/ops/attention_util.h"

namespace r1::attention_family_test {
namespace {

using namespace test_attention;

// A parent of `prefix` tokens, and the number of tokens that each child adds. A family without children is a
// plain row.
struct Family {
  int64_t prefix = 0;
  std::vector<int64_t> children;
};

// The same tokens twice: as families (packed), and with each child as a sequence that repeats its
// prefix's tokens (whole).
struct Families {
  Families(const Shape4& z, const std::vector<Family>& list, uint64_t seed) {
    std::vector<int64_t> lengths, repeated;
    std::vector<int32_t> parents;
    for (const Family& family : list) {
      const auto parent = static_cast<int32_t>(lengths.size());
      int64_t start = 0;  // of the parent in the packed batch
      for (const int64_t n : lengths) start += n;
      lengths.push_back(family.prefix);
      parents.push_back(-1);
      repeated.push_back(family.prefix);
      for (int64_t i = 0; i < family.prefix; ++i) tokens.push_back(start + i);
      for (const int64_t child : family.children) {
        int64_t at = 0;
        for (const int64_t n : lengths) at += n;
        for (int64_t i = 0; i < family.prefix; ++i) tokens.push_back(start + i);
        for (int64_t i = 0; i < child; ++i) tokens.push_back(at + i);
        lengths.push_back(child);
        parents.push_back(parent);
        repeated.push_back(family.prefix + child);
      }
    }
    packed = std::make_unique<Data>(z, lengths, seed);
    whole = std::make_unique<Data>(*packed);
    packed->parents = parents;
    whole->lengths = repeated;
    whole->offsets.resize(1);
    for (const int64_t n : repeated)
      whole->offsets.push_back(whole->offsets.back() + static_cast<int32_t>(n));
    whole->q = rows_of(packed->q, z.H * z.K, tokens);
    whole->k = rows_of(packed->k, z.G * z.K, tokens);
    whole->v = rows_of(packed->v, z.G * z.V, tokens);
    whole->d_o = rows_of(packed->d_o, z.H * z.V, tokens);
    // The rows of a prefix count once, at the parent.
    for (size_t s = 0; s < parents.size(); ++s) {
      if (parents[s] < 0) continue;
      const int64_t prefix = lengths[static_cast<size_t>(parents[s])];
      std::fill_n(whole->d_o.begin() + whole->offsets[s] * z.H * z.V, prefix * z.H * z.V, 0.0f);
    }
  }

  // Returns the values of the whole sequences' tokens, summed over tokens that are one token in the packed
  // batch.
  template <class T>
  std::vector<double> summed(const std::vector<T>& of_whole, int64_t wide) const {
    std::vector<double> out(static_cast<size_t>(packed->T() * wide));
    for (size_t t = 0; t < tokens.size(); ++t) {
      for (int64_t i = 0; i < wide; ++i)
        out[static_cast<size_t>(tokens[t] * wide + i)] +=
            static_cast<double>(of_whole[t * static_cast<size_t>(wide) + static_cast<size_t>(i)]);
    }
    return out;
  }
  // Returns the value at the last use of each token. A child's token has only one use.
  std::vector<float> last(const std::vector<float>& of_whole, int64_t wide) const {
    std::vector<float> out(static_cast<size_t>(packed->T() * wide));
    for (size_t t = 0; t < tokens.size(); ++t)
      std::copy_n(of_whole.begin() + static_cast<int64_t>(t) * wide, wide, out.begin() + tokens[t] * wide);
    return out;
  }

  std::vector<int64_t> tokens;  // for each token of the whole sequences, its token in the packed batch
  std::unique_ptr<Data> packed, whole;
};

// Prefixes shorter and longer than a page, ending in one and with one; children of no, one and many pages.
const std::vector<Family> kMixed = {{5, {3, 1, 40}},   {17, {}},   {32, {1, 33, 64, 2}},
                                    {70, {20, 0, 90}}, {33, {31}}, {1, {1, 1}}};

std::vector<std::vector<Family>> batches() {
  std::vector<Family> many(7, {19, std::vector<int64_t>(12, 15)});
  return {kMixed, {{100, {50, 60}}}, std::move(many)};
}

TEST(AttentionOfFamilies, OutputsAreThoseOfWholeSequencesToTheBit) {
  for (const Shape4& z : few_shapes()) {
    for (const auto& list : batches()) {
      const Families families(z, list, 31);
      const std::vector<float> want = families.last(run_whole(*families.whole), z.H * z.V);
      for (const int threads : {1, 2, 3}) {
        EXPECT_EQ(run_batch(*families.packed, threads, true).out, want) << z.str();
        EXPECT_EQ(run_batch(*families.packed, threads, false).out, want) << z.str();
      }
    }
  }
}

// The gradients of a child's own tokens and of a parent's queries have the same bits as in whole sequences.
TEST(AttentionOfFamilies, OwnGradientsAreThoseOfWholeSequencesToTheBit) {
  for (const Shape4& z : few_shapes()) {
    const Families families(z, kMixed, 32);
    const Gradients got = run_training(*families.packed), whole = run_training(*families.whole);
    const std::vector<float> dq = families.last(whole.dq, z.H * z.K), dk = families.last(whole.dk, z.G * z.K),
                             dv = families.last(whole.dv, z.G * z.V);
    const Data& data = *families.packed;
    for (size_t s = 0; s < data.lengths.size(); ++s) {
      if (families.packed->parents[s] < 0) continue;
      for (int64_t t = data.offsets[s]; t < data.offsets[s + 1]; ++t) {
        EXPECT_EQ(rows_of(got.dq, z.H * z.K, {t}), rows_of(dq, z.H * z.K, {t})) << z.str() << " token " << t;
        EXPECT_EQ(rows_of(got.dk, z.G * z.K, {t}), rows_of(dk, z.G * z.K, {t})) << z.str() << " token " << t;
        EXPECT_EQ(rows_of(got.dv, z.G * z.V, {t}), rows_of(dv, z.G * z.V, {t})) << z.str() << " token " << t;
      }
    }
  }
}

// A prefix with only one child is summed in the order of the whole sequence.
TEST(AttentionOfFamilies, AnOnlyChildChangesNoBit) {
  for (const Shape4& z : shapes()) {
    for (const Family& family : {Family{7, {40}}, Family{32, {5}}, Family{45, {60}}}) {
      const Families families(z, {family}, 33);
      Data whole = *families.packed;
      whole.parents.clear();
      whole.lengths = {family.prefix + family.children[0]};
      whole.offsets = {0, static_cast<int32_t>(whole.lengths[0])};
      EXPECT_EQ(run_training(*families.packed).all(), run_training(whole).all()) << z.str();
    }
  }
}

TEST(AttentionOfFamilies, SharedGradientsMatchTheReference) {
  for (const Shape4& z : shapes()) {
    const Families families(z, kMixed, 34);
    const Gradients got = run_training(*families.packed);
    const RefGradients ref = ref_backward(*families.whole);
    const double tolerance = 64 * test::kEps * (std::sqrt(static_cast<double>(z.K)) + 16);
    test::expect_near(got.dq, families.summed(ref.dq, z.H * z.K), tolerance, z.str() + " dq");
    test::expect_near(got.dk, families.summed(ref.dk, z.G * z.K), tolerance, z.str() + " dk");
    test::expect_near(got.dv, families.summed(ref.dv, z.G * z.V), tolerance, z.str() + " dv");
  }
}

TEST(AttentionOfFamilies, GradientsDependNeitherOnThreadsNorOnCompany) {
  for (const Shape4& z : few_shapes()) {
    for (const auto& list : batches()) {
      const Families families(z, list, 35);
      const Gradients one = run_training(*families.packed, 1);
      for (const int threads : {2, 5})
        EXPECT_EQ(run_training(*families.packed, threads).all(), one.all()) << z.str();
    }
  }
}

TEST(AttentionOfFamilies, ParentsThatAreNoneAreRefused) {
  const Families families({4, 1, 8, 8}, {{5, {3, 1}}, {4, {2}}}, 36);
  families.packed->parents = {-1, 0, 0, -1, 0};  // row 4: neither the row before nor its parent
  EXPECT_THROW(run_training(*families.packed, 1), std::exception);
  families.packed->parents = {-1, 0, 1, -1, 3};  // a child cannot have children
  EXPECT_THROW(run_training(*families.packed, 1), std::exception);
}

}  // namespace
}  // namespace r1::attention_family_test
