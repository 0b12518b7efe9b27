// cpu-bf16 on whole models: its distance from exact arithmetic compared with that of transformers' bf16, and
// a model stored in bf16 compared with its f32 master.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/safetensors.h"
#include "model/scoring.h"
#include "ops/convert/convert.h"
#include "ops/loss/loss.h"
#include "tests/model/golden_models.h"

namespace r1::bf16_test {
namespace {

struct Rows {
  explicit Rows(const std::filesystem::path& directory) {
    const SafetensorsFile expected(directory / "expected.safetensors");
    const TensorInfo* info = expected.find("tokens");
    tokens.resize(static_cast<size_t>(info->count()));
    std::memcpy(tokens.data(), expected.bytes(*info).data(), tokens.size() * sizeof(int32_t));
    const size_t length = static_cast<size_t>(info->shape[1]);
    for (size_t at = 0; at < tokens.size(); at += length) {
      rows.push_back(std::span(tokens).subspan(at, length));
      scored.push_back({rows.back(), 1});
    }
  }
  std::vector<int32_t> tokens;
  std::vector<std::span<const int32_t>> rows;
  std::vector<ScoredRow> scored;
};

struct Answer {
  std::vector<float> logits, gradients;
};

Answer run(Model& model, const Rows& rows, Numerics numerics) {
  Arena arena;
  ThreadPool threads(2);
  Tape tape{arena};
  Answer out;
  {
    Context ctx{
        .arena = arena, .threads = threads, .tape = nullptr, .device = Device::cpu, .numerics = numerics};
    const WholeBatch batch = whole_batch(rows.rows);
    const KvCache kv(model.config(), batch.page_count, ctx);
    const Tensor hidden = model.forward(ctx, batch.view(), kv);
    out.logits.resize(rows.tokens.size() * static_cast<size_t>(model.config().vocab_size));
    matmul_into(ctx, as_f32(ctx, hidden), hidden.dim(0), model.head(), out.logits.data());
  }
  model.allocate_gradients();
  Context ctx{.arena = arena, .threads = threads, .tape = &tape, .device = Device::cpu, .numerics = numerics};
  model.zero_gradients(ctx);
  const ScoreBatch input = make_score_batch(rows.scored);
  const KvCache kv(model.config(), input.batch.page_count, ctx);
  const Tensor logprobs =
      token_log_probs(ctx, model.forward(ctx, input.batch.view(), kv), model.head(), input.targets, 1.0f);
  const GradSlot slot = tape.slot(logprobs);
  std::fill_n(slot.grad.f32(), logprobs.count(), 1.0f);
  tape.backward(ctx);
  model.join_gradients(ctx);
  for (const Parameter& p : model.parameters()) {
    if (p.grad) out.gradients.insert(out.gradients.end(), p.grad.values().begin(), p.grad.values().end());
  }
  return out;
}

// Returns ||got - want|| / ||want||.
double distance(std::span<const float> got, std::span<const float> want) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double d = static_cast<double>(got[i]) - static_cast<double>(want[i]);
    difference += d * d;
    size += static_cast<double>(want[i]) * static_cast<double>(want[i]);
  }
  return std::sqrt(difference / size);
}

// Returns the median over tokens, because in either program a router's near tie that is decided differently
// moves a token far.
double median_distance(std::span<const float> got, std::span<const float> want, size_t V) {
  std::vector<double> of;
  for (size_t at = 0; at < want.size(); at += V)
    of.push_back(distance(got.subspan(at, V), want.subspan(at, V)));
  std::ranges::nth_element(of, of.begin() + std::ssize(of) / 2);
  return of[of.size() / 2];
}

class Bf16Model : public testing::TestWithParam<const char*> {
 protected:
  std::filesystem::path directory() const { return test::kGoldenModels / GetParam(); }
};

// There are fewer roundings than in transformers (where the residual stream, norms and every product round),
// so the result is no farther from exact arithmetic on the same rounded weights.
TEST_P(Bf16Model, NoFartherFromExactThanTransformers) {
  const Rows rows(directory());
  Model model = Model::load(directory(), DType::bf16);
  const Answer exact =
      run(model, rows, Numerics::cpu_f32);  // vectors are not rounded: they are few or bf16 values
  const Answer ours = run(model, rows, Numerics::cpu_bf16);
  const SafetensorsFile file(test::kGoldenModels / "bf16.safetensors");
  const TensorInfo* info = file.find(GetParam());
  ASSERT_NE(info, nullptr);
  std::vector<float> theirs(static_cast<size_t>(info->count()));
  read_as_f32(file, *info, theirs);
  ASSERT_EQ(theirs.size(), exact.logits.size());
  const size_t V = static_cast<size_t>(model.config().vocab_size);
  const double we = median_distance(ours.logits, exact.logits, V);
  const double they = median_distance(theirs, exact.logits, V);
  RecordProperty("ours", std::to_string(we));
  RecordProperty("transformers", std::to_string(they));
  std::printf("%s: logits %.5f from exact, transformers %.5f: %.2f of it; gradients %.5f\n", GetParam(), we,
              they, we / they, distance(ours.gradients, exact.gradients));
  EXPECT_GT(we, 0);
  EXPECT_LE(we, they);
  EXPECT_LT(distance(ours.gradients, exact.gradients),
            0.06);  // at most 0.058, with the same bits on every machine
}

// A weight stored in bf16 and a weight rounded from the f32 master at each use give the same bits, gradients
// included.
TEST_P(Bf16Model, StorageShowsInNoBit) {
  const Rows rows(directory());
  Model stored = Model::load(directory(), DType::bf16), master = Model::load(directory());
  const Answer a = run(stored, rows, Numerics::cpu_bf16), b = run(master, rows, Numerics::cpu_bf16);
  EXPECT_TRUE(a.logits == b.logits);
  EXPECT_TRUE(a.gradients == b.gradients);
  EXPECT_LT(stored.weight_bytes(), master.weight_bytes());
}

INSTANTIATE_TEST_SUITE_P(Models, Bf16Model, testing::ValuesIn(test::kGoldenNames), test::golden_test_name);

}  // namespace
}  // namespace r1::bf16_test
