#include "model/training_cost.h"

#include "model/plan.h"

namespace r1 {
namespace {

// Published: DeepSeek-V3, section 4.
constexpr double kPretrainTokens = 14.8e12, kPretrainContext = 4096;
constexpr double kExtensionSteps = 1000, kExtensionBatch[] = {1920, 480},
                 kExtensionLength[] = {32768, 131072};
// Published: DeepSeek-R1. A round of RL samples 8192 answers and makes 16 steps of 512 with them.
constexpr double kBatch = 512, kStepsPerRound = 16, kGpus = 512;
constexpr double kZeroSteps = 10400, kZeroLongSteps = 2200;  // of them 2200 with the longer limit
constexpr double kShortLimit = 32768, kLongLimit = 65536;
constexpr double kSecondStageSteps = 1700;
constexpr double kMeanAnswer = 8793;  // thinking tokens of R1 on contests of 2024
constexpr double kSftSamples = 804745, kSftMean = 5355, kSftEpochs = 2.5;
// Published: DeepSeek's own inference system, 14.8k output tokens per second on a node of 8.
constexpr double kServedTokensPerGpu = 14800.0 / 8;
// Assumed.
constexpr double kFirstStageSteps = 3000, kCandidates = 4;

class CostOf {
 public:
  CostOf(const ModelConfig& config, const CostSettings& settings)
      : config_(config), settings_(settings), sizes_(model_sizes(config)) {}

  // Forward FLOPs per token of documents of `length` tokens, whose tokens see half of it on average.
  double forward(double length) const { return forward_flops(config_, sizes_, length / 2); }
  // The forward of the multi-token prediction module: one more block, its projection and the head.
  double mtp(double length) const {
    ModelConfig one = config_;
    one.layers = 1;
    one.first_dense_layers = 0;
    const ModelSizes sizes = model_sizes(one);
    const auto width = static_cast<double>(config_.hidden_size);
    return forward_flops(one, sizes, length / 2) + 2 * 2 * width * width;
  }
  double hours(double flops) const {
    return flops / (settings_.peak_tflops * 1e12 * settings_.utilisation) / 3600;
  }
  CostItem training(const char* stage, const char* basis, double tokens, double length) const {
    CostItem item{.stage = stage, .basis = basis, .tokens = tokens};
    item.flops = tokens * 3 * (forward(length) + mtp(length));
    item.gpu_hours = hours(item.flops);
    return item;
  }
  // A stage of RL: rounds last as long as their longest answer takes; then the answers are scored by the old
  // policy and the reference, and trained on (three forwards' worth).
  CostItem rl(const char* stage, const char* basis, double short_steps, double long_steps) const {
    CostItem item{.stage = stage, .basis = basis, .rl = true};
    item.tokens = (short_steps + long_steps) * kBatch * kMeanAnswer;
    item.flops = item.tokens * 5 * forward(kMeanAnswer);
    const double longest = (short_steps * kShortLimit + long_steps * kLongLimit) / kStepsPerRound;
    item.gpu_hours = hours(item.flops) + longest / settings_.sequence_tokens_s * kGpus / 3600;
    return item;
  }

 private:
  const ModelConfig& config_;
  const CostSettings& settings_;
  ModelSizes sizes_;
};

}  // namespace

double TrainingCost::v3_hours() const {
  double sum = 0;
  for (const CostItem& item : items) sum += item.rl ? 0 : item.gpu_hours;
  return sum;
}

double TrainingCost::pretraining_hours() const {
  return items.front().gpu_hours;
}

double TrainingCost::r1_hours() const {
  double sum = 0;
  for (const CostItem& item : items) sum += item.rl ? item.gpu_hours : 0;
  return sum;
}

TrainingCost deepseek_r1_cost(const ModelConfig& config, const CostSettings& settings) {
  const CostOf cost(config, settings);
  TrainingCost out;
  CostItem item = cost.training("V3: pre-training", "14.8 T tokens in a context of 4096 (published)",
                                kPretrainTokens, kPretrainContext);
  item.published = kPublishedPretrainingHours;
  out.items.push_back(item);

  CostItem extension{.stage = "V3: context extension",
                     .basis = "1000 steps of 1920 x 32768 and 1000 of 480 x 131072 tokens (published)",
                     .published = 119e3};
  for (int phase = 0; phase < 2; ++phase) {
    const CostItem part = cost.training(
        "", "", kExtensionSteps * kExtensionBatch[phase] * kExtensionLength[phase], kExtensionLength[phase]);
    extension.tokens += part.tokens;
    extension.flops += part.flops;
    extension.gpu_hours += part.gpu_hours;
  }
  out.items.push_back(extension);

  item =
      cost.rl("R1-Zero",
              "10,400 steps of 512 answers, 16 steps per round, limits of 32,768 and after step 8,200 65,536 "
              "(published); mean length 8,793",
              kZeroSteps - kZeroLongSteps, kZeroLongSteps);
  item.published = 101e3;
  out.items.push_back(item);

  CostItem data{
      .stage = "R1: data for SFT",
      .basis =
          "804,745 samples of 5,355 tokens (published), 4 candidates each (assumed), 14.8k tokens/s per node "
          "(published)",
      .rl = true,
      .tokens = kSftSamples * kSftMean * kCandidates,
      .published = 5e3};
  data.flops = data.tokens * cost.forward(kSftMean);
  data.gpu_hours = data.tokens / kServedTokensPerGpu / 3600;
  out.items.push_back(data);

  item = cost.training("R1: SFT", "804,745 samples of 5,355 tokens, 2 to 3 epochs (published)",
                       kSftSamples * kSftMean * kSftEpochs, kSftMean);
  item.rl = true;
  out.items.push_back(item);
  item = cost.rl("R1: RL, two stages",
                 "3,000 steps (assumed) and 1,700 (published) of 512 answers, limit 32,768 (published)",
                 kFirstStageSteps + kSecondStageSteps, 0);
  item.published = 41e3;
  out.items.push_back(item);

  out.assumed = {
      "the utilisation; V3's FP8 training makes 40 % of the bf16 peak possible",
      "that a round of RL lasts as long as its longest answer, at 40 tokens/s: about 22 per user in "
      "DeepSeek's own "
      "service, times 1.8 of speculation with the MTP head (both published)",
      "that RL's mean answer is as long as R1's published mean on contests; the real one grew to it",
      "the steps of R1's first RL stage, and the candidates per kept sample",
  };
  out.left_out = {
      "V3's own SFT and RL (5,000 GPU hours are published, their tokens are not)",
      "research, ablations and failed runs before the final one",
      "the reward models, and judging by models",
      "collecting and cleaning the data",
      "evaluation, restarts after failures, and idle GPUs",
      "people, power beyond the rent, storage and the network",
  };
  return out;
}

}  // namespace r1
