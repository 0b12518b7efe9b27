#include "train/pretrain.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <exception>
#include <functional>

#include "base/process.h"
#include "model/lanes.h"
#include "model/scoring.h"
#include "ops/loss/loss.h"
#include "train/memory.h"
#include "train/step_loop.h"

namespace r1 {
namespace {

using Clock = std::chrono::steady_clock;

struct StepResult {
  int64_t tokens = 0;
  int64_t documents = 0;
  double loss = 0;
  double balance_loss = 0;
  Optimizer::Result update;
};

struct Trainer {
  ModelBundle& bundle;
  const PretrainConfig& config;
  const DocumentSource& documents;
  ThreadPool& threads;
  Optimizer optimizer;
  Lanes lanes;
  std::vector<MoeStats> stats;
  std::deque<Document> ready;  // documents [ready_first, ready_first + size), made ahead
  int64_t ready_first = 0;

  Trainer(ModelBundle& b, const PretrainConfig& c, const DocumentSource& d, ThreadPool& t)
      : bundle(b),
        config(c),
        documents(d),
        threads(t),
        optimizer(b.model, c.optimizer),
        lanes(t, c.run.numerics) {
    for (const Parameter* bias : b.model.selection_biases()) {
      stats.push_back({std::vector<int64_t>(bias == nullptr ? 0 : static_cast<size_t>(bias->value.count()))});
    }
  }

  std::vector<Document> take(int64_t first);
  StepResult step(int64_t first_document);
};

// Returns the documents of one step, starting at `first`. All threads make documents, some ahead of need.
// Which documents a step takes depends on their lengths alone.
std::vector<Document> Trainer::take(int64_t first) {
  constexpr int64_t kAhead = 256;
  if (first != ready_first) ready.clear();
  ready_first = first;
  std::vector<Document> list;
  int64_t tokens = 0;
  while (tokens < config.batch_tokens) {
    if (ready.empty()) {
      std::vector<Document> made(kAhead);
      std::vector<std::exception_ptr> failed(kAhead);
      threads.parallel_for(kAhead, 8, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          try {
            made[static_cast<size_t>(i)] = documents(ready_first + i);
          } catch (...) {
            failed[static_cast<size_t>(i)] = std::current_exception();
          }
        }
      });
      for (size_t i = 0; i < made.size(); ++i) {
        if (failed[i]) std::rethrow_exception(failed[i]);
        ready.push_back(std::move(made[i]));
      }
    }
    Document document = std::move(ready.front());
    ready.pop_front();
    ++ready_first;
    if (static_cast<int64_t>(document.tokens.size()) > config.max_tokens)
      document.tokens.resize(static_cast<size_t>(config.max_tokens));
    R1_CHECK(document.tokens.size() >= 2, "document ", ready_first - 1, " is too short");
    document.loss_from = std::min<int64_t>(document.loss_from, static_cast<int64_t>(document.tokens.size()));
    tokens += static_cast<int64_t>(document.tokens.size()) - 1;
    list.push_back(std::move(document));
  }
  return list;
}

StepResult Trainer::step(int64_t first_document) {
  StepResult result;
  const std::vector<Document> list = take(first_document);
  result.documents = static_cast<int64_t>(list.size());
  std::vector<ScoredRow> rows;
  int64_t scored = 0;
  for (const Document& d : list) {
    rows.push_back({d.tokens, d.loss_from});
    scored += static_cast<int64_t>(d.tokens.size()) - d.loss_from;
    result.tokens += static_cast<int64_t>(d.tokens.size()) - 1;
  }
  R1_CHECK(scored > 0, "a step without a scored token");
  RouterTraining routers;
  routers.stats = &stats;
  routers.balance_scale = static_cast<float>(config.balance_alpha / static_cast<double>(result.tokens));
  routers.balance_loss = &result.balance_loss;
  const float share = -1.0f / static_cast<float>(scored);
  std::vector<double> losses(rows.size());
  differentiate(
      bundle.model, lanes, rows, {.micro_tokens = config.micro_tokens, .prompts = Prompts::repeated},
      [&](const RowGradient& row) {
        std::ranges::fill(row.gradient, share);
        for (const float logprob : row.logprobs) losses[row.row] -= static_cast<double>(logprob);
      },
      routers);
  for (const double loss : losses) result.loss += loss;
  result.loss /= static_cast<double>(scored);
  result.update = optimizer.update(threads);
  const std::vector<Parameter*> biases = bundle.model.selection_biases();
  for (size_t i = 0; i < biases.size(); ++i) {
    if (biases[i] != nullptr)
      update_selection_bias(*biases[i], stats[i], static_cast<float>(config.bias_gamma));
  }
  return result;
}

}  // namespace

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
      {.backward = true, .entropy = false, .balance = config.balance_alpha > 0}, threads);
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
  c.max_tokens = config.integer_or("data.max_tokens", c.max_tokens, 2, 1 << 28);
  c.bias_gamma = config.number_or("balance.gamma", c.bias_gamma, 0, 1);
  c.balance_alpha = config.number_or("balance.alpha", c.balance_alpha, 0, 10);
  c.log_every = config.integer_or("log.every", c.log_every, 1, 1000000);
  return c;
}

