// tests/gpu/bf16_model_test.cc: whole models in cuda-bf16: one forward for sampling, scoring and training,
// equal to the bit whatever the batch, the chunks and the pieces; and near cpu-bf16.
#include <map>

#include "model/scoring.h"
#include "ops/matmul/matmul.h"
#include "ops/optim/optim.h"
#include "ops/sample/sample.h"
#include "tests/gpu/device_run.h"
#include "tests/gpu/model_case.h"

namespace r1 {
namespace {
using namespace test;

class CudaBf16Model : public OnDevice {};

constexpr Numerics kNumerics = Numerics::cuda_bf16;

struct Sequences {
  std::vector<std::vector<int32_t>> tokens;
  std::vector<ScoredRow> rows;
};

// Answers to three prompts; every token behind the prompt is scored.
Sequences some_sequences() {
  Random random(8);
  Sequences out;
  std::vector<int64_t> from;
  for (const auto& [prompt, answers] : std::vector<std::pair<int64_t, std::vector<int64_t>>>{
           {9, {4, 30, 1}}, {33, {12, 5}}, {40, {70, 9, 17}}}) {
    const auto head = tokens_of(random, prompt);
    for (const int64_t n : answers) {
      out.tokens.push_back(head);
      append_tokens(out.tokens.back(), tokens_of(random, n));
      from.push_back(prompt);
    }
  }
  for (size_t i = 0; i < out.tokens.size(); ++i) out.rows.emplace_back(out.tokens[i], from[i]);
  return out;
}

// Logits of a sequence that runs in chunks of these lengths, beside `company` others of the same tokens in
// other pages.
std::vector<float> logits_in_chunks(const Model& model, std::span<const int32_t> tokens,
                                    const std::vector<int64_t>& chunks, int64_t company) {
  DeviceRun run(false);
  run.ctx.numerics = kNumerics;
  const int64_t pages_each = static_cast<int64_t>(tokens.size()) / kKeyTile + 1;
  const KvCache kv(model.config(), pages_each * (company + 1), DType::bf16, cuda_memory());
  std::vector<float> out;
  int64_t done = 0;
  for (const int64_t n : chunks) {
    std::vector<int32_t> batch, positions, offsets{0}, pages;
    for (int64_t s = 0; s <= company; ++s) {
      for (int64_t i = 0; i < n; ++i) {
        batch.push_back(tokens[static_cast<size_t>(done + i)]);
        positions.push_back(static_cast<int32_t>(done + i));
      }
      offsets.push_back(static_cast<int32_t>(batch.size()));
      for (int64_t p = 0; p < pages_each; ++p) pages.push_back(static_cast<int32_t>(p * (company + 1) + s));
    }
    const OpScope scope(run.ctx);
    run.poison(size_t{4} << 20);
    const Tensor hidden = model.forward(run.ctx, Batch{batch, positions, offsets, pages, pages_each}, kv);
    const Tensor logits = matmul(run.ctx, hidden, model.head(), DType::f32);
    const std::vector<float> all = run.values(logits);
    const size_t row = static_cast<size_t>(n * model.config().vocab_size);
    for (int64_t s = 1; s <= company; ++s)
      expect_cpu_bits(std::span(all).subspan(static_cast<size_t>(s) * row, row), std::span(all).first(row),
                      "company");
    out.insert(out.end(), all.begin(), all.begin() + static_cast<int64_t>(row));
    done += n;
  }
  return out;
}

TEST_F(CudaBf16Model, LogitsDoNotDependOnChunksOrCompany) {
  Random random(3);
  const std::vector<int32_t> tokens = tokens_of(random, 75);
  for (const auto& [name, json] : families()) {
    const Model model = random_model(json, cuda_memory());
    const std::vector<float> whole = logits_in_chunks(model, tokens, {75}, 0);
    expect_cpu_bits(logits_in_chunks(model, tokens, {40, 1, 1, 20, 13}, 2), whole,
                    name + " in chunks of three");
    expect_cpu_bits(logits_in_chunks(model, tokens, {1, 2, 30, 42}, 20), whole,
                    name + " beside twenty others");
  }
}

struct TrainedInBf16 {
  std::vector<std::vector<float>> logprobs;
  std::map<std::string, std::vector<float>> gradients;
  std::string weights;
};

TrainedInBf16 train_in_bf16(const Json& json, Memory& memory, Numerics numerics, int64_t micro, int64_t steps,
                            bool recompute = false) {
  Model model = random_model(json, memory);
  model.allocate_gradients();
  const Sequences sequences = some_sequences();
  ThreadPool threads(1);
  Lanes lanes(threads, numerics, Arena::kDefaultLimit, memory);
  TrainedInBf16 out;
  std::vector<Buffer> moments;
  for (const Parameter* p : model.trainable()) {
    moments.emplace_back(p->value.shape, DType::f32, memory);
    moments.emplace_back(p->value.shape, DType::f32, memory);
  }
  for (int64_t step = 1; step <= steps; ++step) {
    Context ctx = lanes.context();
    model.zero_gradients(ctx);
    out.logprobs.assign(sequences.rows.size(), {});
    const ScoringOptions options{.micro_tokens = micro, .recompute = recompute};
    differentiate(model, lanes, sequences.rows, options, [&](const RowGradient& row) {
      out.logprobs[row.row].assign(row.logprobs.begin(), row.logprobs.end());
      for (size_t t = 0; t < row.gradient.size(); ++t)
        row.gradient[t] = static_cast<float>(static_cast<int64_t>(row.row * 7 + t * 3) % 5 - 2) / 64;
    });
    const std::vector<Parameter*> list = model.trainable();
    const double norm = gradient_norm(ctx, list);
    for (size_t i = 0; i < list.size(); ++i) {
      std::vector<float> gradient(static_cast<size_t>(list[i]->grad.count()));
      read_values(memory, list[i]->grad, 0, gradient, ctx.stream);
      out.gradients[list[i]->name + " of step " + std::to_string(step)] = gradient;
      adamw_update(ctx, *list[i], moments[2 * i].tensor(), moments[2 * i + 1].tensor(),
                   {.lr = 1e-2f, .weight_decay = 0.1f, .step = step}, static_cast<float>(1.0 / norm));
    }
  }
  out.weights = model.weights_sha256();
  return out;
}

TEST_F(CudaBf16Model, TrainingAndScoringHaveTheLogProbsOfSampling) {
  const Sequences sequences = some_sequences();
  ThreadPool threads(1);
  for (const auto& [name, json] : families()) {
    const Model model = random_model(json, cuda_memory());
    const auto trained = train_in_bf16(json, cuda_memory(), kNumerics, 4096, 1).logprobs;
    Lanes lanes(threads, kNumerics, Arena::kDefaultLimit, cuda_memory());
    const auto scored = score(model, lanes, sequences.rows, {});
    const auto apart = score(model, lanes, sequences.rows, {.micro_tokens = 1, .prompts = Prompts::repeated});
    for (size_t i = 0; i < sequences.rows.size(); ++i) {
      const std::string what = name + " row " + std::to_string(i);
      expect_cpu_bits(trained[i], scored[i], what + " trained and scored");
      expect_cpu_bits(apart[i], scored[i], what + " alone and together");
      // The log-probs of decoding, token by token, from its logits.
      const auto& tokens = sequences.tokens[i];
      const auto V = static_cast<size_t>(model.config().vocab_size);
      const std::vector<float> logits =
          logits_in_chunks(model, tokens, std::vector<int64_t>(tokens.size() - 1, 1), 0);
      DeviceRun run(false);
      const auto from = static_cast<size_t>(sequences.rows[i].first_scored());
      for (size_t t = from; t < tokens.size(); ++t) {
        const Tensor row = run.input({1, static_cast<int64_t>(V)}, std::span(logits).subspan((t - 1) * V, V));
        const SamplingParams greedy{.temperature = 0};
        Sampled drawn;
        const RowToSample draw{
            .logits = row, .keep = true, .params = &greedy, .options = {.forced = tokens[t]}};
        sample_rows(run.ctx, static_cast<int64_t>(V), {&draw, 1}, {&drawn, 1});
        ASSERT_EQ(drawn.logprob, scored[i][t - from]) << what << " token " << t;
      }
    }
  }
}

TEST_F(CudaBf16Model, PiecesChangeNoBitOfAGradient) {
  for (const auto& [name, json] : families()) {
    const TrainedInBf16 whole = train_in_bf16(json, cuda_memory(), kNumerics, 4096, 3);
    for (const int64_t micro : {1, 120}) {
      const TrainedInBf16 pieces = train_in_bf16(json, cuda_memory(), kNumerics, micro, 3);
      for (const auto& [parameter, gradient] : whole.gradients)
        expect_cpu_bits(pieces.gradients.at(parameter), gradient, name + " " + parameter);
      EXPECT_EQ(pieces.weights, whole.weights) << name << ", pieces of " << micro;
    }
  }
}

TEST_F(CudaBf16Model, ActivationCheckpointingChangesNoBit) {
  for (const auto& [name, json] : families()) {
    const TrainedInBf16 kept = train_in_bf16(json, cuda_memory(), kNumerics, 4096, 3);
    for (const int64_t micro : {4096, 120}) {
      const TrainedInBf16 again = train_in_bf16(json, cuda_memory(), kNumerics, micro, 3, true);
      for (const auto& [parameter, gradient] : kept.gradients)
        expect_cpu_bits(again.gradients.at(parameter), gradient, name + " " + parameter);
      EXPECT_EQ(again.weights, kept.weights) << name << ", pieces of " << micro;
    }
  }
}

TEST_F(CudaBf16Model, TrainsTwiceToTheSameBytes) {
  for (const auto& [name, json] : families())
    EXPECT_EQ(train_in_bf16(json, cuda_memory(), kNumerics, 4096, 5).weights,
              train_in_bf16(json, cuda_memory(), kNumerics, 4096, 5).weights)
        << name;
}

// Difference of two lists of numbers, relative to the size of the second.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  return size > 0 ? std::sqrt(difference / size) : std::sqrt(difference);
}

// Routers may choose other experts if scores are close, so mixtures are compared by their log-probs alone, and
// loosely.
TEST_F(CudaBf16Model, IsNearCpuBf16) {
  for (const auto& [name, json] : families()) {
    const TrainedInBf16 device = train_in_bf16(json, cuda_memory(), kNumerics, 4096, 1),
                        cpu = train_in_bf16(json, host_memory(), Numerics::cpu_bf16, 4096, 1);
    double worst = 0;
    for (size_t i = 0; i < cpu.logprobs.size(); ++i)
      worst = std::max(worst, distance(device.logprobs[i], cpu.logprobs[i]));
    const bool routed = json.contains("num_experts_per_tok");
    std::printf("%s: log-probs %.1e from cpu-bf16\n", name.c_str(), worst);
    EXPECT_LT(worst, routed ? 0.2 : 5e-3) << name;
    if (routed) continue;
    double gradients = 0;
    for (const auto& [parameter, gradient] : cpu.gradients)
      gradients = std::max(gradients, distance(device.gradients.at(parameter), gradient));
    std::printf("%s: gradients %.1e from cpu-bf16\n", name.c_str(), gradients);
    EXPECT_LT(gradients, 3e-2) << name;
  }
}

}  // namespace
}  // namespace r1
