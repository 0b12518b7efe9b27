// Attention compared with the double reference on ragged batches. The result is equal to the bit however the
// same tokens arrive: whole, in chunks, one by one, alone or with others, on other pages, with any number of
// threads, with AVX2 or AVX-512.
#include "ops/attention/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/ops/attention_util.h"

namespace r1::attention_test {
namespace {

using namespace test_attention;

// ---- the reference

TEST(Attention, ReferenceGradientsMatchFiniteDifferences) {
  const Data data({4, 2, 3, 5}, {1, 6, 4}, 11);
  const RefGradients g = ref_backward(data);
  const auto loss_of = [&](std::vector<float> Data::*member) {
    return [&data, member](const std::vector<float>& x) {
      Data moved = data;
      moved.*member = x;
      return test::dot(ref_forward(moved), data.d_o);
    };
  };
  test::expect_near_double(g.dq, test::central_differences(data.q, loss_of(&Data::q)), 1e-4, 1e-4, "dq");
  test::expect_near_double(g.dk, test::central_differences(data.k, loss_of(&Data::k)), 1e-4, 1e-4, "dk");
  test::expect_near_double(g.dv, test::central_differences(data.v, loss_of(&Data::v)), 1e-4, 1e-4, "dv");
}

// ---- against the reference

// The error of a score is about sqrt(K) eps |q||k| scale (<= K eps here), which becomes a relative error
// of p; o adds sqrt(n) eps.
TEST(Attention, MatchesReferenceOnRaggedBatches) {
  const std::vector<int64_t> lengths = {1, 31, 32, 33, 2, 63, 64, 65, 97, 128, 200};
  for (const Shape4& z : shapes()) {
    const Data data(z, lengths, 21);
    const double tolerance = 64 * test::kEps * (std::sqrt(static_cast<double>(z.K)) + std::sqrt(200.0));
    test::expect_near(run_whole(data), ref_forward(data), tolerance, z.str());
  }
}

TEST(Attention, LargeScoresNeitherOverflowNorVanish) {
  const Data data({2, 1, 32, 8}, {70}, 22, 8.0);  // scores up to several hundred
  test::expect_near(run_whole(data), ref_forward(data), 2e-3, "spread 8");
}

TEST(Attention, GradientsMatchReferenceOnRaggedBatches) {
  for (const Shape4& z : shapes()) {
    const Data data(z, {1, 31, 32, 33, 2, 65, 129}, 23);
    const Gradients g = run_training(data);
    const RefGradients want = ref_backward(data);
    const double heads = static_cast<double>(z.H) / static_cast<double>(z.G);
    // The error of dp is sqrt(V) eps |do||v|. dk and dv sum up to 129 queries of every head of the group.
    const double wide = std::sqrt(static_cast<double>(z.V)) + std::sqrt(static_cast<double>(z.K));
    const double tolerance = 64 * test::kEps * wide * wide;
    test::expect_near(g.dq, want.dq, tolerance, z.str() + " dq");
    test::expect_near(g.dk, want.dk, tolerance * std::sqrt(heads) * 4, z.str() + " dk");
    test::expect_near(g.dv, want.dv, tolerance * std::sqrt(heads) * 4, z.str() + " dv");
  }
}

TEST(Attention, GradientsAddToWhatIsThere) {
  const Data data({4, 2, 20, 12}, {40, 3}, 24);
  const Gradients once = run_training(data), twice = run_batch(data, 2, true, 2);
  const auto doubled = [](std::vector<float> x) {
    for (float& v : x) v += v;
    return x;
  };
  test::expect_same_bits(twice.dq, doubled(once.dq), "dq");
  test::expect_same_bits(twice.dk, doubled(once.dk), "dk");
  test::expect_same_bits(twice.dv, doubled(once.dv), "dv");
}

// ---- equal to the bit

TEST(Attention, ChunksAndDecodingGiveTheBitsOfOnePrefill) {
  for (const Shape4& z : few_shapes()) {
    const Data data(z, {1, 70, 33, 150, 64}, 31);
    const std::vector<float> want = run_whole(data);
    for (const int64_t chunk : {1, 7, 32, 50}) {
      test::expect_same_bits(run_steps(data, 2, 3, [chunk](int64_t, int64_t) { return chunk; }), want,
                             z.str() + " chunks of " + std::to_string(chunk));
    }
    // The sequences advance differently: one prefills while others decode or take chunks.
    test::expect_same_bits(
        run_steps(data, 2, 4, [](int64_t s, int64_t done) { return done == 0 ? 3 + 20 * s : 1 + s; }), want,
        z.str() + " mixed");
  }
}

// One sequence is given as rows of one token each, the last one first. Every row reads keys that rows after
// it write, from pages that the rows share.
TEST(Attention, RowsOfOneTokenMayReadWhatOthersWrite) {
  for (const Shape4& z : few_shapes()) {
    const Data data(z, {70}, 40);
    const std::vector<float> want = run_whole(data);
    struct Case {
      int64_t prefill, last;
    };
    for (const auto& [prefill, last] : {Case{40, 69}, Case{63, 64}, Case{50, 51}}) {
      for (const int threads : {1, 2}) {
        Cache cache(data, 6);
        OpRun run(false, threads);
        const auto forward = [&](const std::vector<int64_t>& tokens, const std::vector<int32_t>& offsets) {
          const int64_t T = std::ssize(tokens), S = std::ssize(offsets) - 1;
          const std::vector<int32_t> ids(tokens.size(), 0), positions(tokens.begin(), tokens.end());
          std::vector<int32_t> table;
          for (int64_t s = 0; s < S; ++s)
            table.insert(table.end(), cache.order.begin(), cache.order.begin() + cache.max_pages);
          const Tensor o =
              attention(run.ctx, Batch{ids, positions, offsets, table, cache.max_pages}, cache.pages,
                        run.input({T, z.H, z.K}, rows_of(data.q, z.H * z.K, tokens)),
                        run.input({T, z.G, z.K}, rows_of(data.k, z.G * z.K, tokens)),
                        run.input({T, z.G, z.V}, rows_of(data.v, z.G * z.V, tokens)), data.scale);
          return test::to_vector(o);
        };
        std::vector<int64_t> tokens(static_cast<size_t>(prefill));
        std::iota(tokens.begin(), tokens.end(), 0);
        forward(tokens, {0, static_cast<int32_t>(prefill)});
        tokens.clear();
        std::vector<int32_t> offsets{0};
        for (int64_t t = last; t >= prefill; --t) {
          tokens.push_back(t);
          offsets.push_back(static_cast<int32_t>(tokens.size()));
        }
        test::expect_same_bits(forward(tokens, offsets), rows_of(want, z.H * z.V, tokens),
                               z.str() + " rows to " + std::to_string(last));
      }
    }
  }
}

TEST(Attention, TrainingHasTheBitsOfInference) {
  for (const Shape4& z : shapes()) {
    const Data data(z, {1, 70, 33, 100}, 32);
    test::expect_same_bits(run_training(data).out, run_whole(data), z.str());
  }
}

TEST(Attention, DoesNotDependOnTheCompany) {
  for (const Shape4& z : few_shapes()) {
    const Data data(z, {100, 1, 40, 64, 129}, 33);
    const Gradients all = run_training(data);
    const std::vector<float> inference = run_whole(data);
    for (int64_t s = 0; s < data.S(); ++s) {
      const Data one = data.only(s);
      const auto part = [&](const std::vector<float>& x, int64_t wide) {
        const auto from = x.begin() + data.offsets[static_cast<size_t>(s)] * wide;
        return std::vector<float>(from, from + one.T() * wide);
      };
      const std::string what = z.str() + " sequence " + std::to_string(s);
      test::expect_same_bits(run_whole(one), part(inference, z.H * z.V), what);
      const Gradients alone = run_training(one);
      test::expect_same_bits(alone.dq, part(all.dq, z.H * z.K), what + " dq");
      test::expect_same_bits(alone.dk, part(all.dk, z.G * z.K), what + " dk");
      test::expect_same_bits(alone.dv, part(all.dv, z.G * z.V), what + " dv");
    }
  }
}

TEST(Attention, DoesNotDependOnWhichPages) {
  const Data data({4, 2, 24, 40}, {100, 31, 65}, 34);
  const std::vector<float> want = run_whole(data, 2, 1);
  for (const uint64_t seed : {2, 3, 4}) test::expect_same_bits(run_whole(data, 2, seed), want, "other pages");
}

TEST(Attention, DoesNotDependOnThreadsOrInstructionSet) {
  for (const Shape4& z : few_shapes()) {
    const Data data(z, {100, 1, 40, 33}, 35);
    test::expect_one_answer([&](int threads) { return run_training(data, threads).all(); },
                            z.str() + " training");
    test::expect_one_answer(
        [&](int threads) {
          return run_steps(data, threads, 1, [](int64_t, int64_t done) { return done == 0 ? 30 : 9; });
        },
        z.str() + " chunks");
  }
}

// The sequence is long enough for several blocks of values, several row blocks, and cuts inside one sequence.
TEST(Attention, LongSequencesHaveOneAnswer) {
  const Data data({2, 1, 16, 24}, {600}, 36);
  test::expect_one_answer([&](int threads) { return run_training(data, threads).all(); },
                          "600 tokens, training");
  const std::vector<float> want = run_whole(data);
  test::expect_near(want, ref_forward(data), 4e-6, "600 tokens");
  test::expect_same_bits(run_steps(data, 2, 2, [](int64_t, int64_t done) { return done < 560 ? 280 : 1; }),
                         want, "chunks, then decoding");
  const RefGradients g = ref_backward(data);
  const Gradients got = run_training(data);
  test::expect_near(got.dq, g.dq, 1e-4, "dq");
  test::expect_near(got.dk, g.dk, 1e-4, "dk");
  test::expect_near(got.dv, g.dv, 1e-4, "dv");
}

// Pages are NaN where nothing was written (run_steps), so reading a masked slot is detected. Here the
// neighbours in a page are infinite as well, which 0 x inf would reveal.
TEST(Attention, MaskedSlotsAreNotRead) {
  const Data data({4, 2, 9, 33}, {45}, 37);
  const std::vector<float> want = run_whole(data);
  for (const float v : want) ASSERT_TRUE(std::isfinite(v));
  Data later = data;  // tokens 20 and later are NaN or infinite; tokens 0 to 19 must not read them
  for (size_t i = static_cast<size_t>(20 * 2 * 9); i < later.k.size(); ++i) later.k[i] = test::kNaN;
  for (size_t i = static_cast<size_t>(20 * 2 * 33); i < later.v.size(); ++i) {
    later.v[i] = std::numeric_limits<float>::infinity();
  }
  std::vector<float> got = run_whole(later);
  got.resize(20 * 4 * 33);
  test::expect_same_bits(got, std::span(want).first(got.size()), "first 20 tokens");
}

TEST(Attention, EmptyBatchesAndRowsAreFine) {
  const Data data({2, 1, 8, 8}, {0, 5, 0, 0, 33, 0}, 38);
  const Gradients g = run_training(data);
  test::expect_near(g.out, ref_forward(data), 1e-5, "with empty rows");
  const Data none({2, 1, 8, 8}, {}, 39);
  EXPECT_TRUE(run_training(none).out.empty());
}

TEST(Attention, ATapeRefusesRowsThatDoNotStartAtZero) {
  OpRun run(true);
  Buffer storage({2, KvPages{nullptr, DType::f32, 1, 4, 4}.page_elements()}, DType::f32);
  const KvPages pages{storage.tensor().f32(), DType::f32, 1, 4, 4};
  const std::vector<int32_t> ids{0}, positions{7}, offsets{0, 1}, table{1};
  const std::vector<float> zeros(4, 0.0f);
  const Tensor x = run.input({1, 1, 4}, zeros);
  EXPECT_THROW(attention(run.ctx, Batch{ids, positions, offsets, table, 1}, pages, x, x, x, 1.0f),
               BrokenInvariant);
}

}  // namespace
}  // namespace r1::attention_test
