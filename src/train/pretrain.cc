#include "train/pretrain.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <exception>
#include <functional>
#include <memory>

#include "base/process.h"
#include "model/lanes.h"
#include "model/scoring.h"
#include "ops/loss/loss.h"
#include "train/memory.h"
#include "train/training_run.h"

namespace r1 {
namespace {

struct StepResult {
  int64_t tokens = 0;
  int64_t documents = 0;
  double loss = 0;
  double balance_loss = 0;
  Optimizer::Result update;
};

class PretrainStage : public StageTrainer {
 public:
  PretrainStage(ModelBundle& bundle, const PretrainConfig& config, const DocumentSource& documents,
                ThreadPool& threads)
      : model_(bundle.model),
        config_(config),
        documents_(documents),
        threads_(threads),
        optimizer_(bundle.model, config.optimizer),
        lanes_(threads, config.run.numerics, Arena::kDefaultLimit, bundle.model.memory()) {
    for (const Parameter* bias : model_.selection_biases()) {
      stats_.push_back(
          {std::vector<int64_t>(bias == nullptr ? 0 : static_cast<size_t>(bias->value.count()))});
    }
  }

  void step(TrainerState& state) override {
    result_ = train_on(take(state.next_document));
    state.next_document += result_.documents;
    state.tokens += result_.tokens;
    state.updates = optimizer_.steps_done();
  }
  Json row(const TrainerState& state, double seconds) const override;
  void save(const std::filesystem::path& checkpoint) const override { optimizer_.save(checkpoint); }
  void load(const std::filesystem::path& checkpoint, const TrainerState& state) override {
    optimizer_.load(checkpoint, state.updates);
  }
  MemoryMeasured memory() const override {
    return {.activations = lanes_.peak(), .kv = 0, .resident = peak_resident_bytes()};
  }

 private:
  std::vector<Document> take(int64_t first);
  StepResult train_on(const std::vector<Document>& list);

  Model& model_;
  const PretrainConfig& config_;
  const DocumentSource& documents_;
  ThreadPool& threads_;
  Optimizer optimizer_;
  Lanes lanes_;
  std::vector<MoeStats> stats_;
  std::deque<Document> ready_;  // documents [ready_first_, ready_first_ + size), made ahead
  int64_t ready_first_ = 0;
  StepResult result_;  // of the last step
};

// Returns the documents of one step, starting at `first`. All threads make documents, some ahead of need.
// Which documents a step takes depends on their lengths alone.
std::vector<Document> PretrainStage::take(int64_t first) {
  constexpr int64_t kAhead = 256;
  if (first != ready_first_) ready_.clear();
  ready_first_ = first;
  std::vector<Document> list;
  int64_t tokens = 0;
  while (tokens < config_.batch_tokens) {
    if (ready_.empty()) {
      std::vector<Document> made(kAhead);
      std::vector<std::exception_ptr> failed(kAhead);
      threads_.parallel_for(kAhead, 8, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          try {
            made[static_cast<size_t>(i)] = documents_(ready_first_ + i);
          } catch (...) {
            failed[static_cast<size_t>(i)] = std::current_exception();
          }
        }
      });
      for (size_t i = 0; i < made.size(); ++i) {
        if (failed[i]) std::rethrow_exception(failed[i]);
        ready_.push_back(std::move(made[i]));
      }
    }
    Document document = std::move(ready_.front());
    ready_.pop_front();
    ++ready_first_;
    if (static_cast<int64_t>(document.tokens.size()) > config_.max_tokens) {
      document.tokens.resize(static_cast<size_t>(config_.max_tokens));
      document.trained = ranges_within(document.trained, 0, config_.max_tokens);
    }
    R1_CHECK(document.tokens.size() >= 2, "document ", ready_first_ - 1, " is too short");
    tokens += static_cast<int64_t>(document.tokens.size()) - 1;
    list.push_back(std::move(document));
  }
  return list;
}

StepResult PretrainStage::train_on(const std::vector<Document>& list) {
  StepResult result;
  result.documents = static_cast<int64_t>(list.size());
  std::vector<ScoredRow> rows;
  int64_t scored = 0;
  for (const Document& d : list) {
    rows.emplace_back(d.tokens, d.trained);
    scored += rows.back().scored();
    result.tokens += static_cast<int64_t>(d.tokens.size()) - 1;
  }
  R1_CHECK(scored > 0, "a step without a scored token");
  RouterTraining routers;
  routers.stats = &stats_;
  routers.balance_scale = static_cast<float>(config_.balance_alpha / static_cast<double>(result.tokens));
  routers.balance_loss = &result.balance_loss;
  const float share = -1.0f / static_cast<float>(scored);
  std::vector<double> losses(rows.size());
  differentiate(
      model_, lanes_, rows,
      {.micro_tokens = config_.micro_tokens, .prompts = Prompts::repeated, .recompute = config_.recompute},
      [&](const RowGradient& row) {
        std::ranges::fill(row.gradient, share);
        for (const float logprob : row.logprobs) losses[row.row] -= static_cast<double>(logprob);
      },
      routers);
  for (const double loss : losses) result.loss += loss;
  result.loss /= static_cast<double>(scored);
  Context ctx = lanes_.context();
  result.update = optimizer_.update(ctx);
  const std::vector<Parameter*> biases = model_.selection_biases();
  for (size_t i = 0; i < biases.size(); ++i) {
    if (biases[i] != nullptr)
      update_selection_bias(ctx, *biases[i], stats_[i], static_cast<float>(config_.bias_gamma));
  }
  return result;
}

