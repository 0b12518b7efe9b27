#include "train/speed.h"

#include <algorithm>
#include <chrono>

#include "base/random.h"
#include "model/plan.h"
#include "model/scoring.h"
#include "tensor/transfer.h"

namespace r1 {
namespace {

// Updates stay small, so that the weights remain ordinary numbers however many steps are measured.
OptimizerConfig meter_optimizer() {
  OptimizerConfig config;
  config.lr = 1e-6;
  return config;
}

}  // namespace

TrainMeter::TrainMeter(Model& model, ThreadPool& threads, Numerics numerics, const TrainLoad& load)
    : model_(model),
      load_(load),
      optimizer_(model, meter_optimizer()),
      lanes_(threads, numerics, Arena::kDefaultLimit, model.memory()) {
  lanes_.set_exact(load.exact);
  Random random(1);
  for (int64_t row = 0; row < load.rows; ++row) {
    std::vector<int32_t> tokens(static_cast<size_t>(load.length) + 1);  // the last one is only predicted
    for (int32_t& token : tokens)
      token = static_cast<int32_t>(random.below(static_cast<uint64_t>(model.config().vocab_size)));
    rows_.push_back(std::move(tokens));
  }
}

void TrainMeter::run() {
  std::vector<ScoredRow> rows;
  for (const std::vector<int32_t>& tokens : rows_) rows.emplace_back(tokens, 1);
  const float share = -1.0f / static_cast<float>(load_.rows * load_.length);
  differentiate(
      model_, lanes_, rows,
      {.micro_tokens = load_.micro_tokens, .prompts = Prompts::repeated, .recompute = load_.recompute},
      [&](const RowGradient& row) { std::ranges::fill(row.gradient, share); });
  Context ctx = lanes_.context();
  optimizer_.update(ctx);
}

double TrainMeter::step() {
  using Clock = std::chrono::steady_clock;
  float last = 0;  // reading waits for the device
  const Parameter& p = *model_.trainable().front();
  const auto wait = [&] { read_values(model_.memory(), p.grad, 0, {&last, 1}, lanes_.context().stream); };
  wait();
  const auto begin = Clock::now();
  run();
  wait();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::vector<KernelTime> TrainMeter::kernels() {
  return time_kernels(model_.memory(), [this] { run(); });
}

double TrainMeter::flops() const {
  const ModelSizes sizes = model_sizes(model_.config());
  const double tokens = static_cast<double>(load_.rows * load_.length);
  return 3 * tokens * forward_flops(model_.config(), sizes, static_cast<double>(load_.length) / 2);
}

}  // namespace r1
