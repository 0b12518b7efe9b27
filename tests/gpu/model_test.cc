// tests/gpu/model_test.cc: whole models of every family on the device have cpu-f32's bits: logits of prefill
// and decoding, log-probs, entropies, gradients, and the weights after steps of AdamW.
#include "model/model.h"

#include <map>

#include "model/scoring.h"
#include "ops/optim/optim.h"
#include "tensor/transfer.h"
#include "tests/gpu/device_run.h"
#include "tests/gpu/model_case.h"

namespace r1 {
namespace {
using namespace test;

class CudaModel : public OnDevice {};

// Logits of sequences that are prefilled in chunks and then decoded together.
std::vector<float> decoded_logits(auto& run, const Model& model) {
  Context& ctx = run.ctx;
  const KvCache kv(model.config(), 24, DType::f32, ctx.memory());
  Random random(7);
  std::vector<float> out;
  std::vector<int32_t> done(3, 0);
  for (const std::vector<int64_t>& step :
       {std::vector<int64_t>{40, 0, 7}, {1, 33, 1}, {5, 1, 30}, {1, 1, 1}, {1, 1, 1}, {1, 0, 1}}) {
    std::vector<int32_t> tokens, positions, offsets{0}, pages;
    for (size_t s = 0; s < step.size(); ++s) {
      if (step[s] == 0) continue;
      append_tokens(tokens, tokens_of(random, step[s]));
      for (int64_t i = 0; i < step[s]; ++i) positions.push_back(done[s]++);
      offsets.push_back(static_cast<int32_t>(tokens.size()));
      for (int32_t p = 0; p < 8; ++p) pages.push_back(static_cast<int32_t>(s) + 3 * p);
    }
    const OpScope scope(ctx);
    poison(run);
    const Tensor hidden = model.forward(ctx, Batch{tokens, positions, offsets, pages, 8}, kv);
    const auto logits = values(run, matmul(ctx, hidden, model.head(), DType::f32));
    out.insert(out.end(), logits.begin(), logits.end());
  }
  return out;
}

// The values that a step of training sees and leaves behind.
struct Trained {
  std::vector<std::vector<float>> logprobs, entropies;
  std::map<std::string, std::vector<float>> gradients;
  std::vector<std::vector<int64_t>> selected;
  double balance_loss = 0, norm = 0;
  std::string weights;
};

struct How {
  bool recompute = false;  // activation checkpointing
  bool critic = false;     // a value model
};

// A value model with a random head.
Model random_critic(const Json& json, Memory& memory) {
  Model model = Model::value_model(random_model(json, memory));
  Random random(9);
  for (Parameter& p : model.parameters()) {
    if (p.name == "score.weight")
      write_values(memory, p.value, 0, random_normal(random, p.value.count(), 0.5));
  }
  return model;
}

Trained train(const Json& json, Memory& memory, const How& how = {}) {
  Model model = how.critic ? random_critic(json, memory) : random_model(json, memory);
  model.allocate_gradients();
  Random random(8);
  std::vector<std::vector<int32_t>> tokens;
  std::vector<ScoredRow> rows;
  for (const auto& [prompt, answers] : std::vector<std::pair<int64_t, std::vector<int64_t>>>{
           {9, {4, 30, 1}}, {33, {12, 5}}, {40, {70, 9, 17}}}) {
    const auto head = tokens_of(random, prompt);
    for (const int64_t n : answers) {
      tokens.push_back(head);
      append_tokens(tokens.back(), tokens_of(random, n));
    }
  }
  for (size_t i = 0; i < tokens.size(); ++i) rows.push_back({tokens[i], i < 3 ? 9 : i < 5 ? 33 : 40});
  ThreadPool threads(1);
  Lanes lanes(threads, Numerics::cpu_f32, Arena::kDefaultLimit, memory);
  Trained out;
  out.logprobs.resize(rows.size());
  out.entropies.resize(rows.size());
  std::vector<Buffer> moments;
  for (const Parameter* p : model.trainable()) {
    moments.emplace_back(p->value.shape, DType::f32, memory);
    moments.emplace_back(p->value.shape, DType::f32, memory);
  }
  for (int64_t step = 1; step <= 3; ++step) {
    std::vector<MoeStats> stats(static_cast<size_t>(model.config().layers));
    const RouterTraining routers{.balance_scale = 1e-3f, .stats = &stats, .balance_loss = &out.balance_loss};
    Context ctx = lanes.context();
    model.zero_gradients(ctx);
    differentiate(
        model, lanes, rows, {.temperature = 0.9f, .entropy = !how.critic, .recompute = how.recompute},
        [&](const RowGradient& row) {
          out.logprobs[row.row].insert(out.logprobs[row.row].end(), row.logprobs.begin(), row.logprobs.end());
          out.entropies[row.row].insert(out.entropies[row.row].end(), row.entropy.begin(), row.entropy.end());
          for (size_t t = 0; t < row.gradient.size(); ++t)
            row.gradient[t] = static_cast<float>(static_cast<int64_t>(row.row * 7 + t * 3) % 5 - 2) / 64;
        },
        routers);
    const std::vector<Parameter*> list = model.trainable();
    out.norm = gradient_norm(ctx, list);
    for (size_t i = 0; i < list.size(); ++i) {
      std::vector<float> gradient(static_cast<size_t>(list[i]->grad.count()));
      read_values(memory, list[i]->grad, 0, gradient, ctx.stream);
      out.gradients[list[i]->name + " of step " + std::to_string(step)] = gradient;
      adamw_update(ctx, *list[i], moments[2 * i].tensor(), moments[2 * i + 1].tensor(),
                   {.lr = 1e-2f, .weight_decay = 0.1f, .step = step}, static_cast<float>(1.0 / out.norm));
    }
    const std::vector<Parameter*> biases = model.selection_biases();
    for (size_t layer = 0; layer < biases.size(); ++layer) {
      out.selected.push_back(stats[layer].selected);
      if (biases[layer] != nullptr) update_selection_bias(ctx, *biases[layer], stats[layer], 0.01f);
    }
  }
  out.weights = model.weights_sha256();
  return out;
}

TEST_F(CudaModel, DecodesWithTheBitsOfTheCpu) {
  for (const auto& [name, json] : families()) {
    OpRun cpu(false);
    DeviceRun device(false);
    const Model here = random_model(json, host_memory()), there = random_model(json, cuda_memory());
    ASSERT_EQ(there.weights_sha256(), here.weights_sha256()) << name;
    expect_cpu_bits(decoded_logits(device, there), decoded_logits(cpu, here), name);
  }
}

void expect_equal(const Trained& got, const Trained& want, const std::string& name) {
  for (size_t i = 0; i < want.logprobs.size(); ++i) {
    expect_cpu_bits(got.logprobs[i], want.logprobs[i], name + " log-probs of row " + std::to_string(i));
    expect_cpu_bits(got.entropies[i], want.entropies[i], name + " entropies of row " + std::to_string(i));
  }
  ASSERT_EQ(got.gradients.size(), want.gradients.size());
  for (const auto& [parameter, gradient] : want.gradients)
    expect_cpu_bits(got.gradients.at(parameter), gradient, name + " " + parameter);
  EXPECT_EQ(got.selected, want.selected) << name;
  EXPECT_EQ(got.balance_loss, want.balance_loss) << name;
  EXPECT_EQ(got.norm, want.norm) << name;
  EXPECT_EQ(got.weights, want.weights) << name;
}

TEST_F(CudaModel, TrainsWithTheBitsOfTheCpu) {
  for (const auto& [name, json] : families())
    expect_equal(train(json, cuda_memory()), train(json, host_memory()), name);
}

TEST_F(CudaModel, ActivationCheckpointingChangesNoBit) {
  for (const auto& [name, json] : families())
    expect_equal(train(json, cuda_memory(), {.recompute = true}), train(json, host_memory()), name);
}

// PPO's critic.
TEST_F(CudaModel, ValueModelsTrainWithTheBitsOfTheCpu) {
  for (const auto& [name, json] : families()) {
    expect_equal(train(json, cuda_memory(), {.critic = true}), train(json, host_memory(), {.critic = true}),
                 name);
    expect_equal(train(json, cuda_memory(), {.recompute = true, .critic = true}),
                 train(json, host_memory(), {.critic = true}), name + " recomputed");
  }
}

}  // namespace
}  // namespace r1