Json PretrainStage::row(const TrainerState& state, double seconds) const {
  Json row = Json::object();
  row.set("step", state.step)
      .set("wall_s", state.wall_s)
      .set("tokens", state.tokens)
      .set("loss", result_.loss);
  row.set("balance_loss", result_.balance_loss)
      .set("lr", result_.update.lr)
      .set("grad_norm", result_.update.grad_norm);
  row.set("tokens_per_s", static_cast<double>(result_.tokens) / seconds);
  return row;
}

}  // namespace

Document document_from(std::vector<int32_t> tokens, int64_t from) {
  Document document{.tokens = std::move(tokens), .trained = {}};
  document.trained = tail_range(std::max<int64_t>(1, from), std::ssize(document.tokens));
  return document;
}

int64_t step_tokens(const Document& document, const PretrainConfig& config) {
  return std::max<int64_t>(1, std::min(std::ssize(document.tokens), config.max_tokens) - 1);
}

namespace {

// Returns the activation bytes of a step whose documents have these lengths, sorted in descending order. The
// largest micro-batch holds the longest documents.
int64_t activations_of(const ModelConfig& model, const PretrainConfig& config,
                       std::span<const int64_t> lengths, ThreadPool& threads) {
  // A step ends with the document that fills it.
  const int64_t most = config.batch_tokens + lengths.front();
  return step_activations(
      model, config.run.numerics, most, lengths.front(), config.micro_tokens,
      [&](int64_t tokens_held) { return full_micro_batch(lengths, tokens_held, most); },
      {.backward = true,
       .entropy = false,
       .balance = config.balance_alpha > 0,
       .recompute = config.recompute},
      threads);
}

}  // namespace

MemoryEstimate memory_of(const ModelConfig& model, const PretrainConfig& config,
                         std::span<const int64_t> lengths, ThreadPool& threads) {
  MemoryEstimate memory = trained_model(model, config.run.numerics);
  memory.program = program_bytes(memory);
  std::vector<int64_t> sorted(lengths.begin(), lengths.end());
  std::ranges::sort(sorted, std::greater());
  memory.activations = activations_of(model, config, sorted, threads);
  // A row that is too long for one thread is processed by all threads in the first lane's memory. Steps of
  // shorter rows give each thread a lane, and lanes keep their memory.
  const auto shorter = std::ranges::find_if(sorted, [&](int64_t length) {
    return plan_lanes(config.batch_tokens + length, length, config.micro_tokens, threads.size()).side_by_side;
  });
  if (shorter != sorted.begin() && shorter != sorted.end()) {
    const int64_t all = activations_of(model, config, std::span(shorter, sorted.end()), threads);
    const int64_t lane = all / threads.size();
    memory.activations = std::max(memory.activations, lane) + all - lane;
  }
  return memory;
}

PretrainConfig read_pretrain_config(ConfigFile& config, const OptimizerDefaults& defaults) {
  PretrainConfig c;
  c.run = read_run_config(config, "pretrain");
  c.optimizer = read_optimizer_config(config, defaults);
  c.checkpoint = read_checkpoint_config(config);
  c.batch_tokens = config.integer_or("batch.tokens", c.batch_tokens, 2, 1 << 28);
  c.micro_tokens = config.integer_or("batch.micro", c.micro_tokens, 2, 1 << 28);
  c.recompute = config.boolean_or("batch.recompute", c.recompute);
  c.max_tokens = config.integer_or("data.max_tokens", c.max_tokens, 2, 1 << 28);
  c.bias_gamma = config.number_or("balance.gamma", c.bias_gamma, 0, 1);
  c.balance_alpha = config.number_or("balance.alpha", c.balance_alpha, 0, 10);
  c.log_every = config.integer_or("log.every", c.log_every, 1, 1000000);
  return c;
}

void check_balance(const ConfigFile& file, const PretrainConfig& config, const ModelConfig& model) {
  if (file.has("balance.gamma") && config.bias_gamma > 0 && !model.has_selection_bias()) {
    file.fail("balance.gamma",
              fmt::format("is {}; a {} model has no selection bias that it could change: leave it out",
                          config.bias_gamma, name_of(model.family)));
  }
  if (config.balance_alpha > 0 && !model.has_experts()) {
    file.fail("balance.alpha", fmt::format("is {}; a {} model has no experts to balance: leave it out",
                                           config.balance_alpha, name_of(model.family)));
  }
}

void pretrain(ModelBundle& bundle, const PretrainConfig& config, const DocumentSource& documents,
              RunDirectory& run, const MemoryEstimate& memory, ThreadPool& threads, Reporter& reporter,
              const TrainOptions& options) {
  run_training(
      {.run = run,
       .bundle = bundle,
       .checkpoint = config.checkpoint,
       .memory = memory,
       .steps = config.optimizer.steps,
       .log_every = config.log_every},
      [&] { return std::make_unique<PretrainStage>(bundle, config, documents, threads); }, reporter, options);
}

}  // namespace r1