namespace {

Json metrics_row(const TrainerState& state, const StepResult& result, double seconds) {
  Json row = Json::object();
  row.set("step", state.step)
      .set("wall_s", state.wall_s)
      .set("tokens", state.tokens)
      .set("loss", result.loss);
  row.set("balance_loss", result.balance_loss)
      .set("lr", result.update.lr)
      .set("grad_norm", result.update.grad_norm);
  row.set("tokens_per_s", static_cast<double>(result.tokens) / seconds);
  return row;
}

}  // namespace

void pretrain(ModelBundle& bundle, const PretrainConfig& config, const DocumentSource& documents,
              RunDirectory& run, const MemoryEstimate& memory, ThreadPool& threads, Reporter& reporter,
              const TrainOptions& options) {
  const int64_t steps = config.optimizer.steps;
  const bool begins = run.begin(steps);
  for (const std::string& line : run.notes()) reporter.note(line);
  if (!begins) {
    reporter.note(run.path().string() + " is finished: its model is used as it is");
    bundle.model.copy_weights_from(Model::load(run.model_path()));
    return;
  }
  reporter.note(memory_line(memory, "a step"));
  reset_peak_resident();
  Trainer trainer(bundle, config, documents, threads);
  TrainerState state;
  if (const auto checkpoint = run.latest()) {
    state = run.resume_from(*checkpoint);
    bundle.model.copy_weights_from(Model::load(*checkpoint));
    trainer.optimizer.load(*checkpoint, state.updates);
    reporter.note("resumed from " + checkpoint->string());
  } else {
    run.start_afresh();
  }
  options.measures.begin_at(state.step);
  const double wall_before = state.wall_s;
  const auto begin = Clock::now();
  const auto step = [&](TrainerState& at) {
    const auto step_begin = Clock::now();
    const StepResult result = trainer.step(at.next_document);
    ++at.step;
    at.next_document += result.documents;
    at.tokens += result.tokens;
    at.updates = trainer.optimizer.steps_done();
    at.wall_s = wall_before + std::chrono::duration<double>(Clock::now() - begin).count();
    const bool measured = options.measures.is_due(at.step);
    if (at.step % config.log_every != 0 && at.step != steps && !measured) return;
    Json row = metrics_row(at, result, std::chrono::duration<double>(Clock::now() - step_begin).count());
    if (measured) options.measures.measure(at.step, row);
    run.write_metrics(row);
    reporter.step(row, steps);
  };
  const auto save_state = [&](const std::filesystem::path& directory) {
    bundle.save(directory);
    trainer.optimizer.save(directory);
  };
  run_steps(run, state, config.checkpoint,
            {.steps = steps,
             .step = step,
             .save_state = save_state,
             .save_model = [&](const std::filesystem::path& d) { bundle.save(d); }},
            options);
  const MemoryMeasured measured{
      .activations = trainer.lanes.peak(), .kv = 0, .resident = peak_resident_bytes()};
  reporter.note(memory_line(memory, measured));
  run.note("memory_mib", to_json(memory, measured));
}

}  // namespace r1
